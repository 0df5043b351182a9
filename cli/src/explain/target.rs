//! Which object is meant.

use std::str::FromStr;

use annex_apis::{Install, ManagedEnvironment};
use kube::core::ApiResource;

/// `TYPE/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    kind: Kind,
    name: String,
}

/// The kinds that can be explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Install,
    ManagedEnvironment,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetError {
    #[error("it must be TYPE/NAME, such as install/hello")]
    NoName,
    #[error("there is no type {0:?} to explain: give install or managedenvironment")]
    UnknownType(String),
    #[error("the name must be letters a-z, digits, - and . only, at most 253")]
    Name,
}

impl Target {
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl Kind {
    /// As people write it before the slash.
    pub(crate) fn singular(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::ManagedEnvironment => "managedenvironment",
        }
    }

    /// Where the API serves it.
    pub(crate) fn api_resource(self) -> ApiResource {
        match self {
            Self::Install => ApiResource::erase::<Install>(&()),
            Self::ManagedEnvironment => ApiResource::erase::<ManagedEnvironment>(&()),
        }
    }
}

impl FromStr for Kind {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.to_ascii_lowercase();
        // kubectl takes the group behind the name, too.
        match lower.strip_suffix(".annex.sh").unwrap_or(&lower) {
            "install" | "installs" => Ok(Self::Install),
            "managedenvironment" | "managedenvironments" | "menv" | "environment" | "environments" => {
                Ok(Self::ManagedEnvironment)
            }
            _ => Err(TargetError::UnknownType(text.to_owned())),
        }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, name) = text.split_once('/').ok_or(TargetError::NoName)?;
        let kind = kind.parse()?;
        if name.is_empty() {
            return Err(TargetError::NoName);
        }
        // No object has another name, and a slash in it would ask for something else.
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        if name.len() > 253 || !name.chars().all(allowed) || name.starts_with('.') {
            return Err(TargetError::Name);
        }
        Ok(Self { kind, name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_several_spellings() {
        for text in ["install/hello", "installs/hello", "Installs/hello", "installs.annex.sh/hello"] {
            let target: Target = text.parse().unwrap();
            assert_eq!((target.kind(), target.name()), (Kind::Install, "hello"), "{text}");
        }
        for text in ["managedenvironment/x", "managedenvironments/x", "environment/x", "menv/x"] {
            assert_eq!(text.parse::<Target>().unwrap().kind(), Kind::ManagedEnvironment, "{text}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for (text, error) in [
            ("hello", TargetError::NoName),
            ("install/", TargetError::NoName),
            ("pod/x", TargetError::UnknownType("pod".into())),
            ("/x", TargetError::UnknownType(String::new())),
            ("install/a/status", TargetError::Name),
            ("install/..", TargetError::Name),
            ("install/A", TargetError::Name),
        ] {
            assert_eq!(text.parse::<Target>(), Err(error), "{text}");
        }
    }

    #[test]
    fn the_api_is_the_kinds_own() {
        assert_eq!(Kind::Install.api_resource().plural, "installs");
        assert_eq!(Kind::ManagedEnvironment.api_resource().plural, "managedenvironments");
        assert_eq!(Kind::Install.api_resource().api_version, "annex.sh/v1alpha1");
    }
}

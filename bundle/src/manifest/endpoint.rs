//! What of an extension can be called.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::Serialize;

use crate::text_type::text_type;

/// An HTTP method that an endpoint may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline)]
pub enum Method {
    /// `GET`.
    Get,
    /// `HEAD`.
    Head,
    /// `POST`.
    Post,
    /// `PUT`.
    Put,
    /// `PATCH`.
    Patch,
    /// `DELETE`.
    Delete,
    /// `OPTIONS`.
    Options,
}

/// A text that is none of the methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is none of GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS")]
pub struct MethodError;

impl Method {
    /// The method as HTTP has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }
}

impl FromStr for Method {
    type Err = MethodError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Get, Self::Head, Self::Post, Self::Put, Self::Patch, Self::Delete, Self::Options]
            .into_iter()
            .find(|method| method.as_str() == text)
            .ok_or(MethodError)
    }
}

text_type! {
    /// The path of an endpoint: `/`, or segments that are literal, a parameter `{name}`, or, as the last, the rest `{*name}`. The first is not
    /// `.annex`, in whatever case: there Annex calls lifecycle handlers, and nobody else is let in.
    EndpointPath {
        length: 1024,
        pattern: r"^/([A-Za-z0-9._~!$&'()+,;=@{}*-]+(/[A-Za-z0-9._~!$&'()+,;=@{}*-]+)*)?$",
        says: "A path from /, such as /notes/{id} or /files/{*path}."
    }
}

/// Why a text is no path of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointPathError {
    /// It does not begin with a slash.
    #[error("does not begin with /")]
    Relative,
    /// More than 1024 bytes.
    #[error("has {length} bytes, more than 1024")]
    TooLong {
        /// How many it has.
        length: usize,
    },
    /// A segment that is empty or made of dots.
    #[error("has a segment that is empty, . or ..")]
    Segment,
    /// A character that URLs write in another way, or not at all.
    #[error("has the character {character:?}, which is not in a path as it is")]
    Character {
        /// The character.
        character: char,
    },
    /// Braces that name no parameter.
    #[error("has a segment with braces that is neither {{name}} nor, as the last, {{*name}}")]
    Parameter,
    /// The same name twice.
    #[error("has two parameters of one name")]
    SameName,
    /// It is where Annex itself calls the extension.
    #[error("begins with /.annex, where only lifecycle handlers are called")]
    Reserved,
}

impl EndpointPath {
    /// The path with every parameter's name left out: two of one shape answer the same requests.
    pub(crate) fn shape(&self) -> String {
        let segments = self.as_str().split('/').map(|segment| match segment.strip_prefix('{') {
            Some(name) if name.starts_with('*') => "{*}",
            Some(_) => "{}",
            None => segment,
        });
        segments.collect::<Vec<_>>().join("/")
    }
}

impl FromStr for EndpointPath {
    type Err = EndpointPathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix('/').ok_or(EndpointPathError::Relative)?;
        if text.len() > 1024 {
            return Err(EndpointPathError::TooLong { length: text.len() });
        }
        // The gateway lets nobody in there: an endpoint would be one that nobody can call.
        if rest.split('/').next().is_some_and(|first| first.eq_ignore_ascii_case(".annex")) {
            return Err(EndpointPathError::Reserved);
        }
        let mut names: Vec<&str> = Vec::new();
        let mut segments = rest.split('/').peekable();
        while let Some(segment) = segments.next().filter(|_| !rest.is_empty()) {
            if matches!(segment, "" | "." | "..") {
                return Err(EndpointPathError::Segment);
            }
            let Some(name) = parameter(segment, segments.peek().is_none())? else { continue };
            if names.contains(&name) {
                return Err(EndpointPathError::SameName);
            }
            names.push(name);
        }
        Ok(Self(text.to_owned()))
    }
}

/// The name of the parameter that the segment is, if it is one.
fn parameter(segment: &str, last: bool) -> Result<Option<&str>, EndpointPathError> {
    if !segment.contains(['{', '}', '*']) {
        // The unreserved and most sub-delimiters of RFC 3986: what needs no escape, so that one path has one spelling.
        return match segment.chars().find(|c| !c.is_ascii_alphanumeric() && !"-._~!$&'()+,;=@".contains(*c)) {
            Some(character) => Err(EndpointPathError::Character { character }),
            None => Ok(None),
        };
    }
    let inner = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let inner = inner.ok_or(EndpointPathError::Parameter)?;
    let name = match inner.strip_prefix('*') {
        Some(name) if last => name,
        Some(_) => return Err(EndpointPathError::Parameter),
        None => inner,
    };
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_name { Ok(Some(name)) } else { Err(EndpointPathError::Parameter) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (text, shape) in [
            ("/", "/"),
            ("/notes", "/notes"),
            ("/notes/{id}/tags/{tag}", "/notes/{}/tags/{}"),
            ("/files/{*path}", "/files/{*}"),
            // A parameter may stand for anything; what the gateway does not let in is not decided here.
            ("/{any}/lifecycle", "/{}/lifecycle"),
            ("/{*all}", "/{*}"),
            ("/files/.annex", "/files/.annex"),
            ("/.annexes", "/.annexes"),
        ] {
            assert_eq!(text.parse::<EndpointPath>().unwrap().shape(), shape);
        }
        use EndpointPathError::{Character, Parameter, Relative, Reserved, SameName, Segment, TooLong};
        for (text, error) in [
            ("", Relative),
            ("/.annex", Reserved),
            ("/.annex/lifecycle/setup", Reserved),
            ("/.annex/{*all}", Reserved),
            ("/.Annex/x", Reserved),
            ("notes", Relative),
            ("//notes", Segment),
            ("/notes/", Segment),
            ("/../notes", Segment),
            ("/notes/.", Segment),
            ("/%2e%2e", Character { character: '%' }),
            ("/a?b", Character { character: '?' }),
            ("/a b", Character { character: ' ' }),
            ("/ä", Character { character: 'ä' }),
            ("/{}", Parameter),
            ("/{a-b}", Parameter),
            ("/x{a}", Parameter),
            ("/{*all}/x", Parameter),
            ("/*", Parameter),
            ("/{a}/{a}", SameName),
        ] {
            assert_eq!(text.parse::<EndpointPath>(), Err(error), "{text}");
        }
        let long = format!("/{}", "a".repeat(1024));
        assert_eq!(long.parse::<EndpointPath>(), Err(TooLong { length: 1025 }));
    }

    #[test]
    fn methods() {
        assert_eq!("PATCH".parse(), Ok(Method::Patch));
        for text in ["get", "TRACE", "CONNECT", ""] {
            assert_eq!(text.parse::<Method>(), Err(MethodError), "{text}");
        }
    }
}

//! The short texts of a manifest.

use std::str::FromStr;

use annex_core::{LabelError, MAX_NAME_LENGTH, check_labels};

use crate::text_type::text_type;

text_type! {
    /// A capability of the host, such as `storage.kv`. Which ones there are, the runner decides.
    Capability {
        length: 64,
        pattern: r"^[a-z][a-z0-9]*([.-][a-z0-9]+)*$",
        says: "Lower-case words joined by dots or hyphens, such as storage.kv."
    }
}
text_type! {
    /// A handler in the component. Which ones there are, the component decides.
    Handler {
        length: 253,
        pattern: r"^[A-Za-z0-9][A-Za-z0-9._:/@#-]*$",
        says: "The name of a handler in the component, such as list-notes or com:example/api#list."
    }
}
text_type! {
    /// The name of a module in its extension.
    ModuleName {
        length: 253,
        pattern: r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$",
        says: "Lower-case letters, digits and inner dots, hyphens and underscores."
    }
}
text_type! {
    /// The name of an interface, by which extensions that do not know of each other's names find each other.
    InterfaceName {
        length: 64,
        pattern: r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$",
        says: "Lower-case letters, digits and inner dots, hyphens and underscores."
    }
}
text_type! {
    /// A host that may be reached: its name, or `*.` and the name that all of them end in; maybe with a port. Absent, it is 443.
    ///
    /// Never an address: whom an address belongs to can change with nobody noticing.
    EgressRule {
        length: 259,
        pattern: r"^(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*(:[1-9][0-9]{0,4})?$",
        says: "A host name in lower case, such as api.example.com, *.example.com or api.example.com:8443."
    }
}

/// Why a text is no capability, handler, module name or interface name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    /// Nothing there, or too much.
    #[error("has {length} characters, not 1 to {max}")]
    Length {
        /// How many it has.
        length: usize,
        /// How many it may have.
        max: usize,
    },
    /// A character that does not belong there.
    #[error("has the character {character:?} where only {wanted} may be")]
    Character {
        /// The character.
        character: char,
        /// Which ones may be there.
        wanted: &'static str,
    },
    /// Punctuation at an end or twice.
    #[error("begins or ends with punctuation, or has two in a row")]
    Punctuation,
}

/// Why a text is no egress rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EgressRuleError {
    /// A label of the name is none.
    #[error("{0}")]
    Label(LabelError),
    /// An upper-case letter.
    #[error("has an upper-case letter")]
    UpperCase,
    /// Too long for a name.
    #[error("has {length} characters, more than 253 in the name")]
    TooLong {
        /// How many the name has.
        length: usize,
    },
    /// A wildcard over a whole top-level domain.
    #[error("has a wildcard before a single label, which is half the world")]
    WideWildcard,
    /// An address.
    #[error("is an address; name the host")]
    Address,
    /// No port.
    #[error("has no port from 1 to 65535 after the colon")]
    Port,
}

fn check_characters(
    text: &str,
    max: usize,
    wanted: &'static str,
    belongs: impl Fn(char) -> bool,
) -> Result<(), WordError> {
    if let Some(character) = text.chars().find(|character| !belongs(*character)) {
        return Err(WordError::Character { character, wanted });
    }
    let length = text.len();
    if length == 0 || length > max { Err(WordError::Length { length, max }) } else { Ok(()) }
}

fn check_name(text: &str, max: usize) -> Result<(), WordError> {
    check_characters(text, max, "a-z, 0-9, dots, hyphens and underscores", |c| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_')
    })?;
    if text.starts_with(['.', '-', '_']) || text.ends_with(['.', '-', '_']) {
        return Err(WordError::Punctuation);
    }
    Ok(())
}

impl FromStr for Capability {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check_characters(text, 64, "a-z, 0-9, dots and hyphens", |c| {
            c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-')
        })?;
        if text.split(['.', '-']).any(str::is_empty) || !text.starts_with(|c: char| c.is_ascii_lowercase()) {
            return Err(WordError::Punctuation);
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for Handler {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check_characters(text, 253, "letters, digits and . _ : / @ # -", |c| {
            c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '/' | '@' | '#' | '-')
        })?;
        if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return Err(WordError::Punctuation);
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for ModuleName {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check_name(text, 253)?;
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for InterfaceName {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check_name(text, 64)?;
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for EgressRule {
    type Err = EgressRuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        let (name, wildcard) = match host.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (host, false),
        };
        let labels = check_labels(name).map_err(EgressRuleError::Label)?;
        if name.len() > MAX_NAME_LENGTH {
            return Err(EgressRuleError::TooLong { length: name.len() });
        }
        if name.chars().any(|c| c.is_ascii_uppercase()) {
            return Err(EgressRuleError::UpperCase);
        }
        // What resolvers take for an address: the last label is a number, also one in hex (WHATWG URL, "ends in a number").
        let last = name.rsplit('.').next().unwrap_or_default();
        if last.chars().all(|c| c.is_ascii_digit()) || last.starts_with("0x") {
            return Err(EgressRuleError::Address);
        }
        if wildcard && labels < 2 {
            return Err(EgressRuleError::WideWildcard);
        }
        if let Some(port) = port {
            let canonical = port.parse::<u16>().is_ok_and(|number| number > 0 && number.to_string() == port);
            if !canonical {
                return Err(EgressRuleError::Port);
            }
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        for text in ["log", "storage.kv", "http.fetch-v2"] {
            assert!(text.parse::<Capability>().is_ok(), "{text}");
        }
        for text in ["", "Log", "storage..kv", "2fa", ".kv", "kv-", "a b", &"a".repeat(65)] {
            assert!(text.parse::<Capability>().is_err(), "{text}");
        }
        for text in ["list", "com:example/api@1.0.0#list_notes"] {
            assert!(text.parse::<Handler>().is_ok(), "{text}");
        }
        for text in ["", "#x", "a b", "a\"b", "a\nb", "ä"] {
            assert!(text.parse::<Handler>().is_err(), "{text}");
        }
        assert!("mod-users".parse::<ModuleName>().is_ok());
        assert!("item-storage.batch_sync".parse::<InterfaceName>().is_ok());
        for text in ["", "-a", "a.", "A", "a/b"] {
            assert!(text.parse::<ModuleName>().is_err(), "{text}");
            assert!(text.parse::<InterfaceName>().is_err(), "{text}");
        }
        let long = "a".repeat(65);
        assert!(long.parse::<ModuleName>().is_ok());
        assert_eq!(long.parse::<InterfaceName>(), Err(WordError::Length { length: 65, max: 64 }));
        assert!(long[1..].parse::<InterfaceName>().is_ok());
    }

    #[test]
    fn egress_names_hosts() {
        for text in ["api.example.com", "*.example.com", "localhost", "api.example.com:8443"] {
            assert_eq!(text.parse::<EgressRule>().unwrap().as_str(), text);
        }
        for (text, error) in [
            ("", EgressRuleError::Label(LabelError::Empty)),
            ("*", EgressRuleError::Label(LabelError::Character { character: '*' })),
            ("*.com", EgressRuleError::WideWildcard),
            ("a.*.com", EgressRuleError::Label(LabelError::Character { character: '*' })),
            ("API.example.com", EgressRuleError::UpperCase),
            ("10.0.0.1", EgressRuleError::Address),
            ("2130706433", EgressRuleError::Address),
            ("0x7f.0x1", EgressRuleError::Address),
            ("https://example.com", EgressRuleError::Label(LabelError::Character { character: ':' })),
            ("[::1]", EgressRuleError::Label(LabelError::Character { character: '[' })),
            ("example.com:0", EgressRuleError::Port),
            ("example.com:0443", EgressRuleError::Port),
            ("example.com:65536", EgressRuleError::Port),
            ("example.com:", EgressRuleError::Port),
            ("user@example.com", EgressRuleError::Label(LabelError::Character { character: '@' })),
        ] {
            let found = text.parse::<EgressRule>();
            // A label is read before the port: any refusal of these two will do.
            match text {
                "https://example.com" | "[::1]" => assert!(found.is_err(), "{text}"),
                _ => assert_eq!(found, Err(error), "{text}"),
            }
        }
    }
}

//! The name under which all extensions' host names lie.

use std::str::FromStr;

use super::{LabelError, MAX_NAME_LENGTH, check_labels, is_number};
use crate::text_type::text_type;

/// A DNS name of at least two labels, in lower case, such as `apps.example.com` or `apps.localhost`.
///
/// Reading lowers upper case and strips one trailing dot (the absolute form of the same name).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainRoot(String);

text_type!(DomainRoot);

/// Why a text is no [`DomainRoot`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DomainRootError {
    /// Nothing there, or only a dot.
    #[error("is empty")]
    Empty,
    /// More than 253 characters.
    #[error("has {length} characters, more than 253")]
    TooLong {
        /// How many it has.
        length: usize,
    },
    /// One of its labels is none.
    #[error("{0}")]
    Label(LabelError),
    /// A single label. A wildcard under a whole top-level domain is never what an operator means.
    #[error("has only one label, it needs at least two, such as apps.example.com")]
    OneLabel,
    /// The last label is a number, so that URL parsers take the name for an IPv4 address and refuse it.
    #[error("ends in a number, which makes it an ip address and no dns name")]
    Number,
}

impl FromStr for DomainRoot {
    type Err = DomainRootError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() {
            return Err(DomainRootError::Empty);
        }
        let labels = check_labels(name).map_err(DomainRootError::Label)?;
        if name.len() > MAX_NAME_LENGTH {
            return Err(DomainRootError::TooLong { length: name.len() });
        }
        if labels < 2 {
            return Err(DomainRootError::OneLabel);
        }
        if name.rsplit('.').next().is_some_and(is_number) {
            return Err(DomainRootError::Number);
        }
        Ok(Self(name.to_ascii_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_of_two_labels_and_more() {
        for (text, name) in [
            ("apps.localhost", "apps.localhost"),
            ("Ext.Example.COM", "ext.example.com"),
            ("ext.example.com.", "ext.example.com"),
            ("1.2.example", "1.2.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ] {
            assert_eq!(text.parse::<DomainRoot>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn refuses_what_is_no_dns_name() {
        let label = DomainRootError::Label;
        for (text, error) in [
            ("", DomainRootError::Empty),
            (".", DomainRootError::Empty),
            ("localhost", DomainRootError::OneLabel),
            ("localhost.", DomainRootError::OneLabel),
            ("a..b", label(LabelError::Empty)),
            ("a.b..", label(LabelError::Empty)),
            (".a.b", label(LabelError::Empty)),
            ("-a.b", label(LabelError::Hyphen)),
            ("a.b-", label(LabelError::Hyphen)),
            ("a b.c", label(LabelError::Character { character: ' ' })),
            ("*.example.com", label(LabelError::Character { character: '*' })),
            ("example.com:80", label(LabelError::Character { character: ':' })),
            ("https://example.com", label(LabelError::Character { character: ':' })),
            ("bücher.example", label(LabelError::Character { character: 'ü' })),
            ("10.0.0.1", DomainRootError::Number),
            ("a.0x7f", DomainRootError::Number),
        ] {
            assert_eq!(text.parse::<DomainRoot>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn limits_label_and_name() {
        let label = |length| format!("{}.example", "a".repeat(length));
        assert!(label(63).parse::<DomainRoot>().is_ok());
        assert_eq!(
            label(64).parse::<DomainRoot>(),
            Err(DomainRootError::Label(LabelError::TooLong { length: 64 }))
        );

        let name = |length: usize| format!("{}{}", "a.".repeat((length - 1) / 2), "b".repeat(2 - length % 2));
        assert_eq!(name(253).len(), 253);
        assert!(name(253).parse::<DomainRoot>().is_ok());
        assert_eq!(name(254).len(), 254);
        assert_eq!(name(254).parse::<DomainRoot>(), Err(DomainRootError::TooLong { length: 254 }));
    }
}

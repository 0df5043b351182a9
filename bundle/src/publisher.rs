//! Who publishes.

use std::str::FromStr;

use annex_core::{LabelError, MAX_NAME_LENGTH, check_labels};

use crate::text_type::text_type;

text_type! {
    /// Who publishes an extension, by a DNS name of theirs: at least two labels, in lower case, at most 253 characters.
    ///
    /// A name and not just any text, because certificates name publishers too.
    Publisher {
        length: 253,
        pattern: r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$",
        says: "A DNS name in lower case, such as example.com."
    }
}

/// Why a text names no publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublisherError {
    /// More than 253 characters.
    #[error("has {length} characters, more than 253")]
    TooLong {
        /// How many it has.
        length: usize,
    },
    /// One of its labels is none.
    #[error("{0}")]
    Label(LabelError),
    /// An upper-case letter: one publisher has one spelling.
    #[error("has an upper-case letter")]
    UpperCase,
    /// A single label, which anybody could have.
    #[error("has only one label, it needs at least two, such as example.com")]
    OneLabel,
}

impl FromStr for Publisher {
    type Err = PublisherError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_NAME_LENGTH {
            return Err(PublisherError::TooLong { length: text.len() });
        }
        let labels = check_labels(text).map_err(PublisherError::Label)?;
        if text.chars().any(|c| c.is_ascii_uppercase()) {
            return Err(PublisherError::UpperCase);
        }
        if labels < 2 {
            return Err(PublisherError::OneLabel);
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publisher_is_a_dns_name_with_one_spelling() {
        assert_eq!("example.com".parse::<Publisher>().unwrap().as_str(), "example.com");
        for (text, error) in [
            ("", PublisherError::Label(LabelError::Empty)),
            ("example", PublisherError::OneLabel),
            ("Example.com", PublisherError::UpperCase),
            ("example.com.", PublisherError::Label(LabelError::Empty)),
            ("*.example.com", PublisherError::Label(LabelError::Character { character: '*' })),
        ] {
            assert_eq!(text.parse::<Publisher>(), Err(error), "{text:?}");
        }
        assert_eq!("a.".repeat(127).parse::<Publisher>(), Err(PublisherError::TooLong { length: 254 }));
    }
}

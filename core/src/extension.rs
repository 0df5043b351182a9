//! The name of an extension.

use std::str::FromStr;

use crate::host::{LabelError, MAX_NAME_LENGTH, check_labels};
use crate::slug::{Slug, SlugError};
use crate::text_type::text_type;

/// An extension's name in reverse DNS, such as `com.example.hello`: at least two labels of lower-case letters, digits
/// and inner hyphens (RFC 1123), at most 253 characters, so that it can name a Kubernetes object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtensionName(String);

text_type!(ExtensionName);

/// Why a text is no [`ExtensionName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExtensionNameError {
    /// More than 253 characters.
    #[error("has {length} characters, more than 253")]
    TooLong {
        /// How many it has.
        length: usize,
    },
    /// One of its labels is none.
    #[error("{0}")]
    Label(LabelError),
    /// An upper-case letter: Kubernetes names have none.
    #[error("has an upper-case letter")]
    UpperCase,
    /// A single label, so that two publishers would meet in it.
    #[error("has only one label, it needs at least two, such as com.example.hello")]
    OneLabel,
}

impl ExtensionName {
    /// The slug that the extension gets unless the catalog says another: that of the last label.
    ///
    /// # Errors
    /// None that a parsed name can give, since its labels begin with a letter or a digit.
    pub fn default_slug(&self) -> Result<Slug, SlugError> {
        let last = self.0.rsplit('.').next().unwrap_or_default();
        Slug::of(last)
    }
}

impl FromStr for ExtensionName {
    type Err = ExtensionNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let labels = check_labels(text).map_err(ExtensionNameError::Label)?;
        if text.len() > MAX_NAME_LENGTH {
            return Err(ExtensionNameError::TooLong { length: text.len() });
        }
        if text.chars().any(|c| c.is_ascii_uppercase()) {
            return Err(ExtensionNameError::UpperCase);
        }
        if labels < 2 {
            return Err(ExtensionNameError::OneLabel);
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_slug_is_of_the_last_label() {
        let slug = |name: &str| name.parse::<ExtensionName>().unwrap().default_slug().unwrap().to_string();
        assert_eq!(slug("com.example.hello"), "hello");
        assert_eq!(slug("com.example.time-and-billing"), "time-and-bil");
        assert_eq!(slug("com.2"), "2");
    }

    #[test]
    fn refuses_what_kubernetes_would_or_what_is_not_reverse_dns() {
        for (text, error) in [
            ("", ExtensionNameError::Label(LabelError::Empty)),
            ("hello", ExtensionNameError::OneLabel),
            ("com.example.", ExtensionNameError::Label(LabelError::Empty)),
            ("com.Example", ExtensionNameError::UpperCase),
            ("com.-x", ExtensionNameError::Label(LabelError::Hyphen)),
            ("com/x", ExtensionNameError::Label(LabelError::Character { character: '/' })),
        ] {
            assert_eq!(text.parse::<ExtensionName>(), Err(error), "{text:?}");
        }
        let long = "a.".repeat(127) + "a";
        assert_eq!(long.parse::<ExtensionName>(), Err(ExtensionNameError::TooLong { length: 255 }));
    }
}

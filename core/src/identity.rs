//! Which install a host is: the answer of `GET /api/installs/lookup-by-host?host=`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::ContentHash;
use crate::text_type::text_type;

/// Where a runner says which install the host is that it is asked for. Every other path of a host is the extension's.
pub const IDENTITY_PATH: &str = "/.well-known/annex-install";

/// Whose install answers on a host, of which extension, with which content.
///
/// Registry, controller and runner speak it as JSON. Fields that a later registry adds are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InstallIdentity {
    /// The tenant, by the id that the outside knows it by.
    pub tenant_id: TenantId,
    /// The extension.
    pub extension_id: ExtensionId,
    /// The content that is installed.
    pub content_hash: ContentHash,
}

/// The id that the outside knows a tenant by. Opaque: 1 to 253 bytes without control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(String);

/// The id of an extension; in Annex's own catalog its name. Opaque: 1 to 253 bytes without control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtensionId(String);

/// The id of an Install: its `metadata.uid`, so that one that was deleted and applied again is another. Opaque: 1 to 253 bytes without
/// control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstallId(String);

text_type!(TenantId);
text_type!(ExtensionId);
text_type!(InstallId);

/// Why a text is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// More than 253 bytes.
    #[error("has {length} bytes, more than 253")]
    TooLong {
        /// How many it has.
        length: usize,
    },
    /// A control character, which would let an id forge log lines and headers.
    #[error("has a control character")]
    Control,
}

/// A Kubernetes object's name fits, and anything longer is a mistake.
const MAX_ID_LENGTH: usize = 253;

fn check_id(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > MAX_ID_LENGTH {
        return Err(IdError::TooLong { length: text.len() });
    }
    if text.chars().any(char::is_control) {
        return Err(IdError::Control);
    }
    Ok(())
}

impl FromStr for TenantId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check_id(text).map(|()| Self(text.to_owned()))
    }
}

impl FromStr for ExtensionId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check_id(text).map(|()| Self(text.to_owned()))
    }
}

impl FromStr for InstallId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check_id(text).map(|()| Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(tenant: &str, hash: &str) -> String {
        format!(r#"{{"tenant_id":"{tenant}","extension_id":"com.example.hello","content_hash":"{hash}"}}"#)
    }

    #[test]
    fn is_written_as_the_contract_has_it() {
        let text = json("acme", &format!("sha256:{}", "0a".repeat(32)));
        let identity: InstallIdentity = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&identity).unwrap(), text);
    }

    #[test]
    fn an_incomplete_answer_is_none() {
        let hash = format!("sha256:{}", "0a".repeat(32));
        for text in [json("", &hash), json(r"a\nb", &hash), json("acme", ""), "{}".into(), "null".into()] {
            assert!(serde_json::from_str::<InstallIdentity>(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn ids_have_bounds() {
        assert!("a b: ü".parse::<TenantId>().is_ok());
        assert_eq!("".parse::<TenantId>(), Err(IdError::Empty));
        assert_eq!("a".repeat(254).parse::<ExtensionId>(), Err(IdError::TooLong { length: 254 }));
        assert_eq!("a\u{85}b".parse::<ExtensionId>(), Err(IdError::Control));
        assert_eq!("a\nb".parse::<InstallId>(), Err(IdError::Control));
    }
}

//! The registry's keys, as it publishes them.

use jiff::Timestamp;
use serde::Serialize;

use crate::digest::KeyId;
use crate::document::{self, DocumentError, Field, all_differ};
use crate::keys::PublicKey;
use crate::time::{read_time, show_time, to_second};

/// The largest set of keys.
const MAX_REGISTRY_KEYS: usize = 256 << 10;
const MAX_KEYS: usize = 100;

/// The keys that a registry has signed receipts with. The empty set accepts no receipt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistryKeys {
    keys: Vec<RegistryKey>,
}

/// A key and the time in which the registry signs with it.
///
/// A receipt stays good after that time, if it was issued within it: keys are rotated without installs noticing. A key that was stolen
/// is taken out, or denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryKey {
    key: PublicKey,
    not_before: Timestamp,
    not_after: Option<Timestamp>,
}

impl RegistryKey {
    /// A key that signs from one time to another, or until further notice.
    pub fn new(key: PublicKey, not_before: Timestamp, not_after: Option<Timestamp>) -> Self {
        Self { key, not_before: to_second(not_before), not_after: not_after.map(to_second) }
    }

    /// The key.
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Whether the registry signs with it at that time.
    pub fn is_valid_at(&self, time: Timestamp) -> bool {
        self.not_before <= time && self.not_after.is_none_or(|end| time <= end)
    }
}

impl RegistryKeys {
    /// A set of keys.
    pub fn new(keys: Vec<RegistryKey>) -> Self {
        Self { keys }
    }

    /// Reads what a registry published.
    ///
    /// # Errors
    /// [`DocumentError`] says what is wrong and where.
    pub fn from_json(bytes: &[u8]) -> Result<Self, DocumentError> {
        let keys = document::read(bytes, MAX_REGISTRY_KEYS)?.object(&["keys"], |fields| {
            fields.need("keys")?.list(MAX_KEYS)?.into_iter().map(key).collect::<Result<Vec<_>, _>>()
        })?;
        all_differ("/keys", keys.iter().map(|key| key.key.id()))?;
        Ok(Self { keys })
    }

    /// The set as a registry publishes it.
    pub fn to_json(&self) -> String {
        let keys: Vec<_> = self
            .keys
            .iter()
            .map(|key| Written {
                public_key: key.key.to_pem(),
                not_before: show_time(key.not_before),
                not_after: key.not_after.map(show_time),
            })
            .collect();
        serde_json::json!({ "keys": keys }).to_string()
    }

    /// Whether a key is among them and signs at that time.
    pub fn signs_at(&self, key: &KeyId, time: Timestamp) -> bool {
        self.find(key).is_some_and(|key| key.is_valid_at(time))
    }

    pub(crate) fn find(&self, id: &KeyId) -> Option<&RegistryKey> {
        self.keys.iter().find(|key| key.key.id() == *id)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    public_key: String,
    not_before: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after: Option<String>,
}

fn key(field: Field) -> Result<RegistryKey, DocumentError> {
    field.object(&["publicKey", "notBefore", "notAfter"], |fields| {
        let key = fields
            .need("publicKey")?
            .check(|pem| PublicKey::from_pem(pem.as_bytes()).map_err(|error| error.to_string()))?;
        let not_before = fields.need("notBefore")?.check(read_time)?;
        let not_after = fields.take("notAfter").map(|field| {
            field.check(|text| {
                let end = read_time(text)?;
                if end < not_before { Err("is before notBefore".to_owned()) } else { Ok(end) }
            })
        });
        Ok(RegistryKey { key, not_before, not_after: not_after.transpose()? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{KeyType, SigningKey};

    #[test]
    fn a_set_is_read_as_it_was_published() {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let public = |kind| SigningKey::generate(kind).unwrap().public_key().clone();
        let old = RegistryKey::new(
            public(KeyType::EcdsaP256),
            time("2026-01-01T00:00:00Z"),
            Some(time("2026-06-30T00:00:00Z")),
        );
        let new = RegistryKey::new(public(KeyType::Ed25519), time("2026-06-01T00:00:00.5Z"), None);
        let keys = RegistryKeys::new(vec![old.clone(), new.clone()]);
        assert_eq!(RegistryKeys::from_json(keys.to_json().as_bytes()).unwrap(), keys);
        assert_eq!(keys.find(&new.key.id()), Some(&new));

        assert!(!old.is_valid_at(time("2025-12-31T23:59:59Z")));
        assert!(old.is_valid_at(time("2026-01-01T00:00:00Z")));
        assert!(old.is_valid_at(time("2026-06-30T00:00:00Z")));
        assert!(!old.is_valid_at(time("2026-06-30T00:00:01Z")));
        assert!(new.is_valid_at(time("2126-01-01T00:00:00Z")));

        let twice = RegistryKeys::new(vec![old.clone(), old]).to_json();
        assert_eq!(RegistryKeys::from_json(twice.as_bytes()).unwrap_err().code(), "RepeatedItem");
        let backwards = keys.to_json().replace("2026-06-30", "2025-06-30");
        assert_eq!(
            RegistryKeys::from_json(backwards.as_bytes()).unwrap_err().to_string(),
            "/keys/0/notAfter is before notBefore"
        );
    }
}

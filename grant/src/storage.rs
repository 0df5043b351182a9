//! `POST /v1/kv`, by a runner to the gateway's broker: `storage.kv` for runners that have no database of their own.

use annex_core::KvError;
use serde::{Deserialize, Serialize};

use crate::Base64Bytes;

/// Where the gateway's broker answers, beside [`SECRETS_PATH`](crate::SECRETS_PATH).
pub const KV_PATH: &str = "/v1/kv";
/// The capability without which the broker stores and reads nothing.
pub const KV_CAPABILITY: &str = "storage.kv";
/// A longer body is no [`KvQuestion`]: two values of 64 KiB as base64, a key of 1 KiB in which JSON may write six bytes for one, and what
/// is around them.
pub const LARGEST_KV_QUESTION: usize = 192 << 10;
/// A longer body is no [`KvAnswer`]: 1,000 keys of 1 KiB, with as many escapes.
pub const LARGEST_KV_ANSWER: usize = 6 << 20;

/// One operation on what the call's extension has stored of the call's tenant. Whose it is the grant says, and nothing in here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum KvQuestion {
    /// The value of a key.
    Get {
        /// The key.
        key: String,
    },
    /// Writes a value.
    Set {
        /// The key.
        key: String,
        /// The value.
        value: Base64Bytes,
    },
    /// Writes a value if the key has the one that is expected, in one step.
    CompareAndSet {
        /// The key.
        key: String,
        /// None: the key is not there.
        // Said in so many words: a field that is forgotten must not mean that.
        #[serde(deserialize_with = "Option::deserialize")]
        expected: Option<Base64Bytes>,
        /// The value.
        value: Base64Bytes,
    },
    /// Takes a key away, if it is there.
    Delete {
        /// The key.
        key: String,
    },
    /// Keys that begin with a prefix, in the order of their bytes.
    ListKeys {
        /// Empty: all.
        prefix: String,
        /// They come after this one.
        #[serde(deserialize_with = "Option::deserialize")]
        after: Option<String>,
        /// At most so many, and never more than [`annex_core::MAX_LISTED_KEYS`].
        limit: u32,
    },
}

impl KvQuestion {
    /// The operation's word, as JSON has it: one of five, for metrics.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        match self {
            Self::Get { .. } => "get",
            Self::Set { .. } => "set",
            Self::CompareAndSet { .. } => "compareAndSet",
            Self::Delete { .. } => "delete",
            Self::ListKeys { .. } => "listKeys",
        }
    }
}

/// What became of it, if it is 200.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum KvAnswer {
    /// Of `get`. None: there is no such key.
    Value(Option<Base64Bytes>),
    /// Of `set`, `compareAndSet` and `delete`. False only of `compareAndSet`: the key has another value, and nothing was written.
    Done(bool),
    /// Of `listKeys`.
    Keys(Vec<String>),
}

/// The body of an answer that is not 200.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvRefusal {
    /// What the runner goes by.
    pub code: KvRefusalCode,
    /// For the runner's log.
    #[serde(default)]
    pub message: String,
}

/// Why the store does not. What else the broker says no with (no grant, no such capability, a malformed question) is `Other` here: it
/// says that gateway and runner do not fit together, and nothing about the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KvRefusalCode {
    /// [`KvError::QuotaExceeded`].
    QuotaExceeded,
    /// [`KvError::Unavailable`].
    StorageUnavailable,
    /// The gateway has no store.
    StorageNotConfigured,
    /// Any other.
    #[serde(other)]
    Other,
}

impl KvRefusalCode {
    /// The word, as JSON has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QuotaExceeded => "QuotaExceeded",
            Self::StorageUnavailable => "StorageUnavailable",
            Self::StorageNotConfigured => "StorageNotConfigured",
            Self::Other => "Other",
        }
    }

    /// The status that the broker answers with.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::QuotaExceeded => 507,
            Self::StorageUnavailable | Self::StorageNotConfigured => 503,
            Self::Other => 500,
        }
    }
}

impl From<KvError> for KvRefusalCode {
    fn from(error: KvError) -> Self {
        match error {
            KvError::QuotaExceeded => Self::QuotaExceeded,
            KvError::Unavailable => Self::StorageUnavailable,
        }
    }
}

impl From<KvRefusalCode> for KvError {
    fn from(code: KvRefusalCode) -> Self {
        match code {
            KvRefusalCode::QuotaExceeded => Self::QuotaExceeded,
            KvRefusalCode::StorageUnavailable
            | KvRefusalCode::StorageNotConfigured
            | KvRefusalCode::Other => Self::Unavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use annex_core::{MAX_KEY_BYTES, MAX_LISTED_KEYS, MAX_VALUE_BYTES};
    use serde_json::json;

    use super::*;

    fn bytes(text: &str) -> Base64Bytes {
        Base64Bytes(text.as_bytes().to_vec())
    }

    #[test]
    fn questions_and_answers_have_one_spelling() {
        let key = || "a".to_owned();
        for (question, written) in [
            (KvQuestion::Get { key: key() }, json!({ "get": { "key": "a" } })),
            (
                KvQuestion::Set { key: key(), value: bytes("hi") },
                json!({ "set": { "key": "a", "value": "aGk=" } }),
            ),
            (
                KvQuestion::CompareAndSet { key: key(), expected: None, value: bytes("") },
                json!({ "compareAndSet": { "key": "a", "expected": null, "value": "" } }),
            ),
            (KvQuestion::Delete { key: key() }, json!({ "delete": { "key": "a" } })),
            (
                KvQuestion::ListKeys { prefix: key(), after: Some("ab".into()), limit: 9 },
                json!({ "listKeys": { "prefix": "a", "after": "ab", "limit": 9 } }),
            ),
        ] {
            assert_eq!(serde_json::to_value(&question).unwrap(), written);
            assert_eq!(serde_json::from_str::<KvQuestion>(&written.to_string()).unwrap(), question);
            assert!(written.get(question.operation()).is_some());
        }
        for (answer, written) in [
            (KvAnswer::Value(None), json!({ "value": null })),
            (KvAnswer::Value(Some(bytes(""))), json!({ "value": "" })),
            (KvAnswer::Done(false), json!({ "done": false })),
            (KvAnswer::Keys(vec![key()]), json!({ "keys": ["a"] })),
        ] {
            assert_eq!(serde_json::to_value(&answer).unwrap(), written);
            assert_eq!(serde_json::from_str::<KvAnswer>(&written.to_string()).unwrap(), answer);
        }
    }

    #[test]
    fn what_is_forgotten_or_too_much_is_no_question() {
        for wrong in [
            json!({ "purge": {} }),
            json!({ "get": {} }),
            json!({ "get": { "key": "a", "tenant": "globex" } }),
            json!({ "get": { "key": "a" }, "delete": { "key": "a" } }),
            json!({ "set": { "key": "a", "value": "not base64" } }),
            json!({ "compareAndSet": { "key": "a", "value": "" } }),
            json!({ "listKeys": { "prefix": "", "limit": 1 } }),
            json!({ "listKeys": { "prefix": "", "after": null, "limit": -1 } }),
            json!("get"),
        ] {
            let text = wrong.to_string();
            assert!(serde_json::from_str::<KvQuestion>(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_largest_fit() {
        // A control character is what JSON makes longest.
        let (key, value) = ("\u{1}".repeat(MAX_KEY_BYTES), Base64Bytes(vec![0xff; MAX_VALUE_BYTES]));
        let question = KvQuestion::CompareAndSet {
            key: key.clone(),
            expected: Some(value.clone()),
            value: value.clone(),
        };
        assert!(serde_json::to_vec(&question).unwrap().len() <= LARGEST_KV_QUESTION);
        let keys = KvAnswer::Keys(vec![key; usize::try_from(MAX_LISTED_KEYS).unwrap()]);
        assert!(serde_json::to_vec(&keys).unwrap().len() <= LARGEST_KV_ANSWER);
        assert!(serde_json::to_vec(&KvAnswer::Value(Some(value))).unwrap().len() <= LARGEST_KV_ANSWER);
    }

    #[test]
    fn errors_of_a_store_come_back_as_they_were() {
        for error in [KvError::QuotaExceeded, KvError::Unavailable] {
            let code = KvRefusalCode::from(error);
            let body = serde_json::to_value(KvRefusal { code, message: "m".into() }).unwrap();
            assert_eq!(body["code"], code.as_str());
            assert_eq!(KvError::from(serde_json::from_value::<KvRefusal>(body).unwrap().code), error);
        }
        let unknown: KvRefusal = serde_json::from_value(json!({ "code": "MalformedRequest" })).unwrap();
        assert_eq!(KvError::from(unknown.code), KvError::Unavailable);
    }
}

//! `storage.kv`, as whoever keeps values and whoever asks for them see it: the sandbox, the stores, and the gateway between them.

use async_trait::async_trait;

use crate::identity::{ExtensionId, TenantId};

/// The largest key, in bytes.
pub const MAX_KEY_BYTES: usize = 1 << 10;
/// The largest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 64 << 10;
/// The most keys that are listed at once.
pub const MAX_LISTED_KEYS: u32 = 1_000;

/// Whose call it is. Whoever makes one has it of the gateway's grant, never of a request's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallContext {
    /// The id of the request.
    pub request_id: String,
    /// The tenant.
    pub tenant: TenantId,
    /// The extension.
    pub extension: ExtensionId,
    /// The version of the extension.
    pub version: String,
    /// The install, by its uid.
    pub install: String,
    /// The install's parameters, as JSON.
    pub config: String,
}

/// Where values are kept.
///
/// Keys and values are within [`MAX_KEY_BYTES`] and [`MAX_VALUE_BYTES`] when they come here. What belongs to whom is decided
/// by tenant and extension of the context, and by nothing else: not by the install, which may be made anew, and not by
/// anything in the key.
#[async_trait]
pub trait Kv: Send + Sync {
    /// The value of a key.
    async fn get(&self, context: &CallContext, key: &str) -> Result<Option<Vec<u8>>, KvError>;

    /// Writes a value.
    async fn set(&self, context: &CallContext, key: &str, value: Vec<u8>) -> Result<(), KvError>;

    /// Writes a value if the key has the one that is expected, in one step. False: it has not.
    async fn compare_and_set(
        &self,
        context: &CallContext,
        key: &str,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<bool, KvError>;

    /// Takes a key away, if it is there.
    async fn delete(&self, context: &CallContext, key: &str) -> Result<(), KvError>;

    /// At most `limit` keys that begin with `prefix` and come after `after`, in the order of their bytes.
    async fn list_keys(
        &self,
        context: &CallContext,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>, KvError>;
}

/// Why a store does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KvError {
    /// The extension has stored as much as it may.
    #[error("the extension has stored as much as it may")]
    QuotaExceeded,
    /// The store cannot be reached.
    #[error("the store cannot be reached")]
    Unavailable,
}

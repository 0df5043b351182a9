//! Where notes are kept: what the capability `storage.kv` gives, as far as it is used.

/// Values by key. The host keeps them for this extension in this workspace; no other extension and no other workspace sees them.
pub trait Store {
    /// The value of a key.
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError>;
    /// Writes a value if there is none yet. False: there is one.
    fn insert(&mut self, key: &str, value: &[u8]) -> Result<bool, StoreError>;
    /// Takes a key away, if it is there.
    fn delete(&mut self, key: &str) -> Result<(), StoreError>;
    /// The first `limit` keys that begin with `prefix`, in order.
    fn keys(&self, prefix: &str, limit: u32) -> Result<Vec<String>, StoreError>;
}

/// Why nothing was read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreError {
    /// The workspace has stored as much as it may.
    Full,
    /// Not now.
    Unavailable,
}

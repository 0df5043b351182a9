//! Where notes are kept: what the capability `storage.kv` gives, as far as it is used.

/// Values by key. The host keeps them for this extension in this workspace; no other extension and no other workspace sees them.
pub trait Store {
    /// The value of a key.
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError>;
    /// Writes a value over the one that is expected; none means that the key is not there. False: it has another one, and nothing was
    /// written.
    fn replace(&mut self, key: &str, expected: Option<&[u8]>, value: &[u8]) -> Result<bool, StoreError>;
    /// Takes a key away, if it is there.
    fn delete(&mut self, key: &str) -> Result<(), StoreError>;
    /// The first `limit` keys that begin with `prefix`, in order, after a given one.
    fn keys(&self, prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<String>, StoreError>;
}

/// Why nothing was read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreError {
    /// The workspace has stored as much as it may.
    Full,
    /// Not now.
    Unavailable,
}

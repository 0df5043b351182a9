//! How a store is used.

use std::time::Duration;

/// How a store is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreOptions {
    /// What an extension may store of one tenant, in bytes: keys, values, and [`ENTRY_BYTES`](crate::ENTRY_BYTES) for each
    /// key. 256 MiB. When it becomes less than somebody has, they read and delete, and write what is no larger than before.
    pub quota_bytes: u64,
    /// How long an operation may take, from waiting for its turn to the answer. 2 seconds. Deleting everything may take as
    /// long for each batch.
    pub timeout: Duration,
    /// Connections to PostgreSQL, or readers of the file of SQLite, which has one writer besides. 8. Those that nobody used
    /// for a minute are closed.
    pub connections: u32,
    /// Operations of one tenant at one time; others of theirs wait. 3. Never as many as there are connections, unless
    /// there is only one, so that no tenant has them all.
    pub tenant_operations: u32,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { quota_bytes: 256 << 20, timeout: Duration::from_secs(2), connections: 8, tenant_operations: 3 }
    }
}

impl StoreOptions {
    pub(crate) fn connections(&self) -> u32 {
        self.connections.max(1)
    }

    pub(crate) fn tenant_operations(&self) -> usize {
        self.tenant_operations.min(self.connections().saturating_sub(1)).max(1) as usize
    }

    /// Databases count with a sign.
    pub(crate) fn quota(&self) -> i64 {
        i64::try_from(self.quota_bytes).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tenant_has_all_connections() {
        let of = |connections, tenant_operations| {
            StoreOptions { connections, tenant_operations, ..StoreOptions::default() }.tenant_operations()
        };
        assert_eq!(of(8, 3), 3);
        assert_eq!(of(8, 100), 7);
        assert_eq!(of(1, 3), 1);
        assert_eq!(of(0, 0), 1);
    }
}

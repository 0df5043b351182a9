//! What extensions store, for the runners that have no database of their own.

use std::{collections::HashMap, sync::Arc, time::Duration};

use annex_core::TenantId;
use annex_storage::Store;
use parking_lot::Mutex;

/// Questions of one tenant at a time. The store takes a few of them at once; the others wait, for as long as it has time, with what they
/// brought in memory: so they are bounded, and one tenant's do not take another's place. Its calls are fewer than that.
const OF_ONE_TENANT: usize = 128;
/// Between two questions to the database whether it is there.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// A store, and who asks it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Storage {
    store: Store,
    asking: Arc<Mutex<HashMap<TenantId, usize>>>,
    state: Arc<Mutex<String>>,
}

/// A place among the questions of a tenant, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    asking: Arc<Mutex<HashMap<TenantId, usize>>>,
    tenant: TenantId,
}

impl Storage {
    /// Over a store that is there for as long as the gateway is.
    #[must_use]
    pub fn new(store: Store) -> Self {
        let state = Arc::new(Mutex::new("was not asked yet".to_owned()));
        Self { store, asking: Arc::default(), state }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// None: the tenant has as many questions under way as it may.
    pub(crate) fn place(&self, tenant: &TenantId) -> Option<Place> {
        let mut asking = self.asking.lock();
        let count = asking.entry(tenant.clone()).or_default();
        if *count >= OF_ONE_TENANT {
            return None;
        }
        *count += 1;
        drop(asking);
        Some(Place { asking: Arc::clone(&self.asking), tenant: tenant.clone() })
    }

    /// Asks the database every ten seconds whether it is there, for ever. The store says in the log when that changes.
    pub(crate) async fn keep_checking(&self) {
        loop {
            self.check().await;
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
    }

    async fn check(&self) {
        let state = match self.store.check().await {
            Ok(()) => "answers".to_owned(),
            // It has neither the URL nor a password.
            Err(error) => error.to_string(),
        };
        *self.state.lock() = state;
    }

    /// For who runs the gateway. It is no reason not to be ready: most calls store nothing, and another gateway has no other database.
    pub(crate) fn note(&self) -> String {
        format!("storage: {}", self.state.lock())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut asking = self.asking.lock();
        if let Some(count) = asking.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                asking.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use annex_storage::StoreOptions;

    use super::*;

    #[tokio::test]
    async fn a_tenants_questions_are_bounded_and_nobody_elses_are() {
        // A file that is never made: nothing is asked of it.
        let storage = Storage::new(Store::open("sqlite:///absent/kv.db", StoreOptions::default()).unwrap());
        let (acme, globex): (TenantId, TenantId) = ("acme".parse().unwrap(), "globex".parse().unwrap());
        let places: Vec<_> = (0..OF_ONE_TENANT).map(|_| storage.place(&acme).unwrap()).collect();
        assert!(storage.place(&acme).is_none());
        drop(storage.place(&globex).unwrap());
        drop(places);
        assert!(storage.asking.lock().is_empty(), "who asks nothing is not remembered");
        assert!(storage.place(&acme).is_some());
    }

    #[tokio::test]
    async fn its_note_says_whether_the_database_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("kv.db").display());
        let storage = Storage::new(Store::open(&url, StoreOptions::default()).unwrap());
        assert_eq!(storage.note(), "storage: was not asked yet");
        storage.check().await;
        assert_eq!(storage.note(), "storage: answers");
        storage.store().close().await;
        storage.check().await;
        let note = storage.note();
        assert!(note.starts_with("storage: the store cannot be used: "), "{note}");
        assert!(!note.contains("kv.db"), "{note}");
    }
}

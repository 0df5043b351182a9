//! Implementations that keep everything in memory: for tests, and for trying an extension out.

use std::collections::BTreeMap;
use std::ops::Bound;

use annex_core::{CallContext, ExtensionId, Kv, KvError, TenantId};
use async_trait::async_trait;
use parking_lot::Mutex;

use super::{Level, Log, Metrics, SecretError, Secrets};

/// Whose a value is.
type Owner = (TenantId, ExtensionId);

fn owner(context: &CallContext) -> Owner {
    (context.tenant.clone(), context.extension.clone())
}

/// Values in memory. There is no quota but that of each call.
#[derive(Debug, Default)]
pub struct MemoryKv(Mutex<BTreeMap<Owner, BTreeMap<String, Vec<u8>>>>);

#[async_trait]
impl Kv for MemoryKv {
    async fn get(&self, context: &CallContext, key: &str) -> Result<Option<Vec<u8>>, KvError> {
        Ok(self.0.lock().get(&owner(context)).and_then(|values| values.get(key)).cloned())
    }

    async fn set(&self, context: &CallContext, key: &str, value: Vec<u8>) -> Result<(), KvError> {
        self.0.lock().entry(owner(context)).or_default().insert(key.to_owned(), value);
        Ok(())
    }

    async fn compare_and_set(
        &self,
        context: &CallContext,
        key: &str,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<bool, KvError> {
        let mut owners = self.0.lock();
        let values = owners.entry(owner(context)).or_default();
        let same = values.get(key) == expected.as_ref();
        if same {
            values.insert(key.to_owned(), value);
        }
        Ok(same)
    }

    async fn delete(&self, context: &CallContext, key: &str) -> Result<(), KvError> {
        if let Some(values) = self.0.lock().get_mut(&owner(context)) {
            values.remove(key);
        }
        Ok(())
    }

    async fn list_keys(
        &self,
        context: &CallContext,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>, KvError> {
        let owners = self.0.lock();
        let Some(values) = owners.get(&owner(context)) else { return Ok(Vec::new()) };
        // Keys before the prefix are passed over, and after the last that has it nothing follows.
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let keys = values.range::<str, _>((start, Bound::Unbounded)).map(|(key, _)| key);
        let keys = keys.take_while(|key| key.starts_with(prefix));
        Ok(keys.take(limit as usize).cloned().collect())
    }
}

/// Secrets in memory, all of them granted.
#[derive(Debug, Default)]
pub struct MemorySecrets(BTreeMap<(String, String), Vec<u8>>);

impl FromIterator<((String, String), Vec<u8>)> for MemorySecrets {
    fn from_iter<I: IntoIterator<Item = ((String, String), Vec<u8>)>>(secrets: I) -> Self {
        Self(secrets.into_iter().collect())
    }
}

#[async_trait]
impl Secrets for MemorySecrets {
    async fn get(&self, _context: &CallContext, name: &str, key: &str) -> Result<Vec<u8>, SecretError> {
        if !self.0.keys().any(|(granted, _)| granted == name) {
            return Err(SecretError::NotGranted);
        }
        self.0.get(&(name.to_owned(), key.to_owned())).cloned().ok_or(SecretError::NotFound)
    }
}

/// The lines of all calls, in their order.
#[derive(Debug, Default)]
pub struct KeptLog(Mutex<Vec<(Level, String)>>);

impl KeptLog {
    /// What was written so far.
    pub fn lines(&self) -> Vec<(Level, String)> {
        self.0.lock().clone()
    }
}

impl Log for KeptLog {
    fn write(&self, _context: &CallContext, level: Level, message: &str) {
        self.0.lock().push((level, message.to_owned()));
    }
}

/// The metrics of all calls: sums of what was counted, and the last of what was observed.
#[derive(Debug, Default)]
pub struct KeptMetrics(Mutex<BTreeMap<String, f64>>);

impl KeptMetrics {
    /// What there is so far.
    pub fn values(&self) -> BTreeMap<String, f64> {
        self.0.lock().clone()
    }
}

impl Metrics for KeptMetrics {
    fn count(&self, _context: &CallContext, name: &str, by: u64) {
        #[expect(clippy::cast_precision_loss, reason = "these are shown, not computed with")]
        let by = by as f64;
        *self.0.lock().entry(name.to_owned()).or_default() += by;
    }

    fn observe(&self, _context: &CallContext, name: &str, value: f64) {
        self.0.lock().insert(name.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(tenant: &str) -> CallContext {
        CallContext {
            request_id: "r".into(),
            tenant: tenant.parse().unwrap(),
            extension: "com.example.notes".parse().unwrap(),
            version: "1.0.0".into(),
            install: "i".into(),
            config: "{}".into(),
        }
    }

    #[tokio::test]
    async fn keys_come_in_order_and_in_pages() {
        let (kv, us) = (MemoryKv::default(), context("us"));
        for key in ["a", "b/1", "b/2", "b/3", "c"] {
            kv.set(&us, key, Vec::new()).await.unwrap();
        }
        let list = async |prefix, after, limit| kv.list_keys(&us, prefix, after, limit).await.unwrap();
        assert_eq!(list("", None, 100).await, ["a", "b/1", "b/2", "b/3", "c"]);
        assert_eq!(list("b/", None, 2).await, ["b/1", "b/2"]);
        assert_eq!(list("b/", Some("b/2"), 2).await, ["b/3"]);
        assert_eq!(list("b/", Some("a"), 1).await, ["b/1"]);
        assert!(list("b/", Some("c"), 1).await.is_empty());
        assert!(kv.list_keys(&context("them"), "", None, 100).await.unwrap().is_empty());
    }
}

//! `storage.kv`.

use annex_core::{KvError, MAX_KEY_BYTES, MAX_LISTED_KEYS, MAX_VALUE_BYTES};

use super::view::HostState;
use super::wit::storage_kv;

impl From<KvError> for storage_kv::Error {
    fn from(error: KvError) -> Self {
        match error {
            KvError::QuotaExceeded => Self::QuotaExceeded,
            KvError::Unavailable => Self::Unavailable,
        }
    }
}

type Answer<T> = Result<T, storage_kv::Error>;

fn check_key(key: &str) -> Answer<()> {
    if key.is_empty() || key.len() > MAX_KEY_BYTES { Err(storage_kv::Error::BadKey) } else { Ok(()) }
}

fn check_value(value: &[u8]) -> Answer<()> {
    if value.len() > MAX_VALUE_BYTES { Err(storage_kv::Error::ValueTooLarge) } else { Ok(()) }
}

/// What a step costs that moves no value: without it, a guest asks for nothing without an end.
const STEP_BYTES: usize = 64;

impl HostState {
    fn spend(&mut self, bytes: usize) -> Answer<()> {
        if self.kv_bytes.take(bytes) { Ok(()) } else { Err(storage_kv::Error::CallBudgetSpent) }
    }

    async fn kv_get(&mut self, key: &str) -> Answer<Option<Vec<u8>>> {
        check_key(key)?;
        self.spend(STEP_BYTES + key.len())?;
        let value = self.host.kv.get(&self.context, key).await?;
        self.spend(value.as_ref().map_or(0, Vec::len))?;
        Ok(value)
    }

    async fn kv_set(&mut self, key: &str, value: Vec<u8>) -> Answer<()> {
        check_key(key)?;
        check_value(&value)?;
        self.spend(STEP_BYTES + key.len() + value.len())?;
        Ok(self.host.kv.set(&self.context, key, value).await?)
    }

    async fn kv_compare_and_set(
        &mut self,
        key: &str,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Answer<bool> {
        check_key(key)?;
        check_value(&value)?;
        check_value(expected.as_deref().unwrap_or_default())?;
        self.spend(STEP_BYTES + key.len() + value.len() + expected.as_ref().map_or(0, Vec::len))?;
        Ok(self.host.kv.compare_and_set(&self.context, key, expected, value).await?)
    }

    async fn kv_delete(&mut self, key: &str) -> Answer<()> {
        check_key(key)?;
        self.spend(STEP_BYTES + key.len())?;
        Ok(self.host.kv.delete(&self.context, key).await?)
    }

    async fn kv_list_keys(&mut self, prefix: &str, after: Option<&str>, limit: u32) -> Answer<Vec<String>> {
        // An empty prefix is every key.
        if prefix.len() > MAX_KEY_BYTES || after.is_some_and(|after| after.len() > MAX_KEY_BYTES) {
            return Err(storage_kv::Error::BadKey);
        }
        self.spend(STEP_BYTES + prefix.len())?;
        let limit = limit.min(MAX_LISTED_KEYS);
        let keys = self.host.kv.list_keys(&self.context, prefix, after, limit).await?;
        self.spend(keys.iter().map(String::len).sum())?;
        Ok(keys)
    }
}

// The outer result would end the guest. None of these does.
impl storage_kv::Host for HostState {
    async fn get(&mut self, key: String) -> wasmtime::Result<Answer<Option<Vec<u8>>>> {
        Ok(self.kv_get(&key).await)
    }

    async fn set(&mut self, key: String, value: Vec<u8>) -> wasmtime::Result<Answer<()>> {
        Ok(self.kv_set(&key, value).await)
    }

    async fn compare_and_set(
        &mut self,
        key: String,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> wasmtime::Result<Answer<bool>> {
        Ok(self.kv_compare_and_set(&key, expected, value).await)
    }

    async fn delete(&mut self, key: String) -> wasmtime::Result<Answer<()>> {
        Ok(self.kv_delete(&key).await)
    }

    async fn list_keys(
        &mut self,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> wasmtime::Result<Answer<Vec<String>>> {
        Ok(self.kv_list_keys(&prefix, after.as_deref(), limit).await)
    }
}

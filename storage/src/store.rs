//! The store.

use std::fmt;
use std::sync::Arc;

use annex_core::{CallContext, ExtensionId, Kv, KvError, MAX_LISTED_KEYS, TenantId};
use async_trait::async_trait;
use tokio::time::Instant;

use crate::address::{Address, AddressError};
use crate::database::Database;
use crate::failure::{Failure, StoreError};
use crate::health::Health;
use crate::key_range::KeyRange;
use crate::operation::{CompareAndSet, Delete, Get, ListKeys, Operation, Probe, Purge, Set, Usage};
use crate::options::StoreOptions;
use crate::owner::Owner;
use crate::turns::{Turn, Turns};

/// What extensions store. Copies are the same store.
///
/// Each operation ends within [`StoreOptions::timeout`]. One that writes and is answered by [`KvError::Unavailable`] was
/// mostly not done; if the database was lost just when it confirmed, it was.
///
/// An operation whose caller goes away goes on: its turn ends when the database has ended with it, so that a tenant who gives up
/// early has no more operations at one time than others.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    options: StoreOptions,
    database: Database,
    turns: Turns,
    health: Health,
}

impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.inner.database {
            Database::Sqlite(_) => "SQLite",
            Database::Postgres(_) => "PostgreSQL",
        };
        formatter
            .debug_struct("Store")
            .field("database", &kind)
            .field("options", &self.inner.options)
            .finish()
    }
}

impl Store {
    /// A store in `sqlite:///absolute/path`, a file that is made if it is not there, or at `postgres://…`. Needs a runtime of
    /// tokio.
    ///
    /// Nothing is connected to yet, and the tables are made before the first operation. [`check`](Self::check) does both now.
    pub fn open(url: &str, options: StoreOptions) -> Result<Self, AddressError> {
        let address: Address = url.parse()?;
        let database = Database::new(address, &options);
        let turns = Turns::new(options.tenant_operations());
        Ok(Self { inner: Arc::new(Inner { options, database, turns, health: Health::default() }) })
    }

    /// Whether the database answers and has its tables.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.start(None, Probe).await.map_err(|failure| StoreError::from(&failure))
    }

    /// What an extension has stored of a tenant, in bytes: keys, values, and [`ENTRY_BYTES`](crate::ENTRY_BYTES) for each key.
    pub async fn usage(&self, tenant: &TenantId, extension: &ExtensionId) -> Result<u64, KvError> {
        let owner = Owner { tenant: tenant.clone(), extension: extension.clone() };
        self.run(Usage { owner: owner.clone() }, owner).await
    }

    /// Deletes all that an extension has stored of a tenant, and answers how many keys that were. After an error, some of it may
    /// be gone, and doing it again goes on. It ends when there is nothing more: an extension that still writes is to be
    /// stopped first.
    pub async fn delete_all(&self, tenant: &TenantId, extension: &ExtensionId) -> Result<u64, KvError> {
        let owner = Owner { tenant: tenant.clone(), extension: extension.clone() };
        let mut keys = 0;
        loop {
            let batch = self.run(Purge { owner: owner.clone() }, owner.clone()).await?;
            keys += batch.keys;
            if batch.all {
                return Ok(keys);
            }
        }
    }

    /// Closes all connections. Whatever is asked for afterwards is unavailable.
    pub async fn close(&self) {
        self.inner.database.close().await;
    }

    async fn run<O: Operation>(&self, operation: O, owner: Owner) -> Result<O::Output, KvError> {
        self.start(Some(&owner.tenant), operation).await.map_err(|failure| KvError::from(&failure))
    }

    async fn start<O: Operation>(
        &self,
        tenant: Option<&TenantId>,
        operation: O,
    ) -> Result<O::Output, Failure> {
        let deadline = Instant::now() + self.inner.options.timeout;
        let turn = match tenant {
            None => None,
            Some(tenant) => match tokio::time::timeout_at(deadline, self.inner.turns.take(tenant)).await {
                Ok(turn) => Some(turn),
                // Their own operations are in the way: that says nothing about the database.
                Err(_) => return Err(Failure::Late),
            },
        };
        let inner = Arc::clone(&self.inner);
        let task = tokio::spawn(async move { inner.finish(operation, deadline, turn).await });
        // Else the runtime ends, or what runs there has a bug.
        task.await.unwrap_or(Err(Failure::Stopped))
    }

    fn set(&self, owner: Owner, key: &str, value: Vec<u8>) -> Set {
        Set { owner, key: key.to_owned(), value, quota: self.inner.options.quota() }
    }
}

impl Inner {
    async fn finish<O: Operation>(
        &self,
        operation: O,
        deadline: Instant,
        turn: Option<Turn>,
    ) -> Result<O::Output, Failure> {
        let outcome = tokio::time::timeout_at(deadline, self.database.run(&operation, deadline)).await;
        let outcome = outcome.unwrap_or(Err(Failure::Late));
        drop(turn);
        match &outcome {
            Ok(_) | Err(Failure::QuotaExceeded) => self.health.works(),
            Err(failure) => self.health.fails(failure),
        }
        outcome
    }
}

#[async_trait]
impl Kv for Store {
    async fn get(&self, context: &CallContext, key: &str) -> Result<Option<Vec<u8>>, KvError> {
        let owner = Owner::from(context);
        self.run(Get { owner: owner.clone(), key: key.to_owned() }, owner).await
    }

    async fn set(&self, context: &CallContext, key: &str, value: Vec<u8>) -> Result<(), KvError> {
        let owner = Owner::from(context);
        self.run(self.set(owner.clone(), key, value), owner).await
    }

    async fn compare_and_set(
        &self,
        context: &CallContext,
        key: &str,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<bool, KvError> {
        let owner = Owner::from(context);
        self.run(CompareAndSet { expected, set: self.set(owner.clone(), key, value) }, owner).await
    }

    async fn delete(&self, context: &CallContext, key: &str) -> Result<(), KvError> {
        let owner = Owner::from(context);
        self.run(Delete { owner: owner.clone(), key: key.to_owned() }, owner).await
    }

    async fn list_keys(
        &self,
        context: &CallContext,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>, KvError> {
        let owner = Owner::from(context);
        let range = KeyRange::new(prefix, after);
        let limit = limit.min(MAX_LISTED_KEYS);
        self.run(ListKeys { owner: owner.clone(), range, limit }, owner).await
    }
}

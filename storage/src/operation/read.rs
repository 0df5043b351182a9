//! Operations that write nothing.

use async_trait::async_trait;

use super::{Operation, Outcome};
use crate::failure::Failure;
use crate::key_range::KeyRange;
use crate::owner::Owner;
use crate::session::Session;

/// Reads a value.
#[derive(Debug)]
pub(crate) struct Get {
    pub(crate) owner: Owner,
    pub(crate) key: String,
}

#[async_trait]
impl Operation for Get {
    type Output = Option<Vec<u8>>;
    const WRITES: bool = false;

    async fn run(&self, session: &mut dyn Session) -> Result<Outcome<Self::Output>, Failure> {
        Ok(Outcome::Unchanged(session.value(&self.owner, &self.key).await?))
    }
}

/// Lists keys, in the order of their bytes.
#[derive(Debug)]
pub(crate) struct ListKeys {
    pub(crate) owner: Owner,
    pub(crate) range: KeyRange,
    pub(crate) limit: u32,
}

#[async_trait]
impl Operation for ListKeys {
    type Output = Vec<String>;
    const WRITES: bool = false;

    async fn run(&self, session: &mut dyn Session) -> Result<Outcome<Self::Output>, Failure> {
        let keys = session.keys(&self.owner, &self.range, self.limit).await?;
        let keys = keys.into_iter().map(String::from_utf8).collect::<Result<_, _>>();
        keys.map(Outcome::Unchanged).map_err(|_| Failure::ForeignKey)
    }
}

/// Reads how much an owner has stored, in bytes.
#[derive(Debug)]
pub(crate) struct Usage {
    pub(crate) owner: Owner,
}

#[async_trait]
impl Operation for Usage {
    type Output = u64;
    const WRITES: bool = false;

    async fn run(&self, session: &mut dyn Session) -> Result<Outcome<Self::Output>, Failure> {
        let bytes = session.usage(&self.owner).await?.unwrap_or_default();
        // The table does not take what is less than nothing.
        Ok(Outcome::Unchanged(u64::try_from(bytes).unwrap_or_default()))
    }
}

/// Does nothing. What comes before each operation has then been done: there is a connection, and the tables.
#[derive(Debug)]
pub(crate) struct Probe;

#[async_trait]
impl Operation for Probe {
    type Output = ();
    const WRITES: bool = false;

    async fn run(&self, session: &mut dyn Session) -> Result<Outcome<Self::Output>, Failure> {
        Ok(Outcome::Unchanged(session.answer().await?))
    }
}

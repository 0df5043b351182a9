//! Takes everything of an owner away.

use async_trait::async_trait;

use super::{ENTRY_BYTES, Operation, Outcome};
use crate::failure::Failure;
use crate::owner::Owner;
use crate::session::Session;

/// Keys in one transaction: with the largest values 16 MiB, which a disk takes well within the time of an operation, and then
/// others have their turn.
const BATCH: u32 = 256;

/// Takes the next batch away.
#[derive(Debug)]
pub(crate) struct Purge {
    pub(crate) owner: Owner,
}

/// What a batch has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Purged {
    /// How many keys were taken away.
    pub(crate) keys: u64,
    /// Whether there was nothing more.
    pub(crate) all: bool,
}

#[async_trait]
impl Operation for Purge {
    type Output = Purged;
    const WRITES: bool = true;

    async fn run(&self, session: &mut dyn Session) -> Result<Outcome<Purged>, Failure> {
        let usage = session.lock(&self.owner).await?;
        let removed = session.remove_some(&self.owner, BATCH).await?;
        let bytes: i64 = removed.iter().map(|bytes| bytes + i64::from(ENTRY_BYTES)).sum();
        session.set_usage(&self.owner, usage - bytes).await?;
        let all = removed.len() < BATCH as usize;
        if all {
            session.forget(&self.owner).await?;
        }
        Ok(Outcome::Written(Purged { keys: removed.len() as u64, all }))
    }
}

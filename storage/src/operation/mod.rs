//! What is done with a database: an operation is a value, so that it can be done again after a failure that passes.

mod purge;
mod read;
mod write;

use async_trait::async_trait;

use crate::failure::Failure;
use crate::session::Session;

pub(crate) use purge::Purge;
pub(crate) use read::{Get, ListKeys, Probe, Usage};
pub(crate) use write::{CompareAndSet, Delete, Set};

/// What a key costs of the quota besides itself and its value, in bytes: about what a row and its place in the index take. Without
/// it, keys without values would fill a disk and cost nothing.
pub const ENTRY_BYTES: u32 = 128;

/// What is done with a database.
#[async_trait]
pub(crate) trait Operation: Send + Sync + 'static {
    /// What it answers.
    type Output: Send + 'static;

    /// Whether it is run in a transaction that writes. Reads are one statement each and need none.
    const WRITES: bool;

    /// Does it once.
    async fn run(&self, session: &mut dyn Session) -> Result<Outcome<Self::Output>, Failure>;
}

/// An answer, and what becomes of the transaction.
#[derive(Debug)]
pub(crate) enum Outcome<T> {
    /// Something was written, and is to stay.
    Written(T),
    /// Nothing was written: undoing is cheaper than having a disk confirm it.
    Unchanged(T),
}

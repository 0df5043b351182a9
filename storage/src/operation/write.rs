//! Operations that write one value. Each first locks what its owner has stored: so it sees all that was written before it, and
//! the sum stays right however many write at one time.

use async_trait::async_trait;

use super::{ENTRY_BYTES, Operation, Outcome};
use crate::failure::Failure;
use crate::owner::Owner;
use crate::session::Session;

/// Writes a value.
#[derive(Debug)]
pub(crate) struct Set {
    pub(crate) owner: Owner,
    pub(crate) key: String,
    pub(crate) value: Vec<u8>,
    /// What the owner may store, in bytes.
    pub(crate) quota: i64,
}

/// Writes a value if there is the one that is expected. False: there is not.
#[derive(Debug)]
pub(crate) struct CompareAndSet {
    pub(crate) expected: Option<Vec<u8>>,
    pub(crate) set: Set,
}

/// Takes a key away.
#[derive(Debug)]
pub(crate) struct Delete {
    pub(crate) owner: Owner,
    pub(crate) key: String,
}

#[async_trait]
impl Operation for Set {
    type Output = ();
    const WRITES: bool = true;

    async fn run(&self, session: &mut dyn Session) -> Result<Outcome<()>, Failure> {
        let usage = session.lock(&self.owner).await?;
        let former = session.value_length(&self.owner, &self.key).await?;
        self.write(session, usage, former).await?;
        Ok(Outcome::Written(()))
    }
}

#[async_trait]
impl Operation for CompareAndSet {
    type Output = bool;
    const WRITES: bool = true;

    async fn run(&self, session: &mut dyn Session) -> Result<Outcome<bool>, Failure> {
        let usage = session.lock(&self.set.owner).await?;
        let former = session.value(&self.set.owner, &self.set.key).await?;
        if former != self.expected {
            return Ok(Outcome::Unchanged(false));
        }
        self.set.write(session, usage, former.map(|value| size(value.len()))).await?;
        Ok(Outcome::Written(true))
    }
}

#[async_trait]
impl Operation for Delete {
    type Output = ();
    const WRITES: bool = true;

    async fn run(&self, session: &mut dyn Session) -> Result<Outcome<()>, Failure> {
        let usage = session.lock(&self.owner).await?;
        let Some(former) = session.remove(&self.owner, &self.key).await? else {
            return Ok(Outcome::Unchanged(()));
        };
        session.set_usage(&self.owner, usage - entry(&self.key, former)).await?;
        Ok(Outcome::Written(()))
    }
}

impl Set {
    /// Writes over a value of the length `former`, where an owner has stored `usage`.
    async fn write(&self, session: &mut dyn Session, usage: i64, former: Option<i64>) -> Result<(), Failure> {
        let before = former.map_or(0, |length| entry(&self.key, length));
        let after = entry(&self.key, size(self.value.len()));
        let usage = usage_after(usage, before, after, self.quota).ok_or(Failure::QuotaExceeded)?;
        session.put(&self.owner, &self.key, &self.value).await?;
        Ok(session.set_usage(&self.owner, usage).await?)
    }
}

/// What is stored in all when an entry changes its size; None: it may not. Whoever has more than the quota, because it was
/// more once, may replace what they have by what is no larger.
fn usage_after(usage: i64, before: i64, after: i64, quota: i64) -> Option<i64> {
    let total = usage.saturating_sub(before).saturating_add(after);
    (total <= quota || after <= before).then_some(total)
}

/// What an entry costs.
fn entry(key: &str, value_length: i64) -> i64 {
    size(key.len()).saturating_add(value_length).saturating_add(i64::from(ENTRY_BYTES))
}

/// Databases count with a sign. Nothing in memory is so long that this changes it.
fn size(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quota_is_reached_and_not_passed() {
        assert_eq!(usage_after(0, 0, 100, 100), Some(100));
        assert_eq!(usage_after(1, 0, 100, 100), None);
        assert_eq!(usage_after(100, 50, 50, 100), Some(100));
        assert_eq!(usage_after(100, 50, 51, 100), None);
    }

    #[test]
    fn who_has_more_than_the_quota_may_still_shrink() {
        assert_eq!(usage_after(500, 50, 50, 100), Some(500));
        assert_eq!(usage_after(500, 50, 20, 100), Some(470));
        assert_eq!(usage_after(500, 0, 1, 100), None);
    }

    #[test]
    fn keys_count() {
        assert_eq!(entry("é", 3), 133);
    }
}

use std::collections::{BTreeSet, HashSet};

use parking_lot::Mutex;

use crate::{Nonce, Refusal, UnixMillis};

/// Remembers the nonces of grants for as long as the grants are good, so that each is used once.
///
/// In one process: beside it, another replica of the same runner accepts the same grant once, too. What bounds that is the grant's life.
pub struct ReplayGuard {
    most: usize,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    nonces: HashSet<Nonce>,
    /// The same, by when they may be forgotten.
    until: BTreeSet<(UnixMillis, Nonce)>,
    /// What ended before is forgotten. It never goes back: a clock that does must not make what was forgotten good again.
    forgotten: UnixMillis,
}

impl ReplayGuard {
    /// Remembers so many, each some 100 bytes. It should hold the calls of [a grant's life](crate::Grant) at full speed.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, seen: Mutex::default() }
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seen.lock().nonces.len()
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Remembers `nonce` until the moment from which its grant is refused anyway.
    ///
    /// # Errors
    /// It is remembered already; or no more can be. None is forgotten before its time to make room: that would be the way to use it again.
    pub fn remember(&self, nonce: Nonce, until: UnixMillis, now: UnixMillis) -> Result<(), Refusal> {
        let mut seen = self.seen.lock();
        seen.forget(now);
        if until <= seen.forgotten {
            return Err(Refusal::Expired);
        }
        if seen.nonces.contains(&nonce) {
            return Err(Refusal::Replayed);
        }
        if seen.nonces.len() >= self.most {
            return Err(Refusal::Full);
        }
        seen.nonces.insert(nonce);
        seen.until.insert((until, nonce));
        Ok(())
    }
}

impl Seen {
    fn forget(&mut self, now: UnixMillis) {
        self.forgotten = self.forgotten.max(now);
        while let Some((until, nonce)) =
            self.until.first().copied().filter(|(until, _)| *until <= self.forgotten)
        {
            self.until.remove(&(until, nonce));
            self.nonces.remove(&nonce);
        }
    }
}

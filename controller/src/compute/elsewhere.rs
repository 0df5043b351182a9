use std::{collections::HashSet, sync::Arc};

use kube_kcp::{Backoff, ObjectKey, WorkQueue};
use parking_lot::Mutex;

/// The Installs in which tenants' own clusters have a part.
///
/// They have a queue and workers of their own: a tenant whose cluster takes its time over each answer must not keep those from working that
/// everybody else's Installs need. In it workspaces take turns, one Install of each at a time.
#[derive(Debug)]
pub(crate) struct Elsewhere {
    pub(crate) queue: Arc<WorkQueue<ObjectKey>>,
    at_work: Arc<Mutex<HashSet<ObjectKey>>>,
}

/// Held while an Install is worked on.
#[derive(Debug)]
pub(crate) struct AtWork {
    all: Arc<Mutex<HashSet<ObjectKey>>>,
    key: ObjectKey,
}

impl Default for Elsewhere {
    fn default() -> Self {
        Self { queue: Arc::new(WorkQueue::new(Backoff::default(), 1)), at_work: Arc::default() }
    }
}

impl Elsewhere {
    /// How many are worked on at a time.
    pub(crate) const AT_A_TIME: usize = 8;

    /// Work on an Install begins, out of whichever queue. None: it is being worked on out of the other one.
    pub(crate) fn begin(&self, key: &ObjectKey) -> Option<AtWork> {
        let all = self.at_work.clone();
        self.at_work.lock().insert(key.clone()).then(|| AtWork { all, key: key.clone() })
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.all.lock().remove(&self.key);
    }
}

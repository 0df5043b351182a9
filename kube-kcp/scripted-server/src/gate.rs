use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use crate::changes::Changes;

/// Holds requests until a test lets them go. See [`Fault::held`](crate::Fault::held).
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<State>);

#[derive(Debug, Default)]
struct State {
    open: AtomicBool,
    waiting: AtomicUsize,
    changes: Changes,
}

impl Gate {
    /// A closed one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets go what is held, and whatever comes later.
    pub fn open(&self) {
        self.0.open.store(true, Ordering::SeqCst);
        self.0.changes.wake();
    }

    /// Waits until `count` or more have come to it, counted from its beginning.
    pub async fn reached_by(&self, count: usize) {
        let there = || (self.0.waiting.load(Ordering::SeqCst) >= count).then_some(());
        self.0.changes.until(there).await;
    }

    pub(crate) async fn pass(&self) {
        self.0.waiting.fetch_add(1, Ordering::SeqCst);
        self.0.changes.wake();
        self.0.changes.until(|| self.0.open.load(Ordering::SeqCst).then_some(())).await;
    }
}

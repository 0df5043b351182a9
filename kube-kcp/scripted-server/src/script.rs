use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;

use crate::{changes::Changes, fault::Fault, matching::Match, request::Request};

/// The faults that are to come.
#[derive(Debug, Default)]
pub(crate) struct Scripts(Mutex<Vec<Arc<Script>>>);

#[derive(Debug)]
struct Script {
    matching: Match,
    fault: Fault,
    left: AtomicUsize,
    used: AtomicUsize,
    changes: Changes,
}

impl Scripts {
    pub(crate) fn add(&self, times: usize, matching: Match, fault: Fault) -> Scripted {
        let script = Arc::new(Script {
            matching,
            fault,
            left: AtomicUsize::new(times),
            used: AtomicUsize::new(0),
            changes: Changes::default(),
        });
        self.0.lock().push(script.clone());
        Scripted(script)
    }

    /// The fault of this request: that of the oldest script that is not used up.
    pub(crate) fn take(&self, request: &Request) -> Fault {
        let mut scripts = self.0.lock();
        scripts.retain(|script| script.left.load(Ordering::SeqCst) > 0);
        let Some(script) = scripts.iter().find(|script| script.matching.holds(request)) else {
            return Fault::default();
        };
        script.left.fetch_sub(1, Ordering::SeqCst);
        script.used.fetch_add(1, Ordering::SeqCst);
        script.changes.wake();
        script.fault.clone()
    }
}

/// A fault that was scripted. It stays when this is dropped.
#[derive(Clone, Debug)]
pub struct Scripted(Arc<Script>);

impl Scripted {
    /// How many requests it has met.
    #[must_use]
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::SeqCst)
    }

    /// Waits until it has met so many. It does not time out.
    pub async fn used_by(&self, requests: usize) {
        self.0.changes.until(|| (self.used() >= requests).then_some(())).await;
    }

    /// It meets no further request.
    pub fn end(&self) {
        self.0.left.store(0, Ordering::SeqCst);
    }
}

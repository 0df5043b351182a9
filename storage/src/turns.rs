//! How many operations of one tenant there are at one time.

use std::collections::HashMap;
use std::sync::Arc;

use annex_core::TenantId;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Lets a tenant's operations in, a few at one time and in the order in which they came, so that a tenant who floods waits for
/// themselves and others do not.
///
/// Who waits is not counted here: a guest waits with one operation, and how many guests a tenant runs is bounded by the
/// engine. Each waits no longer than an operation may take.
#[derive(Debug, Clone)]
pub(crate) struct Turns {
    each: usize,
    tenants: Arc<Mutex<HashMap<TenantId, Line>>>,
}

/// Those of one tenant who have a turn or wait. Where there are none there is no line, so that the map does not grow with
/// the tenants that ever were.
#[derive(Debug)]
struct Line {
    semaphore: Arc<Semaphore>,
    people: usize,
}

/// A place in the line; with a permit, a turn. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    tenant: TenantId,
    tenants: Arc<Mutex<HashMap<TenantId, Line>>>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Turns {
    pub(crate) fn new(each: usize) -> Self {
        Self { each, tenants: Arc::default() }
    }

    /// Waits until it is the caller's turn.
    pub(crate) async fn take(&self, tenant: &TenantId) -> Turn {
        let semaphore = {
            let mut tenants = self.tenants.lock();
            let line = tenants
                .entry(tenant.clone())
                .or_insert_with(|| Line { semaphore: Arc::new(Semaphore::new(self.each)), people: 0 });
            line.people += 1;
            Arc::clone(&line.semaphore)
        };
        // Before waiting: who is not waited for any longer leaves the line too.
        let mut turn = Turn { tenant: tenant.clone(), tenants: Arc::clone(&self.tenants), permit: None };
        // None: the semaphore is closed, which nobody does.
        turn.permit = semaphore.acquire_owned().await.ok();
        turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.permit = None;
        let mut tenants = self.tenants.lock();
        if let Some(line) = tenants.get_mut(&self.tenant) {
            line.people = line.people.saturating_sub(1);
            if line.people == 0 {
                tenants.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    #[tokio::test]
    async fn a_tenant_waits_for_themselves_only() {
        let turns = Turns::new(2);
        let (a, b) = (tenant("a"), tenant("b"));
        let first = turns.take(&a).await;
        let _second = turns.take(&a).await;
        let mut third = Box::pin(turns.take(&a));
        assert!(third.as_mut().now_or_never().is_none());
        assert!(turns.take(&b).now_or_never().is_some());
        drop(first);
        assert!(third.now_or_never().is_some());
    }

    #[tokio::test]
    async fn nothing_is_kept_of_who_has_gone() {
        let turns = Turns::new(1);
        let a = tenant("a");
        let first = turns.take(&a).await;
        let mut second = Box::pin(turns.take(&a));
        assert!(second.as_mut().now_or_never().is_none());
        // The second has the turn now, and is gone before it hears of it.
        drop(first);
        drop(second);
        assert!(turns.tenants.lock().is_empty());
        assert!(turns.take(&a).now_or_never().is_some());
    }
}

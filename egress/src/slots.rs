//! How many requests are under way.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use annex_core::TenantId;
use parking_lot::Mutex;

/// Counts requests, all of them and those of each tenant. Whoever finds no slot is sent away: a queue would be memory that
/// guests fill.
#[derive(Debug)]
pub(crate) struct Slots {
    all: usize,
    each: usize,
    // As many keys as there are requests at most.
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    tenants: HashMap<TenantId, usize>,
}

/// A request's slot, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    tenant: TenantId,
}

impl Slots {
    pub(crate) fn new(all: usize, each: usize) -> Arc<Self> {
        Arc::new(Self { all, each, taken: Mutex::default() })
    }

    pub(crate) fn take(self: &Arc<Self>, tenant: &TenantId) -> Option<Slot> {
        let mut taken = self.taken.lock();
        let of_tenant = taken.tenants.get(tenant).copied().unwrap_or_default();
        if taken.all >= self.all || of_tenant >= self.each {
            return None;
        }
        taken.all += 1;
        taken.tenants.insert(tenant.clone(), of_tenant + 1);
        Some(Slot { slots: Arc::clone(self), tenant: tenant.clone() })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken.lock();
        taken.all = taken.all.saturating_sub(1);
        if let Entry::Occupied(mut count) = taken.tenants.entry(self.tenant.clone()) {
            if *count.get() <= 1 {
                count.remove();
            } else {
                *count.get_mut() -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    #[test]
    fn a_tenant_that_floods_is_sent_away_alone() {
        let slots = Slots::new(10, 2);
        let (one, other) = (tenant("one"), tenant("other"));
        let held: Vec<_> = (0..2).map(|_| slots.take(&one).unwrap()).collect();
        assert!(slots.take(&one).is_none());
        assert!(slots.take(&other).is_some());
        drop(held);
        assert!(slots.take(&one).is_some());
    }

    #[test]
    fn all_together_have_so_many() {
        let slots = Slots::new(2, 2);
        let held = [slots.take(&tenant("one")), slots.take(&tenant("two"))];
        assert!(held.iter().all(Option::is_some));
        assert!(slots.take(&tenant("three")).is_none());
    }

    #[test]
    fn nothing_is_kept_of_those_who_are_gone() {
        let slots = Slots::new(100, 2);
        for index in 0..50 {
            drop(slots.take(&tenant(&format!("t{index}"))).unwrap());
        }
        let taken = slots.taken.lock();
        assert_eq!((taken.all, taken.tenants.len()), (0, 0));
    }
}

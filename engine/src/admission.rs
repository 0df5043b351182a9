//! How many calls there are at one time.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use annex_core::TenantId;
use parking_lot::Mutex;

use crate::call_error::Scope;

/// Counts the calls that run: all, each tenant's, each install's. Nobody waits: whoever comes when it is full is sent away, so
/// that a flood fills no queue and costs its own tenant only.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    limits: Limits,
    running: Arc<Mutex<Running>>,
}

/// Calls at one time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) engine: u32,
    pub(crate) tenant: u32,
    pub(crate) install: u32,
    /// Of these, those of one tenant that are not crowded while others call as well.
    pub(crate) uncrowded: u32,
}

/// So long after another tenant's call there is still somebody to be considerate of.
const OTHERS_CALL: Duration = Duration::from_secs(1);

/// Who has none running has no entry, so that this never grows beyond the engine's limit.
#[derive(Debug, Default)]
struct Running {
    engine: u32,
    tenants: HashMap<TenantId, u32>,
    installs: HashMap<(TenantId, String), u32>,
    /// Who called last, and since when there was nobody else.
    last: Option<TenantId>,
    alone_since: Option<Instant>,
}

/// A running call. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    tenant: TenantId,
    install: (TenantId, String),
    crowded: bool,
    running: Arc<Mutex<Running>>,
}

impl Admitted {
    /// Whether its tenant has many calls already while others call as well.
    pub(crate) fn crowded(&self) -> bool {
        self.crowded
    }
}

impl Running {
    /// Whether others than this tenant, who calls now, have calls or had one a moment ago.
    fn others_call(&mut self, tenant: &TenantId, now: Instant) -> bool {
        if self.last.as_ref() != Some(tenant) {
            // The first of all has had nobody before.
            self.alone_since = self.last.is_some().then_some(now);
            self.last = Some(tenant.clone());
        }
        let runs = usize::from(self.tenants.contains_key(tenant));
        self.tenants.len() > runs
            || self.alone_since.is_some_and(|since| now.duration_since(since) < OTHERS_CALL)
    }
}

impl Admission {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, running: Arc::default() }
    }

    /// Admits a call of an install that may have at most `own` at one time.
    ///
    /// The install is asked first: who floods their own install hears that it is theirs that is full.
    pub(crate) fn admit(
        &self,
        tenant: &TenantId,
        install: &str,
        own: Option<u32>,
        now: Instant,
    ) -> Result<Admitted, Scope> {
        let install = (tenant.clone(), install.to_owned());
        let mut running = self.running.lock();
        let count = |map: Option<&u32>| map.copied().unwrap_or(0);
        if count(running.installs.get(&install)) >= own.unwrap_or(u32::MAX).min(self.limits.install) {
            return Err(Scope::Install);
        }
        let of_tenant = count(running.tenants.get(tenant));
        if of_tenant >= self.limits.tenant {
            return Err(Scope::Tenant);
        }
        if running.engine >= self.limits.engine {
            return Err(Scope::Engine);
        }
        let crowded = running.others_call(tenant, now) && of_tenant >= self.limits.uncrowded;
        running.engine += 1;
        *running.tenants.entry(tenant.clone()).or_default() += 1;
        *running.installs.entry(install.clone()).or_default() += 1;
        Ok(Admitted { tenant: tenant.clone(), install, crowded, running: Arc::clone(&self.running) })
    }

    /// How many run.
    pub(crate) fn running(&self) -> u32 {
        self.running.lock().engine
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut running = self.running.lock();
        running.engine = running.engine.saturating_sub(1);
        one_less(running.tenants.entry(self.tenant.clone()));
        one_less(running.installs.entry(self.install.clone()));
    }
}

fn one_less<K: Eq + Hash>(entry: Entry<'_, K, u32>) {
    if let Entry::Occupied(mut entry) = entry {
        match entry.get().saturating_sub(1) {
            0 => {
                entry.remove();
            }
            fewer => *entry.get_mut() = fewer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    fn admission() -> Admission {
        Admission::new(Limits { engine: 3, tenant: 2, install: 2, uncrowded: 1 })
    }

    #[test]
    fn each_scope_has_its_limit() {
        let admission = admission();
        let (a, b) = (tenant("a"), tenant("b"));
        let _one = admission.admit(&a, "i", Some(1), Instant::now()).unwrap();
        assert_eq!(admission.admit(&a, "i", Some(1), Instant::now()).unwrap_err(), Scope::Install);
        let _two = admission.admit(&a, "j", None, Instant::now()).unwrap();
        assert_eq!(admission.admit(&a, "k", None, Instant::now()).unwrap_err(), Scope::Tenant);
        let _three = admission.admit(&b, "i", None, Instant::now()).unwrap();
        assert_eq!(admission.admit(&b, "j", None, Instant::now()).unwrap_err(), Scope::Engine);
    }

    #[test]
    fn an_install_of_another_tenant_is_another_install() {
        let admission = admission();
        let _one = admission.admit(&tenant("a"), "same", Some(1), Instant::now()).unwrap();
        assert!(admission.admit(&tenant("b"), "same", Some(1), Instant::now()).is_ok());
    }

    #[test]
    fn an_end_makes_room_and_leaves_nothing() {
        let admission = admission();
        let a = tenant("a");
        let calls = [
            admission.admit(&a, "i", None, Instant::now()).unwrap(),
            admission.admit(&a, "i", None, Instant::now()).unwrap(),
        ];
        assert_eq!(admission.admit(&a, "i", None, Instant::now()).unwrap_err(), Scope::Install);
        drop(calls);
        assert_eq!(admission.running(), 0);
        let running = admission.running.lock();
        assert!(running.tenants.is_empty() && running.installs.is_empty());
    }

    #[test]
    fn nothing_is_counted_for_who_is_sent_away() {
        let admission = admission();
        let a = tenant("a");
        assert!(admission.admit(&a, "i", Some(0), Instant::now()).is_err());
        assert_eq!(admission.running(), 0);
    }

    #[test]
    fn a_tenant_is_crowded_by_many_calls_of_its_own_while_others_call() {
        let admission = admission();
        let (a, b, start) = (tenant("a"), tenant("b"), Instant::now());
        let crowded = |tenant, after| admission.admit(tenant, "i", None, start + after).unwrap().crowded;
        let first = admission.admit(&a, "i", None, start).unwrap();
        assert!(!first.crowded && !crowded(&a, Duration::ZERO), "nobody else is there");
        // `b` calls once, and has none running any more.
        assert!(!crowded(&b, Duration::ZERO), "its first is never crowded");
        assert!(crowded(&a, Duration::ZERO));
        assert!(crowded(&a, OTHERS_CALL / 2));
        assert!(!crowded(&a, OTHERS_CALL));
        let _of_b = admission.admit(&b, "i", None, start + OTHERS_CALL).unwrap();
        assert!(crowded(&a, OTHERS_CALL * 9), "one that runs is there for as long as it does");
    }
}

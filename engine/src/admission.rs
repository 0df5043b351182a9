//! How many calls there are at one time.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::Arc;

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
}

/// Who has none running has no entry, so that this never grows beyond the engine's limit.
#[derive(Debug, Default)]
struct Running {
    engine: u32,
    tenants: HashMap<TenantId, u32>,
    installs: HashMap<(TenantId, String), u32>,
}

/// A running call. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    tenant: TenantId,
    install: (TenantId, String),
    running: Arc<Mutex<Running>>,
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
    ) -> Result<Admitted, Scope> {
        let install = (tenant.clone(), install.to_owned());
        let mut running = self.running.lock();
        let count = |map: Option<&u32>| map.copied().unwrap_or(0);
        if count(running.installs.get(&install)) >= own.unwrap_or(u32::MAX).min(self.limits.install) {
            return Err(Scope::Install);
        }
        if count(running.tenants.get(tenant)) >= self.limits.tenant {
            return Err(Scope::Tenant);
        }
        if running.engine >= self.limits.engine {
            return Err(Scope::Engine);
        }
        running.engine += 1;
        *running.tenants.entry(tenant.clone()).or_default() += 1;
        *running.installs.entry(install.clone()).or_default() += 1;
        Ok(Admitted { tenant: tenant.clone(), install, running: Arc::clone(&self.running) })
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
        Admission::new(Limits { engine: 3, tenant: 2, install: 2 })
    }

    #[test]
    fn each_scope_has_its_limit() {
        let admission = admission();
        let (a, b) = (tenant("a"), tenant("b"));
        let _one = admission.admit(&a, "i", Some(1)).unwrap();
        assert_eq!(admission.admit(&a, "i", Some(1)).unwrap_err(), Scope::Install);
        let _two = admission.admit(&a, "j", None).unwrap();
        assert_eq!(admission.admit(&a, "k", None).unwrap_err(), Scope::Tenant);
        let _three = admission.admit(&b, "i", None).unwrap();
        assert_eq!(admission.admit(&b, "j", None).unwrap_err(), Scope::Engine);
    }

    #[test]
    fn an_install_of_another_tenant_is_another_install() {
        let admission = admission();
        let _one = admission.admit(&tenant("a"), "same", Some(1)).unwrap();
        assert!(admission.admit(&tenant("b"), "same", Some(1)).is_ok());
    }

    #[test]
    fn an_end_makes_room_and_leaves_nothing() {
        let admission = admission();
        let a = tenant("a");
        let calls = [admission.admit(&a, "i", None).unwrap(), admission.admit(&a, "i", None).unwrap()];
        assert_eq!(admission.admit(&a, "i", None).unwrap_err(), Scope::Install);
        drop(calls);
        assert_eq!(admission.running(), 0);
        let running = admission.running.lock();
        assert!(running.tenants.is_empty() && running.installs.is_empty());
    }

    #[test]
    fn nothing_is_counted_for_who_is_sent_away() {
        let admission = admission();
        let a = tenant("a");
        assert!(admission.admit(&a, "i", Some(0)).is_err());
        assert_eq!(admission.running(), 0);
    }
}

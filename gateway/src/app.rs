use std::{sync::Arc, time::Duration};

use annex_answering::{Callers, Catalog, Installs, Workspaces};
use annex_grant::{KeyRing, ReplayGuard};
use annex_runner_client::Runners;
use annex_service::Followed;

use crate::{
    bodies::Bodies, heard::Early, metrics::Metrics, parameters::Parameters, rights::Rights, storage::Storage,
};

/// The parts of a gateway.
pub struct App {
    /// kcp, in the tenants' workspaces.
    pub workspaces: Workspaces,
    /// Who asks.
    pub callers: Callers,
    /// What they may.
    pub rights: Rights,
    /// What grants are signed with.
    pub keys: Followed<KeyRing>,
    /// What is published, and who is a tenant.
    pub catalog: Catalog,
    /// What is installed.
    pub installs: Arc<Installs>,
    /// What extensions are handed out of Secrets.
    pub parameters: Parameters,
    /// The calls that come before what they are for is known.
    pub early: Early,
    /// The orders that were carried out lately: none is a second time.
    pub orders: ReplayGuard,
    /// What executes.
    pub runners: Runners,
    /// What extensions store, for runners that have no database of their own. None: those store nothing.
    pub storage: Option<Storage>,
    /// The bodies that are in memory.
    pub bodies: Bodies,
    /// What an operator may set.
    pub settings: Settings,
    /// What is counted.
    pub metrics: Metrics,
}

/// What an operator may set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a call may take, from when its body is here.
    pub timeout: Duration,
    /// How long its body may take to come.
    pub upload: Duration,
    /// Memory of a call whose version names none, in MiB.
    pub default_memory_mb: u32,
    /// By how much the clocks of gateway and runners may differ.
    pub skew: Duration,
}

impl App {
    /// Whether what is unknown does not exist.
    pub fn is_synced(&self) -> bool {
        self.catalog.versions.is_synced() && self.catalog.tenants.is_synced() && self.installs.is_synced()
    }
}

//! What every request is answered with.

use std::sync::Arc;

use annex_answering::{Callers, Catalog, Installs, Workspaces};
use annex_service::{Followed, RunnerTokens};
use kube::Client;

use crate::{
    metrics::Metrics, pace::Patience, places::Places, policy::Policy, scratch::Scratch, store::BundleStore,
};

/// The parts of a registry.
pub struct App {
    /// kcp, in the provider's workspace.
    pub provider: Client,
    /// kcp, in the tenants' workspaces.
    pub workspaces: Workspaces,
    /// Who asks.
    pub callers: Callers,
    /// By what runners are known.
    pub runners: Followed<RunnerTokens>,
    /// Whom to trust.
    pub policy: Policy,
    /// Where bundles are.
    pub store: BundleStore,
    /// Where uploads are.
    pub scratch: Scratch,
    /// How slow an upload may be.
    pub patience: Patience,
    /// How many uploads there may be.
    pub places: Places,
    /// Extensions are made one after another, so that two of one slug do not pass each other.
    pub making: tokio::sync::Mutex<()>,
    /// Something in the store is other than it was judged to be.
    pub mended: tokio::sync::Notify,
    /// What is published.
    pub catalog: Catalog,
    /// What is installed.
    pub installs: Arc<Installs>,
    /// What is counted.
    pub metrics: Metrics,
}

impl App {
    /// Whether what is unknown does not exist.
    pub fn is_synced(&self) -> bool {
        self.catalog.is_synced() && self.installs.is_synced()
    }
}

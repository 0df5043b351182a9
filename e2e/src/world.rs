use std::path::{Path, PathBuf};

use anyhow::Context as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube_kcp::Connection;
use xtask::{Part, Settings, Stack};

use crate::{Cluster, RunnerClient, Tenancy};

/// A running environment.
#[derive(Debug)]
pub struct World {
    /// The processes.
    pub stack: Stack,
}

impl World {
    /// Brings an environment up on free ports, in the folder that `ANNEX_E2E_STATE` names, with kcp, provider and services.
    /// It stays up: `cargo xtask test` and `cargo xtask bench` take it down, whatever happens.
    ///
    /// # Errors
    /// The environment does not come up.
    pub fn up(release: bool) -> anyhow::Result<Self> {
        annex_service::install_tls_provider();
        let state = std::env::var_os("ANNEX_E2E_STATE").map_or_else(default_state, PathBuf::from);
        xtask::down(&state, true).context("the last environment cannot be taken down")?;
        let settings = Settings { release, ..Settings::with_free_ports(&state)? };
        Ok(Self { stack: Stack::up(&settings)? })
    }

    /// Like [`World::up`], with a Kubernetes cluster that has Knative, on which Installs run.
    ///
    /// # Errors
    /// The environment does not come up.
    pub fn up_knative(release: bool) -> anyhow::Result<Self> {
        annex_service::install_tls_provider();
        let state = std::env::var_os("ANNEX_E2E_STATE").map_or_else(default_state, PathBuf::from);
        xtask::down(&state, true).context("the last environment cannot be taken down")?;
        let settings = Settings { release, ..Settings::with_free_ports_and_knative(&state)? };
        Ok(Self { stack: Stack::up(&settings)? })
    }

    /// The compute cluster as its administrator sees it.
    ///
    /// # Errors
    /// There is none, or its kubeconfig cannot be used.
    pub async fn cluster(&self) -> anyhow::Result<Cluster> {
        Self::cluster_by(&self.stack.paths().compute_kubeconfig()).await
    }

    /// The compute cluster as Annex's controller sees it, under the very identity that it has there.
    ///
    /// # Errors
    /// There is none, or its kubeconfig cannot be used.
    pub async fn cluster_of_the_controller(&self) -> anyhow::Result<Cluster> {
        Self::cluster_by(&self.stack.paths().compute_service_kubeconfig(Part::Controller)).await
    }

    async fn cluster_by(path: &Path) -> anyhow::Result<Cluster> {
        let config = Kubeconfig::read_from(path).with_context(|| path.display().to_string())?;
        let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
        Ok(Cluster::new(Connection::new(config)?.home()))
    }

    /// kcp as its administrator sees it.
    ///
    /// # Errors
    /// The kubeconfig cannot be used.
    pub async fn admin(&self) -> anyhow::Result<Tenancy> {
        self.open(self.stack.paths().kcp_kubeconfig()).await
    }

    /// kcp as one of the users `alice`, `bob` or `mallory` sees it.
    ///
    /// # Errors
    /// The kubeconfig cannot be used.
    pub async fn user(&self, name: &str) -> anyhow::Result<Tenancy> {
        self.open(self.stack.paths().user_kubeconfig(name)).await
    }

    /// kcp as the current context of a kubeconfig sees it.
    ///
    /// # Errors
    /// The kubeconfig cannot be used.
    pub async fn open(&self, kubeconfig: PathBuf) -> anyhow::Result<Tenancy> {
        self.open_as(kubeconfig, &KubeConfigOptions::default()).await
    }

    /// kcp as a member of `system:masters` sees it: past all of its admission, as no person should come.
    ///
    /// # Errors
    /// The kubeconfig cannot be used.
    pub async fn master(&self) -> anyhow::Result<Tenancy> {
        let context = KubeConfigOptions { context: Some("system:admin".into()), ..Default::default() };
        self.open_as(self.stack.paths().state().join("kcp/admin.kubeconfig"), &context).await
    }

    async fn open_as(&self, kubeconfig: PathBuf, options: &KubeConfigOptions) -> anyhow::Result<Tenancy> {
        let config = Kubeconfig::read_from(&kubeconfig).with_context(|| kubeconfig.display().to_string())?;
        let mut config = kube::Config::from_custom_kubeconfig(config, options).await?;
        let server = self.stack.ops_url(Part::Kcp);
        config.cluster_url = server.parse()?;
        Ok(Tenancy::new(Connection::new(config)?, server))
    }

    /// The runner, as browsers reach it.
    ///
    /// # Errors
    /// No client can be made.
    pub fn runner(&self) -> anyhow::Result<RunnerClient> {
        RunnerClient::new(
            self.stack.settings(),
            &self.stack.registry_url()?,
            &self.stack.paths().runner_tokens(),
        )
    }
}

fn default_state() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.annex/test")
}

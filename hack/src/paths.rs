//! The layout of a state directory.

use std::path::{Path, PathBuf};

use crate::compute::Component;
use crate::part::Part;

/// The files of one environment.
#[derive(Clone, Debug)]
pub struct Paths {
    state: PathBuf,
}

impl Paths {
    pub(crate) fn new(state: &Path) -> Self {
        Self { state: state.to_path_buf() }
    }

    /// The state directory itself.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The administrator's kubeconfig: contexts `root` (current) and `annex`, the provider's workspace.
    #[must_use]
    pub fn kcp_kubeconfig(&self) -> PathBuf {
        self.state.join("kcp.kubeconfig")
    }

    /// A user's kubeconfig: `alice` (contexts `root`, `acme`), `bob` (`root`, `globex`) or `mallory` (`root`).
    #[must_use]
    pub fn user_kubeconfig(&self, user: &str) -> PathBuf {
        self.state.join("users").join(format!("{user}.kubeconfig"))
    }

    /// The kubeconfig of a service's own identity in the provider's workspace: the controller's, the gateway's, the
    /// initializer's or the registry's.
    #[must_use]
    pub fn service_kubeconfig(&self, part: Part) -> PathBuf {
        self.state.join("services").join(format!("{part}.kubeconfig"))
    }

    /// Where the registry keeps bundles.
    #[must_use]
    pub fn bundle_store(&self) -> PathBuf {
        self.state.join("bundles")
    }

    /// Where the runner keeps bundles that it verified; only without Knative, whose pods have disks of their own.
    #[must_use]
    pub fn runner_cache(&self) -> PathBuf {
        self.state.join("runner-cache")
    }

    /// Where the runner keeps what it compiled; only without Knative.
    pub(crate) fn runner_code_cache(&self) -> PathBuf {
        self.state.join("runner-code-cache")
    }

    /// Whom the registry, the controller and the runner trust: the development publisher's key, for any publisher.
    #[must_use]
    pub fn trust_bundle(&self) -> PathBuf {
        self.signing().join("trust.pem")
    }

    /// What is revoked: nothing, at first.
    #[must_use]
    pub fn denylist(&self) -> PathBuf {
        self.signing().join("denylist")
    }

    /// The private key of the development publisher, for `kubectl annex sign`.
    #[must_use]
    pub fn publisher_key(&self) -> PathBuf {
        self.signing().join("publisher.key")
    }

    /// What runners are known to the registry by.
    #[must_use]
    pub fn runner_tokens(&self) -> PathBuf {
        self.signing().join("runner-tokens")
    }

    /// What the gateway signs grants with.
    #[must_use]
    pub fn grant_keys(&self) -> PathBuf {
        self.signing().join("grant-keys")
    }

    /// What the runner of this machine verifies grants by; only without Knative.
    #[must_use]
    pub fn runner_grant_keys(&self) -> PathBuf {
        self.signing().join("runner-grant-keys")
    }

    /// Where extensions' storage is.
    #[must_use]
    pub fn storage(&self) -> PathBuf {
        self.state.join("storage")
    }

    /// Where the demo packs the sample.
    pub(crate) fn sample(&self) -> PathBuf {
        self.state.join("sample")
    }

    /// The registry's private key.
    #[must_use]
    pub fn registry_key(&self) -> PathBuf {
        self.signing().join("registry.key")
    }

    /// The registry's public keys.
    #[must_use]
    pub fn registry_keys(&self) -> PathBuf {
        self.signing().join("registry-keys.json")
    }

    fn signing(&self) -> PathBuf {
        self.state.join("signing")
    }

    /// The certificate authority of kcp's address. Absent where the system's own authorities vouch for it.
    #[must_use]
    pub fn kcp_ca(&self) -> PathBuf {
        self.state.join("kcp-ca.crt")
    }

    /// The kubeconfig of the compute cluster's administrator; only with Knative.
    #[must_use]
    pub fn compute_kubeconfig(&self) -> PathBuf {
        self.state.join("compute.kubeconfig")
    }

    /// The kubeconfig of a service's own identity on the compute cluster; only the controller has one.
    #[must_use]
    pub fn compute_service_kubeconfig(&self, part: Part) -> PathBuf {
        self.state.join("services").join(format!("{part}.compute.kubeconfig"))
    }

    /// The authority of the domains' certificate, for `curl --cacert`; only with TLS.
    #[must_use]
    pub fn domains_ca(&self) -> PathBuf {
        self.state.join("domains-ca.crt")
    }

    pub(crate) fn domains_certificate(&self) -> PathBuf {
        self.state.join("domains.crt")
    }

    pub(crate) fn domains_key(&self) -> PathBuf {
        self.state.join("domains.key")
    }

    /// What the domains' certificate was made for, and until when.
    pub(crate) fn domains_record(&self) -> PathBuf {
        self.state.join("domains.json")
    }

    /// Everything of the cluster that runs here.
    pub(crate) fn compute(&self) -> PathBuf {
        self.state.join("compute")
    }

    pub(crate) fn compute_log(&self, component: Component) -> PathBuf {
        self.logs().join(format!("compute-{component}.log"))
    }

    pub(crate) fn compute_record(&self, component: Component) -> PathBuf {
        self.pids().join(format!("compute-{component}.json"))
    }

    /// How the ingress is set up.
    pub(crate) fn ingress_config(&self) -> PathBuf {
        self.state.join("ingress.json")
    }

    /// What a part has printed, over all its starts.
    #[must_use]
    pub fn log(&self, part: Part) -> PathBuf {
        self.logs().join(format!("{part}.log"))
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }

    pub(crate) fn pid_record(&self, part: Part) -> PathBuf {
        self.pids().join(format!("{part}.json"))
    }

    pub(crate) fn state_file(&self) -> PathBuf {
        self.state.join("state.json")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.state.join("lock")
    }

    pub(crate) fn kcp_root(&self) -> PathBuf {
        self.state.join("kcp")
    }

    pub(crate) fn kcp_tokens(&self) -> PathBuf {
        self.state.join("kcp-tokens.csv")
    }

    /// Kubectl's memory of which kinds a server has, kept out of the person's own: it outlives a purged kcp by minutes.
    pub(crate) fn kubectl_cache(&self) -> PathBuf {
        self.state.join("kubectl-cache")
    }

    pub(crate) fn pids(&self) -> PathBuf {
        self.state.join("pids")
    }

    /// Everything that is ever written here; the record that says whose it is comes last.
    pub(crate) fn written(&self) -> Vec<PathBuf> {
        vec![
            self.kcp_root(),
            self.kcp_kubeconfig(),
            self.kcp_ca(),
            self.kcp_tokens(),
            self.state.join("users"),
            self.state.join("services"),
            self.signing(),
            self.bundle_store(),
            self.runner_cache(),
            self.runner_code_cache(),
            self.storage(),
            self.sample(),
            self.logs(),
            self.pids(),
            self.kubectl_cache(),
            self.compute(),
            self.compute_kubeconfig(),
            self.ingress_config(),
            self.domains_ca(),
            self.domains_certificate(),
            self.domains_key(),
            self.domains_record(),
            self.lock(),
            self.state_file(),
        ]
    }
}

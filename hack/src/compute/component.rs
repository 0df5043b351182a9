//! The processes of a cluster that runs here.

use std::fmt;
use std::path::{Path, PathBuf};

use super::config::{API_PORT, NODE, PODS, SERVICES};
use super::network::Network;
use super::pki::Pki;
use crate::paths::Paths;
use crate::process::Launch;
use crate::tools::Tool;

/// One process of the compute cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// What the API server keeps its objects in.
    Etcd,
    /// What runs containers.
    Containerd,
    /// The cluster's API: without it the cluster is out of reach, while its pods run on.
    ApiServer,
    /// Kubernetes' own controllers.
    ControllerManager,
    /// What finds a node for a pod.
    Scheduler,
    /// What makes pods into containers.
    Kubelet,
    /// What makes Services reachable.
    KubeProxy,
}

impl Component {
    /// All of them, in the order in which they start.
    pub const ALL: [Self; 7] = [
        Self::Etcd,
        Self::Containerd,
        Self::ApiServer,
        Self::ControllerManager,
        Self::Scheduler,
        Self::KubeProxy,
        Self::Kubelet,
    ];

    /// The name of its log and of its process record, each after `compute-`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Containerd => "containerd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
        }
    }

    /// What it is built from. None: it is a package of the system's.
    pub(super) fn tool(self) -> Option<Tool> {
        match self {
            Self::Etcd => Some(Tool::Etcd),
            Self::Containerd => None,
            Self::ApiServer => Some(Tool::KubeApiserver),
            Self::ControllerManager => Some(Tool::KubeControllerManager),
            Self::Scheduler => Some(Tool::KubeScheduler),
            Self::Kubelet => Some(Tool::Kubelet),
            Self::KubeProxy => Some(Tool::KubeProxy),
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a cluster keeps its files.
#[derive(Clone, Debug)]
pub(super) struct Folders {
    /// What outlives it.
    pub(super) compute: PathBuf,
    /// What does not: pods, among others. Short: a socket's path has at most 107 bytes, the kubelet has one in its folder, too,
    /// and a state directory may be anywhere.
    pub(super) runtime: PathBuf,
    /// What containers print.
    pub(super) logs: PathBuf,
}

impl Folders {
    pub(super) fn new(paths: &Paths, name: &str) -> Self {
        Self {
            compute: paths.compute(),
            runtime: Path::new("/run").join(name),
            logs: paths.logs().join("pods"),
        }
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.runtime.join("containerd.sock")
    }

    pub(super) fn containerd_config(&self) -> PathBuf {
        self.compute.join("containerd.toml")
    }

    pub(super) fn kubelet_config(&self) -> PathBuf {
        self.compute.join("kubelet.json")
    }

    pub(super) fn pod_network_config(&self) -> PathBuf {
        self.compute.join("cni/10-annex.conflist")
    }
}

/// How a component is started, in the cluster's own network.
pub(super) fn launch(
    component: Component,
    program: PathBuf,
    folders: &Folders,
    network: &Network,
    pki: &Pki,
    fsync: bool,
) -> Launch {
    let node = network.node;
    let path = |path: PathBuf| path.display().to_string();
    let kubeconfig = |holder: &str| format!("--kubeconfig={}", path(pki.kubeconfig(holder)));
    let mut inputs = Vec::new();
    let args = match component {
        Component::Etcd => {
            let mut args = vec![
                format!("--data-dir={}", path(folders.compute.join("etcd"))),
                "--listen-client-urls=http://127.0.0.1:2379".to_owned(),
                "--advertise-client-urls=http://127.0.0.1:2379".to_owned(),
                "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
                "--log-level=warn".to_owned(),
            ];
            if !fsync {
                args.push("--unsafe-no-fsync".to_owned());
            }
            args
        }
        Component::Containerd => {
            inputs.push(folders.containerd_config());
            vec!["--config".to_owned(), path(folders.containerd_config())]
        }
        Component::ApiServer => {
            inputs.push(pki.certificate("apiserver"));
            vec![
                "--etcd-servers=http://127.0.0.1:2379".to_owned(),
                "--bind-address=0.0.0.0".to_owned(),
                format!("--secure-port={API_PORT}"),
                format!("--advertise-address={node}"),
                format!("--client-ca-file={}", path(pki.authority())),
                format!("--tls-cert-file={}", path(pki.certificate("apiserver"))),
                format!("--tls-private-key-file={}", path(pki.key("apiserver"))),
                "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
                format!("--service-account-signing-key-file={}", path(pki.key("tokens"))),
                format!("--service-account-key-file={}", path(pki.tokens_public())),
                format!("--service-cluster-ip-range={SERVICES}"),
                "--authorization-mode=Node,RBAC".to_owned(),
                format!("--kubelet-client-certificate={}", path(pki.certificate("admin"))),
                format!("--kubelet-client-key={}", path(pki.key("admin"))),
                format!("--kubelet-certificate-authority={}", path(pki.authority())),
                "--kubelet-preferred-address-types=InternalIP".to_owned(),
            ]
        }
        Component::ControllerManager => vec![
            kubeconfig("controller-manager"),
            format!("--service-account-private-key-file={}", path(pki.key("tokens"))),
            format!("--root-ca-file={}", path(pki.authority())),
            "--use-service-account-credentials".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            "--leader-elect=false".to_owned(),
        ],
        Component::Scheduler => vec![
            kubeconfig("scheduler"),
            "--bind-address=127.0.0.1".to_owned(),
            "--leader-elect=false".to_owned(),
        ],
        Component::Kubelet => {
            inputs.push(folders.kubelet_config());
            inputs.push(pki.certificate("kubelet"));
            vec![
                format!("--config={}", path(folders.kubelet_config())),
                kubeconfig("kubelet"),
                format!("--hostname-override={NODE}"),
                format!("--node-ip={node}"),
                format!("--root-dir={}", path(folders.runtime.join("kubelet"))),
            ]
        }
        Component::KubeProxy => vec![
            kubeconfig("proxy"),
            "--proxy-mode=iptables".to_owned(),
            format!("--hostname-override={NODE}"),
            format!("--cluster-cidr={PODS}"),
            "--iptables-localhost-nodeports=false".to_owned(),
            // The limits are the machine's, not the namespace's, and not ours to set.
            "--conntrack-max-per-core=0".to_owned(),
            "--conntrack-tcp-timeout-established=0".to_owned(),
            "--conntrack-tcp-timeout-close-wait=0".to_owned(),
        ],
    };
    for holder in ["controller-manager", "scheduler", "kubelet", "proxy"] {
        if args.contains(&kubeconfig(holder)) {
            inputs.push(pki.kubeconfig(holder));
        }
    }
    Launch { program, args, env: Vec::new(), inputs, network: Some(network.namespace()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_runs_inside_under_an_identity_of_its_own() {
        let network =
            Network { name: "annex-1".to_owned(), host: [10, 89, 0, 1].into(), node: [10, 89, 0, 2].into() };
        let folders = Folders::new(&Paths::new(Path::new("/state")), &network.name);
        let pki = Pki::new(&folders.compute);
        for component in Component::ALL {
            let launch = launch(component, "/bin/x".into(), &folders, &network, &pki, true);
            assert_eq!(launch.network.as_deref(), Some(Path::new("/run/netns/annex-1")), "{component}");
            let line = launch.args.join(" ");
            assert!(!line.contains("admin.kubeconfig") && !line.contains("no-fsync"), "{component}: {line}");
        }
        let etcd = launch(Component::Etcd, "/bin/x".into(), &folders, &network, &pki, false);
        assert!(etcd.args.contains(&"--unsafe-no-fsync".to_owned()));
    }
}

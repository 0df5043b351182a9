//! The files by which the node's parts are set up, and the addresses that they agree on.

use std::net::Ipv4Addr;
use std::path::Path;

use serde_json::{Value, json};

use super::component::Folders;
use super::network::Network;
use super::pki::Pki;

/// The node's name.
pub(super) const NODE: &str = "node1";
/// Inside the cluster's own network nothing else has these.
pub(super) const API_PORT: u16 = 6443;
pub(super) const PODS: &str = "10.244.0.0/24";
pub(super) const SERVICES: &str = "10.96.0.0/16";
pub(super) const API_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
pub(super) const DNS_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
/// Where the ingress answers at the node's address.
pub(super) const HTTP_NODE_PORT: u16 = 30080;
pub(super) const HTTPS_NODE_PORT: u16 = 30443;
/// Where it answers there for what has no address outside: a gateway on this machine calls runners through it.
pub(super) const INTERNAL_NODE_PORT: u16 = 30090;
/// The image of what holds a pod's network.
pub(super) const PAUSE: &str = "dev.local/pause:1";

/// containerd, with nothing outside the environment's folders but its runtime's sockets, which are removed by name.
pub(super) fn containerd(folders: &Folders, plugins: &Path) -> String {
    let Folders { compute, runtime, .. } = folders;
    let (root, state, socket) =
        (quoted(&compute.join("containerd")), quoted(&runtime.join("containerd")), quoted(&folders.socket()));
    let (opt, bin, conf) = (quoted(&compute.join("opt")), quoted(plugins), quoted(&compute.join("cni")));
    // restrict_oom_score_adj: a sandbox without CAP_SYS_RESOURCE cannot lower the score of a process.
    format!(
        r#"version = 2
root = {root}
state = {state}
[grpc]
  address = {socket}
[plugins."io.containerd.internal.v1.opt"]
  path = {opt}
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = {bin}
    conf_dir = {conf}
"#
    )
}

/// A path as a string of TOML, which quotes like JSON does.
fn quoted(path: &Path) -> String {
    Value::from(path.display().to_string()).to_string()
}

/// A link of its own for each pod and routes between them: a bridge would have replies bypass kube-proxy's translation
/// wherever the kernel does not send bridged packets through iptables.
pub(super) fn pod_network(folders: &Folders, network: &Network) -> Value {
    let ipam = json!({
        "type": "host-local",
        "dataDir": folders.compute.join("pod-addresses"),
        "ranges": [[{"subnet": PODS}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    });
    json!({
        "cniVersion": "0.4.0",
        "name": network.name,
        "plugins": [
            // The machine has no route back to the pods, so they come to it as the node.
            {"type": "ptp", "ipMasq": true, "ipam": ipam},
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

/// The kubelet.
pub(super) fn kubelet(folders: &Folders, pki: &Pki) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "x509": {"clientCAFile": pki.authority()},
            "anonymous": {"enabled": false},
            "webhook": {"enabled": false},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "tlsCertFile": pki.certificate("kubelet"),
        "tlsPrivateKeyFile": pki.key("kubelet"),
        "containerRuntimeEndpoint": format!("unix://{}", folders.socket().display()),
        "podLogsDir": folders.logs,
        "volumePluginDir": folders.compute.join("volume-plugins"),
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": "cluster.local",
        "podCIDR": PODS,
        // The machine's name servers may be loopback addresses, which are others inside.
        "resolvConf": "",
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": false,
        "enforceNodeAllocatable": [],
        "localStorageCapacityIsolation": false,
        // A developer's machine may swap, may have its older control groups, and may not lower a process's score.
        "failSwapOn": false,
        "failCgroupV1": false,
        "oomScoreAdj": 0,
        // Images come from no registry: one that is collected, or lost with an evicted pod, does not come back. A disk
        // that is full enough for either is the developer's to look after.
        "evictionHard": {"memory.available": "50Mi"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_outside_of_our_folders() {
        let folders = Folders {
            compute: "/state \"x\"/compute".into(),
            runtime: "/run/annex-1".into(),
            logs: "/state \"x\"/logs/pods".into(),
        };
        let network =
            Network { name: "annex-1".to_owned(), host: [10, 89, 0, 1].into(), node: [10, 89, 0, 2].into() };
        let text = containerd(&folders, Path::new("/usr/lib/cni"));
        assert!(text.contains(r#"root = "/state \"x\"/compute/containerd""#), "{text}");
        assert!(text.contains(r#"address = "/run/annex-1/containerd.sock""#), "{text}");
        let kubelet = kubelet(&folders, &Pki::new(&folders.compute));
        assert_eq!(kubelet.pointer("/podLogsDir").unwrap(), "/state \"x\"/logs/pods");
        let data = pod_network(&folders, &network);
        assert_eq!(data.pointer("/plugins/0/ipam/dataDir").unwrap(), "/state \"x\"/compute/pod-addresses");
    }
}

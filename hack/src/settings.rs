//! What a person may choose about an environment.

use std::fs::File;
use std::io::Read as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::{collections::BTreeMap, env};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::part::Part;

/// Where installs run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ComputeMode {
    /// In one runner on this machine, for which a wildcard name is enough
    #[default]
    Direct,
    /// On a Kubernetes cluster with Knative Serving
    Knative,
}

/// The choices behind one environment; recorded in its state directory, so that later commands need no options.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Where everything about the environment is kept. Not recorded: the folder may be moved.
    #[serde(skip)]
    pub state_dir: PathBuf,
    /// kcp's own address.
    pub kcp_port: u16,
    /// The embedded etcd's address for clients; the next port is the one for its peers.
    pub etcd_port: u16,
    /// Where the installs' domains answer without TLS.
    pub runner_port: u16,
    /// The first of nine ports for the services' own use.
    pub services_port: u16,
    /// The name under which installs get theirs.
    pub domain_root: String,
    /// A kcp that runs elsewhere: the current context of this file is its administrator. None: one is started here.
    pub kcp_kubeconfig: Option<PathBuf>,
    /// A kcp binary to use instead of the pinned one.
    pub kcp_bin: Option<PathBuf>,
    /// Whether etcd waits for the disk. Only tests do without: a power cut loses the environment.
    pub fsync: bool,
    /// Whether the services are built with optimisation.
    pub release: bool,
    /// Where installs run.
    #[serde(default)]
    pub compute: ComputeMode,
    /// A cluster with Knative that runs elsewhere: the current context of this file is its administrator. None: one is
    /// started here.
    #[serde(default)]
    pub compute_kubeconfig: Option<PathBuf>,
    /// The runner's image in a registry of one's own. None: it is built here and handed to the cluster that runs here.
    #[serde(default)]
    pub runner_image: Option<String>,
    /// `HOST:PORT` at which the ingress of the cluster elsewhere takes HTTP.
    #[serde(default)]
    pub ingress_http: Option<String>,
    /// `HOST:PORT` at which the ingress of the cluster elsewhere takes HTTPS.
    #[serde(default)]
    pub ingress_https: Option<String>,
    /// Where the pods of the cluster elsewhere reach the registry of this machine. None: at the address from which this
    /// machine reaches that cluster.
    #[serde(default)]
    pub registry_url: Option<String>,
    /// Where the installs' domains answer over TLS.
    #[serde(default = "https_port")]
    pub https_port: u16,
    /// Whether the installs' domains have a certificate, made here. Their URLs then are https. At [`Settings::runner_port`] nothing
    /// answers then without Knative; with it, the ingress sends on to https, but to the same port (Envoy does, other than with
    /// 80 and 443).
    #[serde(default)]
    pub tls: bool,
}

fn https_port() -> u16 {
    8443
}

impl Settings {
    /// What `cargo xtask up` without options uses.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self {
            state_dir: state_dir.to_path_buf(),
            kcp_port: 6443,
            etcd_port: 2379,
            runner_port: 8080,
            services_port: 8090,
            domain_root: "apps.localhost".to_owned(),
            kcp_kubeconfig: None,
            kcp_bin: env::var_os("KCP_BIN").filter(|path| !path.is_empty()).map(PathBuf::from),
            fsync: true,
            release: false,
            compute: ComputeMode::Direct,
            compute_kubeconfig: None,
            runner_image: None,
            ingress_http: None,
            ingress_https: None,
            registry_url: None,
            https_port: https_port(),
            tls: false,
        }
    }

    /// Settings for a test: ports that nobody uses at this moment, and an etcd that does not wait for the disk.
    ///
    /// # Errors
    /// When no block of free ports is found.
    pub fn with_free_ports(state_dir: &Path) -> Result<Self> {
        /// kcp, etcd and its peers, runner, nine of the services, HTTPS.
        const BLOCK: u16 = 14;
        let mut random = File::open("/dev/urandom").context("cannot open /dev/urandom")?;
        for _ in 0..50 {
            let mut bytes = [0; 2];
            random.read_exact(&mut bytes).context("cannot read /dev/urandom")?;
            // Below the range from which the system takes outgoing ports: kcp opens hundreds of connections to itself
            // and would otherwise take a port that a service is about to listen on.
            let base = 18_000 + u16::from_le_bytes(bytes) % 12_000;
            if (base..base + BLOCK).all(is_free) {
                return Ok(Self {
                    kcp_port: base,
                    etcd_port: base + 1,
                    runner_port: base + 3,
                    services_port: base + 4,
                    https_port: base + 13,
                    fsync: false,
                    ..Self::new(state_dir)
                });
            }
        }
        bail!("found no {BLOCK} free ports in a row between 18000 and 30000")
    }

    /// [`Settings::with_free_ports`] for a test on a Kubernetes cluster with Knative. What the cluster itself listens on
    /// is inside a network of its own.
    ///
    /// # Errors
    /// When no block of free ports is found.
    pub fn with_free_ports_and_knative(state_dir: &Path) -> Result<Self> {
        Ok(Self { compute: ComputeMode::Knative, ..Self::with_free_ports(state_dir)? })
    }

    /// Whether a Kubernetes cluster is started here.
    #[must_use]
    pub fn runs_cluster(&self) -> bool {
        self.compute == ComputeMode::Knative && self.compute_kubeconfig.is_none()
    }

    /// Where a part that is not kcp answers `/healthz`, `/readyz` and `/metrics`.
    pub(crate) fn ops_url(&self, part: Part) -> String {
        format!("http://127.0.0.1:{}", self.ops_port(part))
    }

    /// The port on which a part tells of itself.
    #[must_use]
    pub fn ops_port(&self, part: Part) -> u16 {
        match part {
            Part::Kcp => self.kcp_port,
            // Not on its public port: that one belongs to the installs' domains.
            Part::Runner => self.runner_internal_port(),
            Part::Ingress => self.services_port.saturating_add(4),
            Part::Controller => self.services_port,
            Part::Initializer => self.services_port.saturating_add(2),
            Part::Registry => self.services_port.saturating_add(5),
            Part::Gateway => self.services_port.saturating_add(7),
        }
    }

    /// Where extensions' APIs are.
    #[must_use]
    pub fn gateway_port(&self) -> u16 {
        self.services_port.saturating_add(6)
    }

    /// Where runners ask the gateway for secrets.
    pub(crate) fn broker_port(&self) -> u16 {
        self.services_port.saturating_add(8)
    }

    /// Where the registry's API is.
    #[must_use]
    pub fn registry_port(&self) -> u16 {
        self.services_port.saturating_add(1)
    }

    /// Where the installs' domains answer on this machine; with Knative without TLS, whatever else they have.
    #[must_use]
    pub fn runner_url(&self) -> String {
        if self.runner_has_tls() {
            format!("https://127.0.0.1:{}", self.https_port)
        } else {
            format!("http://127.0.0.1:{}", self.runner_port)
        }
    }

    /// Whether the runner of this machine itself serves TLS.
    pub(crate) fn runner_has_tls(&self) -> bool {
        self.tls && self.compute == ComputeMode::Direct
    }

    /// Scheme and port of the installs' URLs.
    #[must_use]
    pub fn domain_scheme_and_port(&self) -> (&'static str, u16) {
        if self.tls { ("https", self.https_port) } else { ("http", self.runner_port) }
    }

    /// Where the runner answers everything but the installs' domains.
    #[must_use]
    pub fn runner_internal_port(&self) -> u16 {
        self.services_port.saturating_add(3)
    }

    pub(crate) fn etcd_peer_port(&self) -> u16 {
        self.etcd_port.saturating_add(1)
    }

    /// The ports that a part listens on, each with what it is for and the option that moves it.
    pub(crate) fn ports(&self, part: Part) -> Vec<PortUse> {
        let port = |number, purpose, option| PortUse { number, purpose, option };
        match part {
            Part::Kcp => vec![
                port(self.kcp_port, "kcp", "--kcp-port"),
                port(self.etcd_port, "kcp's etcd", "--etcd-port"),
                port(self.etcd_peer_port(), "kcp's etcd peers (one after --etcd-port)", "--etcd-port"),
            ],
            Part::Runner => vec![
                if self.runner_has_tls() {
                    port(self.https_port, "the runner", "--https-port")
                } else {
                    port(self.runner_port, "the runner", "--runner-port")
                },
                port(self.runner_internal_port(), "the runner's health and metrics", "--services-port"),
            ],
            Part::Ingress => vec![
                port(self.runner_port, "the installs' domains", "--runner-port"),
                port(self.https_port, "the installs' domains with TLS", "--https-port"),
                port(self.ops_port(part), "the ingress's health and metrics", "--services-port"),
            ],
            Part::Initializer => {
                vec![port(self.ops_port(part), "the initializer's health and metrics", "--services-port")]
            }
            Part::Controller => {
                vec![port(self.ops_port(part), "the controller's health and metrics", "--services-port")]
            }
            Part::Registry => vec![
                port(self.ops_port(part), "the registry's health and metrics", "--services-port"),
                port(self.registry_port(), "the registry's API", "--services-port"),
            ],
            Part::Gateway => vec![
                port(self.gateway_port(), "the extensions' APIs", "--services-port"),
                port(self.ops_port(part), "the gateway's health and metrics", "--services-port"),
                port(self.broker_port(), "the gateway's secrets, for runners", "--services-port"),
            ],
        }
    }

    /// The parts that run here.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Part> + use<> {
        let (kcp, compute) = (self.kcp_kubeconfig.is_none(), self.compute);
        Part::ALL.into_iter().filter(move |part| match part {
            Part::Kcp => kcp,
            Part::Runner => compute == ComputeMode::Direct,
            Part::Ingress => compute == ComputeMode::Knative,
            Part::Initializer | Part::Controller | Part::Registry | Part::Gateway => true,
        })
    }

    /// Those of [`Part::SERVICES`] that run here.
    pub(crate) fn services(&self) -> Vec<Part> {
        self.parts().filter(|part| *part != Part::Kcp).collect()
    }

    /// Refuses what cannot work, before anything has been started.
    pub(crate) fn validate(&self) -> Result<()> {
        if self.services_port > u16::MAX - 8 || self.etcd_port == u16::MAX {
            bail!("--services-port needs eight more ports after it, --etcd-port one: choose lower numbers");
        }
        self.validate_compute()?;
        let mut seen = BTreeMap::new();
        for used in self.parts().flat_map(|part| self.ports(part)) {
            if used.number == 0 {
                bail!("{} must not be 0: others have to know the port", used.option);
            }
            if let Some(other) = seen.insert(used.number, used.purpose) {
                bail!(
                    "port {} is for {other} and for {}: move one with {}",
                    used.number,
                    used.purpose,
                    used.option
                );
            }
        }
        Ok(())
    }
}

impl Settings {
    fn validate_compute(&self) -> Result<()> {
        let (knative, elsewhere) = (self.compute == ComputeMode::Knative, self.compute_kubeconfig.is_some());
        if elsewhere && !knative {
            bail!("--compute-kubeconfig is for --compute knative");
        }
        if elsewhere && (self.runner_image.is_none() || self.ingress_http.is_none()) {
            bail!(
                "--compute-kubeconfig also needs --runner-image, an image of the runner that the cluster can pull \
                 (hack/images/Dockerfile builds it), and --ingress-http HOST:PORT, where its ingress answers"
            );
        }
        if elsewhere && self.tls && self.ingress_https.is_none() {
            bail!(
                "--tls also needs --ingress-https HOST:PORT, where the ingress of that cluster takes HTTPS"
            );
        }
        if self.tls && !self.domain_root.trim_end_matches('.').contains('.') {
            bail!(
                "--tls needs a --domain-root of two labels or more: clients refuse a certificate for *.{}",
                self.domain_root
            );
        }
        for address in [&self.ingress_http, &self.ingress_https].into_iter().flatten() {
            split_address(address).with_context(|| format!("{address:?} is not HOST:PORT"))?;
        }
        Ok(())
    }
}

/// `HOST:PORT`, in two.
pub(crate) fn split_address(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    (!host.is_empty() && !host.contains('/')).then_some((host, port))
}

/// One port that a part listens on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PortUse {
    pub(crate) number: u16,
    pub(crate) purpose: &'static str,
    pub(crate) option: &'static str,
}

/// Whether somebody could listen there now.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_do_not_collide() {
        Settings::new(Path::new("state")).validate().unwrap();
    }

    #[test]
    fn free_ports_do_not_collide() {
        let settings = Settings::with_free_ports(Path::new("state")).unwrap();
        settings.validate().unwrap();
        assert!(settings.parts().flat_map(|part| settings.ports(part)).all(|used| is_free(used.number)));
    }

    #[test]
    fn one_port_for_two_things_is_refused_by_name() {
        let settings = Settings { runner_port: 8090, ..Settings::new(Path::new("state")) };
        let message = settings.validate().unwrap_err().to_string();
        assert!(message.contains("8090") && message.contains("--services-port"), "{message}");
    }

    #[test]
    fn with_knative_the_runner_is_not_here() {
        let settings = Settings::with_free_ports_and_knative(Path::new("state")).unwrap();
        settings.validate().unwrap();
        assert!(settings.runs_cluster());
        assert_eq!(
            settings.services(),
            [Part::Registry, Part::Gateway, Part::Ingress, Part::Initializer, Part::Controller]
        );
        let direct = Settings::new(Path::new("state"));
        assert_eq!(
            direct.services(),
            [Part::Registry, Part::Runner, Part::Gateway, Part::Initializer, Part::Controller]
        );
    }

    #[test]
    fn a_cluster_elsewhere_needs_its_image_and_its_ingress() {
        let settings = Settings {
            compute: ComputeMode::Knative,
            compute_kubeconfig: Some("config".into()),
            ..Settings::new(Path::new("state"))
        };
        assert!(settings.validate().unwrap_err().to_string().contains("--runner-image"));
        let whole = Settings {
            runner_image: Some("r/i:1".to_owned()),
            ingress_http: Some("ingress.example.com:80".to_owned()),
            ..settings
        };
        whole.validate().unwrap();
        assert!(Settings { compute: ComputeMode::Direct, ..whole.clone() }.validate().is_err());
        let odd = Settings { ingress_http: Some("http://ingress".to_owned()), ..whole };
        assert!(odd.validate().unwrap_err().to_string().contains("HOST:PORT"));
    }

    #[test]
    fn with_tls_the_runner_listens_elsewhere_and_the_ingress_at_both() {
        let direct = Settings { tls: true, ..Settings::new(Path::new("state")) };
        direct.validate().unwrap();
        let numbers = |settings: &Settings, part| {
            settings.ports(part).iter().map(|port| port.number).collect::<Vec<_>>()
        };
        assert_eq!(numbers(&direct, Part::Runner), [8443, 8093]);
        assert_eq!(direct.runner_url(), "https://127.0.0.1:8443");
        assert_eq!(direct.domain_scheme_and_port(), ("https", 8443));
        let knative = Settings { compute: ComputeMode::Knative, ..direct };
        assert_eq!(numbers(&knative, Part::Ingress), [8080, 8443, 8094]);
        assert_eq!(knative.runner_url(), "http://127.0.0.1:8080");
        assert_eq!(knative.domain_scheme_and_port(), ("https", 8443));
    }

    #[test]
    fn tls_that_cannot_work_is_refused() {
        let one_label =
            Settings { tls: true, domain_root: "apps".to_owned(), ..Settings::new(Path::new("state")) };
        assert!(one_label.validate().unwrap_err().to_string().contains("--domain-root"));
        let elsewhere = Settings {
            tls: true,
            compute: ComputeMode::Knative,
            compute_kubeconfig: Some("config".into()),
            runner_image: Some("r/i:1".to_owned()),
            ingress_http: Some("ingress.example.com:80".to_owned()),
            ..Settings::new(Path::new("state"))
        };
        assert!(elsewhere.validate().unwrap_err().to_string().contains("--ingress-https"));
        let whole = Settings { ingress_https: Some("ingress.example.com:443".to_owned()), ..elsewhere };
        whole.validate().unwrap();
    }

    #[test]
    fn ports_beyond_the_last_are_refused() {
        let settings = Settings { services_port: 65_533, ..Settings::new(Path::new("state")) };
        assert!(settings.validate().is_err());
    }
}

//! A Kubernetes cluster of one node with Knative Serving, on this machine and out of its way.

pub(crate) mod access;
mod command;
mod component;
mod config;
mod images;
mod leftovers;
pub(crate) mod machine;
mod manifests;
mod network;
mod node_images;
mod pki;
mod readiness;
pub(crate) mod runner_image;
mod sysctls;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::checkout::Checkout;
use crate::kubectl::{Kubectl, retry};
use crate::paths::Paths;
use crate::process::ProcessRecord;
use crate::progress::{note, step};
use crate::tail;
use crate::{http, private_file};
use command::run;
pub use component::Component;
use component::Folders;
use images::Image;
use network::Network;
pub(crate) use node_images::TARGET as STATIC_TARGET;
use pki::Pki;

/// An API server that starts anew makes its objects first.
const API_READY: Duration = Duration::from_secs(120);
/// Half a minute on two idle cores; others may be compiling.
const PODS_READY: Duration = Duration::from_secs(300);
/// How long a process may take to end in order.
const GRACE: Duration = Duration::from_secs(20);
/// How often a person is told what is waited for.
const REPORT: Duration = Duration::from_secs(15);

/// The cluster that runs here.
#[derive(Debug)]
pub struct Compute {
    checkout: Checkout,
    paths: Paths,
    admin: Kubectl,
    fsync: bool,
    network: Network,
    folders: Folders,
    pki: Pki,
}

impl Compute {
    /// Starts what does not run and repairs what is broken, and returns when Knative works.
    ///
    /// The machine's packages have to be there, and the tools in the cache. `kubectl` makes a kubectl of a kubeconfig.
    pub(crate) fn up(
        checkout: &Checkout,
        paths: &Paths,
        fsync: bool,
        kubectl: impl Fn(&Path) -> Kubectl,
    ) -> Result<Self> {
        let network = Network::choose(&network::name(paths.state()), &network_record(paths))?;
        let this = Self::new(checkout, paths, fsync, network, kubectl);
        this.connect()?;
        this.configure()?;
        step("start the compute cluster", || this.start_node())?;
        step("start Knative", || this.start_knative())?;
        Ok(this)
    }

    /// The cluster as it is; None where none was ever started.
    pub(crate) fn as_is(
        checkout: &Checkout,
        paths: &Paths,
        fsync: bool,
        kubectl: impl Fn(&Path) -> Kubectl,
    ) -> Result<Option<Self>> {
        let network = Network::load(&network_record(paths))?;
        Ok(network.map(|network| Self::new(checkout, paths, fsync, network, kubectl)))
    }

    fn new(
        checkout: &Checkout,
        paths: &Paths,
        fsync: bool,
        network: Network,
        kubectl: impl Fn(&Path) -> Kubectl,
    ) -> Self {
        Self {
            checkout: checkout.clone(),
            paths: paths.clone(),
            admin: kubectl(&paths.compute_kubeconfig()),
            fsync,
            folders: Folders::new(paths, &network.name),
            pki: Pki::new(&paths.compute()),
            network,
        }
    }

    /// What everything of it on the machine is called: its network namespace, its link, its folder below `/run`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.network.name
    }

    /// This machine's address, as pods reach it.
    #[must_use]
    pub fn host_address(&self) -> String {
        self.network.host.to_string()
    }

    /// Host and port at which the ingress takes HTTP.
    #[must_use]
    pub fn ingress_http(&self) -> (String, u16) {
        (self.network.node.to_string(), config::HTTP_NODE_PORT)
    }

    /// Host and port at which the ingress takes HTTPS.
    #[must_use]
    pub fn ingress_https(&self) -> (String, u16) {
        (self.network.node.to_string(), config::HTTPS_NODE_PORT)
    }

    /// `HOST:PORT` at which the ingress takes calls of what has no address outside.
    pub(crate) fn ingress_internal(&self) -> String {
        format!("{}:{}", self.network.node, config::INTERNAL_NODE_PORT)
    }

    /// Starts a component, unless just that already runs, and waits until it answers, if it is one that answers.
    ///
    /// # Errors
    /// It ends, or does not answer in time; the message holds the end of its log.
    pub fn start(&self, component: Component) -> Result<()> {
        self.launch(component)?;
        let started = Instant::now();
        while let Err(reason) = self.check(component) {
            let log = || tail::of(&self.paths.compute_log(component));
            if self.pid(component)?.is_none() {
                bail!("the {component} has ended{}", log());
            }
            if started.elapsed() > API_READY {
                let late =
                    format!("the {component} does not answer after {} s{}", API_READY.as_secs(), log());
                return Err(reason.context(late));
            }
            thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    /// Asks a component to end, and waits until it has. Pods run on, whichever it is.
    ///
    /// # Errors
    /// It does not end even when killed.
    pub fn stop(&self, component: Component) -> Result<()> {
        self.record(component)?.map_or(Ok(()), |record| record.stop(GRACE))
    }

    /// Ends a component at once, as a crash would.
    ///
    /// # Errors
    /// It does not end even so.
    pub fn kill(&self, component: Component) -> Result<()> {
        self.record(component)?.map_or(Ok(()), |record| record.kill())
    }

    /// The process id of a component that runs.
    ///
    /// # Errors
    /// Its record cannot be read.
    pub fn pid(&self, component: Component) -> Result<Option<i32>> {
        Ok(self.record(component)?.filter(ProcessRecord::is_running).map(|record| record.pid()))
    }

    /// Whether a component answers; of those that answer nobody, whether they run.
    ///
    /// # Errors
    /// It does not.
    pub fn check(&self, component: Component) -> Result<()> {
        match component {
            Component::ApiServer => {
                self.admin.run(&["--request-timeout=5s", "get", "--raw", "/readyz"]).map(drop)
            }
            Component::Containerd => self.ctr(&["version"]).map(drop),
            _ => self.pid(component)?.map(drop).context("it does not run"),
        }
    }

    /// Whether all of Kubernetes' and Knative's own pods run and the ingress listens.
    ///
    /// # Errors
    /// They do not; the message says which.
    pub fn check_ready(&self) -> Result<()> {
        let list = self.admin.json(&[
            "--request-timeout=5s",
            "get",
            "deployments,pods,leases",
            "--all-namespaces",
        ])?;
        let running: BTreeSet<String> =
            self.ctr(&["tasks", "list", "--quiet"])?.lines().map(str::to_owned).collect();
        let reasons = readiness::unready(&list, &running);
        if !reasons.is_empty() {
            bail!("{}", reasons.join(", "));
        }
        // Any answer will do: without routes it is 404, and before the ingress is set up nobody listens.
        let (host, port) = self.ingress_http();
        http::get_at(&host, port, "ingress.invalid", "/").map(drop).context("the ingress does not answer yet")
    }

    /// Hands an image to the node, unless it has it.
    pub(crate) fn import(&self, image: &Image, archive: impl FnOnce() -> Result<PathBuf>) -> Result<()> {
        if self.has_image(&image.reference)? {
            return Ok(());
        }
        let path = archive()?;
        self.ctr(&["images", "import", &path.display().to_string()])
            .with_context(|| format!("the node does not take image {}", image.reference))
            .map(drop)
    }

    pub(crate) fn has_image(&self, reference: &str) -> Result<bool> {
        Ok(self.ctr(&["images", "list", "--quiet"])?.lines().any(|line| line == reference))
    }

    /// Namespace, link and addresses; whatever runs in broken ones cannot be saved.
    fn connect(&self) -> Result<()> {
        if self.network.is_whole() {
            return Ok(());
        }
        if leftovers::exist(&self.folders, &self.network.name) {
            step("remove what a crashed cluster has left", || end(&self.paths).map(drop))?;
        }
        self.network.create().context("cannot make the cluster's own network")
    }

    fn configure(&self) -> Result<()> {
        for folder in [&self.folders.compute, &self.folders.runtime] {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        self.pki.ensure(&self.network)?;
        let admin = self.pki.kubeconfig("admin");
        let admin = fs::read(&admin).with_context(|| format!("cannot read {}", admin.display()))?;
        private_file::write(&self.paths.compute_kubeconfig(), &admin)?;
        let containerd = config::containerd(&self.folders, machine::plugin_folder()?);
        private_file::write(&self.folders.containerd_config(), containerd.as_bytes())?;
        for (path, content) in [
            (self.folders.kubelet_config(), config::kubelet(&self.folders, &self.pki)),
            (self.folders.pod_network_config(), config::pod_network(&self.folders, &self.network)),
        ] {
            private_file::write(&path, &serde_json::to_vec_pretty(&content).context("cannot render JSON")?)?;
        }
        Ok(())
    }

    fn start_node(&self) -> Result<()> {
        self.launch(Component::Etcd)?;
        self.start(Component::Containerd)?;
        // It gets ready while images are read.
        self.launch(Component::ApiServer)?;
        for image in node_images::all(&self.checkout)? {
            self.import(&image, || image.cached())?;
        }
        sysctls::remember()?;
        if self.pid(Component::Kubelet)?.is_none() {
            self.start(Component::ApiServer)?;
            // Held by pods that ended without letting go of them: their successors would wait for the time to run out, and
            // meanwhile send requests to addresses of before.
            let namespace = format!("--namespace={}", manifests::KNATIVE);
            self.admin.run(&["delete", "leases", "--all", &namespace])?;
        }
        Component::ALL.iter().try_for_each(|component| self.start(*component))
    }

    fn start_knative(&self) -> Result<()> {
        let objects = manifests::load(&self.checkout)?;
        let name = [
            "get",
            "deployment",
            "webhook",
            "--namespace=knative-serving",
            "--ignore-not-found",
            "--output=name",
        ];
        let present = retry(API_READY, "ask the compute cluster", || self.admin.run(&name))?;
        if !present.trim().is_empty() {
            // Knative's webhook refuses changes of its settings until it runs again, each after seconds.
            let (settings, others): (Vec<_>, Vec<_>) =
                objects.into_iter().partition(|object| manifests::kind(object) == "ConfigMap");
            self.apply(&others)?;
            self.await_ready()?;
            self.apply(&settings)?;
        } else {
            self.apply(&objects)?;
        }
        self.await_ready()
    }

    fn apply(&self, objects: &[Value]) -> Result<()> {
        // Kinds first: kubectl finds out once which there are.
        let (early, late): (Vec<_>, Vec<_>) = objects
            .iter()
            .partition(|object| matches!(manifests::kind(object), "Namespace" | "CustomResourceDefinition"));
        for part in [early, late] {
            if part.is_empty() {
                continue;
            }
            let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": part}).to_string();
            retry(PODS_READY, "apply Knative", || {
                let args = ["apply", "--server-side", "--force-conflicts", "--filename=-"];
                self.admin.run_with_input(&args, &list)
            })?;
        }
        Ok(())
    }

    fn await_ready(&self) -> Result<()> {
        let started = Instant::now();
        let mut reported = started;
        while let Err(reason) = self.check_ready() {
            self.check_running()?;
            if started.elapsed() > PODS_READY {
                let late = format!("Knative is not ready after {} s", PODS_READY.as_secs());
                return Err(reason.context(late));
            }
            if reported.elapsed() > REPORT {
                reported = Instant::now();
                note(&format!("{reason:#}"));
            }
            thread::sleep(Duration::from_millis(500));
        }
        Ok(())
    }

    /// Whether every process runs: without one of them all waiting is in vain.
    fn check_running(&self) -> Result<()> {
        for component in Component::ALL {
            if self.pid(component)?.is_none() {
                bail!("the {component} has ended{}", tail::of(&self.paths.compute_log(component)));
            }
        }
        Ok(())
    }

    fn launch(&self, component: Component) -> Result<()> {
        let program = match component.tool() {
            Some(tool) => tool.cached(&self.checkout)?,
            None => machine::program(component.name())?,
        };
        let launch =
            component::launch(component, program, &self.folders, &self.network, &self.pki, self.fsync);
        if let Some(record) = self.record(component)?.filter(ProcessRecord::is_running) {
            if record.is(&launch)? {
                return Ok(());
            }
            record.stop(GRACE)?;
        }
        let (log, record) = (self.paths.compute_log(component), self.paths.compute_record(component));
        ProcessRecord::start(&launch, &log, &record).map(drop)
    }

    fn record(&self, component: Component) -> Result<Option<ProcessRecord>> {
        ProcessRecord::load(&self.paths.compute_record(component))
    }

    fn ctr(&self, args: &[&str]) -> Result<String> {
        ctr(&self.folders, args)
    }
}

fn ctr(folders: &Folders, args: &[&str]) -> Result<String> {
    let socket = folders.socket().display().to_string();
    run("ctr", &[&["--address", &socket, "--namespace", "k8s.io"], args].concat())
}

fn network_record(paths: &Paths) -> PathBuf {
    paths.compute().join("network.json")
}

/// Ends the cluster of this state directory and removes everything of it from the machine but its data. Returns what ran.
pub(crate) fn down(paths: &Paths) -> Result<Vec<Component>> {
    if is_anywhere(paths) { step("end the compute cluster", || end(paths)) } else { Ok(Vec::new()) }
}

/// Whether there is anything to end, even where the state directory has been removed.
pub(crate) fn is_anywhere(paths: &Paths) -> bool {
    let name = network::name(paths.state());
    let recorded = Component::ALL.iter().any(|component| paths.compute_record(*component).exists());
    cfg!(target_os = "linux") && (recorded || leftovers::exist(&Folders::new(paths, &name), &name))
}

fn end(paths: &Paths) -> Result<Vec<Component>> {
    let name = network::name(paths.state());
    let folders = Folders::new(paths, &name);
    let mut ended = Vec::new();
    // First who would start pods again, then the pods, then what they ran on.
    let first =
        [Component::Kubelet, Component::KubeProxy, Component::Scheduler, Component::ControllerManager];
    stop_all(paths, &first, &mut ended)?;
    if folders.socket().exists() {
        remove_containers(&folders);
    }
    for component in [Component::ApiServer, Component::Etcd, Component::Containerd] {
        stop_all(paths, &[component], &mut ended)?;
    }
    leftovers::remove(&folders, &name)?;
    sysctls::restore()?;
    Ok(ended)
}

fn stop_all(paths: &Paths, components: &[Component], ended: &mut Vec<Component>) -> Result<()> {
    let mut running = Vec::new();
    for component in components {
        let path = paths.compute_record(*component);
        if let Some(record) = ProcessRecord::load(&path)?.filter(ProcessRecord::is_running) {
            record.terminate()?;
            running.push((*component, record));
        }
    }
    for (component, record) in running {
        record.stop(GRACE)?;
        ended.push(component);
    }
    for component in components {
        drop(fs::remove_file(paths.compute_record(*component)));
    }
    Ok(())
}

/// Where containerd still answers it does this best; where it does not, the processes are killed and all else is unmounted.
fn remove_containers(folders: &Folders) {
    for (kind, force) in [("tasks", ["delete", "--force"].as_slice()), ("containers", ["delete"].as_slice())]
    {
        let listed = ctr(folders, &[kind, "list", "--quiet"]).unwrap_or_default();
        let ids: Vec<&str> = listed.lines().collect();
        if !ids.is_empty() {
            drop(ctr(folders, &[&[kind], force, &ids].concat()));
        }
    }
}

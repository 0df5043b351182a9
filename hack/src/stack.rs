//! A whole environment: kcp, the provider, the services.

use std::collections::BTreeMap;
use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::binaries::Binaries;
use crate::checkout::Checkout;
use crate::compute::{self, Component, Compute};
use crate::envoy::{self, Upstreams};
use crate::kubectl::Kubectl;
use crate::part::Part;
use crate::paths::Paths;
use crate::process::{Launch, ProcessRecord};
use crate::progress::{note, step};
use crate::services::Knative;
use crate::settings::{ComputeMode, Settings, split_address};
use crate::state::{self, Lock};
use crate::tools::Tools;
use crate::{
    domain_tls, http, identities, kcp, ports, prerequisites, private_file, provider, services, signing, tail,
    users,
};

/// kcp needs about 20 s for a first start on two idle cores, and several times that while others compile.
const KCP_READY: Duration = Duration::from_secs(180);
/// A service is ready in seconds; one that waits longer for something names it.
const SERVICE_READY: Duration = Duration::from_secs(180);
/// How often a person is told what a service waits for.
const REPORT: Duration = Duration::from_secs(15);
/// How long a process may take to end in order.
const GRACE: Duration = Duration::from_secs(20);

/// An environment that was brought up. Dropping it ends nothing: that is what [`Stack::down`] is for.
#[derive(Debug)]
pub struct Stack {
    settings: Settings,
    paths: Paths,
    tools: Tools,
    binaries: Option<Binaries>,
    compute: Option<Compute>,
    runner_image: Option<String>,
    extras: Mutex<BTreeMap<Part, Extra>>,
}

#[derive(Clone, Debug, Default)]
struct Extra {
    args: Vec<String>,
    env: Vec<(String, String)>,
}

impl Stack {
    /// Builds what is missing, starts what is not running, applies the provider, and returns when everything is ready.
    ///
    /// What runs already and is what would be started now is left alone, so that this also repairs.
    ///
    /// # Errors
    /// Whatever a person has to mend first: a missing prerequisite, a port that another process has, a service that
    /// does not get ready, with what it waits for and the end of its log. What was started until then still runs.
    pub fn up(settings: &Settings) -> Result<Self> {
        Self::bring_up(settings, Extent::Everything)
    }

    /// Like [`Stack::up`] without Annex's services, which [`Stack::start`] may start one by one.
    ///
    /// # Errors
    /// Like [`Stack::up`].
    pub fn up_without_services(settings: &Settings) -> Result<Self> {
        Self::bring_up(settings, Extent::WithoutServices)
    }

    /// The compute cluster alone, with the runner's image and the controller's identity on it: neither kcp nor services.
    ///
    /// # Errors
    /// Like [`Stack::up`]; and the settings choose no Knative.
    pub fn up_compute_only(settings: &Settings) -> Result<Self> {
        if settings.compute != ComputeMode::Knative {
            bail!("these settings choose no compute cluster");
        }
        Self::bring_up(settings, Extent::ComputeOnly)
    }

    fn bring_up(settings: &Settings, extent: Extent) -> Result<Self> {
        let checkout = Checkout::find()?;
        let settings = Settings {
            state_dir: std::path::absolute(&settings.state_dir)
                .context("the state directory is not a path")?,
            ..settings.clone()
        };
        let paths = Paths::new(&settings.state_dir);
        settings.validate()?;
        prerequisites::check(&checkout, &settings)?;
        // Before the long builds: whoever has to choose other ports should not have waited for them.
        require_free_ports(&settings, &paths)?;
        let _lock = Lock::acquire(&paths)?;
        state::save(&settings)?;

        if settings.tls {
            domain_tls::ensure(&paths, &settings.domain_root)?;
        }
        if settings.runs_cluster() {
            compute::machine::install()?;
        }
        let tools = Tools::ensure(&checkout, &settings)?;
        let binaries = match extent {
            Extent::ComputeOnly => None,
            _ => Some(step("build the services", || Binaries::build(&checkout, settings.release))?),
        };
        let mut stack = Self {
            settings,
            paths,
            tools,
            binaries,
            compute: None,
            runner_image: None,
            extras: Mutex::default(),
        };
        stack.bring_up_compute(&checkout)?;
        if extent == Extent::ComputeOnly {
            return Ok(stack);
        }
        signing::ensure(&stack.paths)?;
        private_file::folder(&stack.paths.storage())?;
        if stack.settings.kcp_kubeconfig.is_none() {
            users::ensure_tokens(&stack.paths)?;
            step("start kcp", || stack.start(Part::Kcp))?;
        } else {
            // One may run here from before the person chose another.
            stack.stop(Part::Kcp)?;
            step("reach kcp", || stack.connect().and_then(|()| kcp::check(&stack.admin())))?;
        }
        step("apply the provider", || provider::apply(&checkout, &stack.admin()))?;
        let (endpoint, credentials) = stack.endpoint()?;
        let impersonator = stack.settings.kcp_kubeconfig.is_some().then_some(&credentials);
        users::write_users(&stack.paths, &endpoint, impersonator)?;
        identities::write(&stack.paths, &endpoint, &stack.admin().context("annex"))?;
        if extent == Extent::Everything {
            step("start the services", || stack.start_services())?;
        }
        Ok(stack)
    }

    fn bring_up_compute(&mut self, checkout: &Checkout) -> Result<()> {
        if self.settings.compute == ComputeMode::Direct {
            // They may run here from before the person chose another.
            return self.stop(Part::Ingress).and_then(|()| compute::down(&self.paths).map(drop));
        }
        self.stop(Part::Runner)?;
        if let Some(kubeconfig) = &self.settings.compute_kubeconfig {
            compute::down(&self.paths)?;
            compute::access::adopt(&self.kubectl(kubeconfig), &self.paths)?;
            step("reach the compute cluster", || {
                self.compute_admin().run(&["--request-timeout=10s", "get", "--raw", "/version"])
            })?;
            self.runner_image.clone_from(&self.settings.runner_image);
        } else {
            let compute = Compute::up(checkout, &self.paths, self.settings.fsync, |kubeconfig| {
                self.kubectl(kubeconfig)
            })?;
            self.runner_image = Some(match &self.settings.runner_image {
                Some(image) => image.clone(),
                None => step("build the runner's image", || {
                    let (folder, release) = (self.paths.compute(), self.settings.release);
                    compute::runner_image::provide(checkout, &compute, &folder, &["annex-runner"], release)?
                        .pop()
                        .context("the runner has no image")
                })?,
            });
            self.compute = Some(compute);
        }
        if compute::access::manifests_exist(checkout) {
            step("apply what the controller may do on the compute cluster", || {
                compute::access::grant(checkout, &self.paths, &self.compute_admin())
            })?;
        }
        if self.settings.tls {
            step("hand the domains' certificate to the compute cluster", || {
                domain_tls::apply_secret(&self.paths, &self.compute_admin())
            })?;
        }
        Ok(())
    }

    /// An environment as it is, without building or starting anything.
    pub(crate) fn as_is(settings: Settings) -> Result<Self> {
        let checkout = Checkout::find()?;
        let paths = Paths::new(&settings.state_dir);
        let tools = Tools::locate(&checkout, &settings)?;
        let mut stack = Self {
            settings,
            paths,
            tools,
            binaries: None,
            compute: None,
            runner_image: None,
            extras: Mutex::default(),
        };
        if stack.settings.runs_cluster() {
            stack.compute = Compute::as_is(&checkout, &stack.paths, stack.settings.fsync, |kubeconfig| {
                stack.kubectl(kubeconfig)
            })?;
        }
        Ok(stack)
    }

    /// Ends everything that runs, services first; `purge` also removes the state directory.
    ///
    /// # Errors
    /// When a process cannot be ended or the directory not be removed.
    pub fn down(&self, purge: bool) -> Result<()> {
        down(&self.settings.state_dir, purge).map(drop)
    }

    /// The files of this environment.
    #[must_use]
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// How this environment is set up.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Kubectl as kcp's administrator, in workspace `root`; [`Kubectl::context`] `annex` is the provider's workspace.
    #[must_use]
    pub fn admin(&self) -> Kubectl {
        self.kubectl(&self.paths.kcp_kubeconfig())
    }

    /// Kubectl as `alice`, `bob` or `mallory`, in workspace `root`.
    #[must_use]
    pub fn user(&self, name: &str) -> Kubectl {
        self.kubectl(&self.paths.user_kubeconfig(name))
    }

    /// The compute cluster that runs here, for stopping and starting what it is made of.
    ///
    /// # Errors
    /// None runs here: the settings choose another, or none.
    pub fn compute(&self) -> Result<&Compute> {
        self.compute.as_ref().context("no compute cluster runs here")
    }

    /// Kubectl as the compute cluster's administrator.
    #[must_use]
    pub fn compute_admin(&self) -> Kubectl {
        self.kubectl(&self.paths.compute_kubeconfig())
    }

    /// The image from which installs run. None without Knative.
    #[must_use]
    pub fn runner_image(&self) -> Option<&str> {
        self.runner_image.as_deref()
    }

    /// All of Annex's programs as images that the node has, built now: of each its name and the image's.
    ///
    /// # Errors
    /// They do not compile, or no compute cluster runs here.
    pub fn provide_images(&self) -> Result<BTreeMap<&'static str, String>> {
        use compute::runner_image::{PROGRAMS, provide};
        let (folder, release) = (self.paths.compute(), self.settings.release);
        let images = provide(&Checkout::find()?, self.compute()?, &folder, &PROGRAMS, release)?;
        Ok(PROGRAMS.into_iter().zip(images).collect())
    }

    /// Where the installs' domains answer on this machine, in either mode; with Knative, TLS is at
    /// [`Settings::https_port`].
    #[must_use]
    pub fn ingress_url(&self) -> String {
        self.settings.runner_url()
    }

    /// Where this machine's registry answers, as the runners reach it.
    ///
    /// # Errors
    /// The cluster elsewhere has no address from which this machine's own could be told.
    pub fn registry_url(&self) -> Result<String> {
        if self.settings.compute == ComputeMode::Direct {
            return Ok(format!("http://127.0.0.1:{}", self.settings.registry_port()));
        }
        self.knative().map(|knative| knative.registry_url)
    }

    /// Kubectl with any kubeconfig.
    #[must_use]
    pub fn kubectl(&self, kubeconfig: &Path) -> Kubectl {
        Kubectl::new(&self.tools.kubectl, kubeconfig.to_path_buf(), self.paths.kubectl_cache())
    }

    /// The pinned kubectl's own path.
    #[must_use]
    pub fn kubectl_path(&self) -> &Path {
        &self.tools.kubectl
    }

    /// The folder of `kubectl-annex`, which kubectl looks for in PATH.
    #[must_use]
    pub fn plugin_folder(&self) -> Option<&Path> {
        self.binaries.as_ref().and_then(Binaries::plugin_folder)
    }

    /// Where a part answers `/healthz`, `/readyz` and `/metrics`. Kcp's is the address of its API.
    #[must_use]
    pub fn ops_url(&self, part: Part) -> String {
        if part == Part::Kcp {
            return format!("https://{}:{}", self.kcp_address(), self.settings.kcp_port);
        }
        self.settings.ops_url(part)
    }

    /// Where the kcp of this machine listens: beside a cluster of this machine, where pods reach it too.
    fn kcp_address(&self) -> String {
        self.compute.as_ref().map_or_else(|| kcp::LOOPBACK.to_owned(), Compute::host_address)
    }

    /// What the next [`Stack::start`] of this part adds, in place of what was added before. An argument that names an
    /// option which the part gets anyway takes its place.
    pub fn configure(&self, part: Part, args: &[&str], env: &[(&str, &str)]) {
        let extra = Extra {
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            env: env.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        };
        self.extras.lock().unwrap_or_else(PoisonError::into_inner).insert(part, extra);
    }

    /// What [`Stack::start`] would run, for a second replica of one's own making; the caller ends that one.
    /// `args` are added like those of [`Stack::configure`]: two cannot listen on the same port.
    ///
    /// # Errors
    /// When the part has no program here.
    pub fn command(&self, part: Part, args: &[&str]) -> Result<Command> {
        let mut launch = self.launch_of(part)?;
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        launch.args = services::merge_args(launch.args, &args);
        Ok(launch.command())
    }

    /// Starts a part, unless just that already runs, and waits until it is ready.
    ///
    /// # Errors
    /// When its port is taken, or it does not get ready; the message holds what it waits for and the end of its log.
    pub fn start(&self, part: Part) -> Result<()> {
        self.launch(part)?;
        self.await_ready(&[part])
    }

    /// Starts all of Annex's services, and waits until all are ready.
    ///
    /// # Errors
    /// Like [`Stack::start`].
    pub fn start_services(&self) -> Result<()> {
        // All first, then wait: they wait for one another.
        let services = self.settings.services();
        services.iter().try_for_each(|part| self.launch(*part))?;
        self.await_ready(&services)
    }

    /// Asks a part to end, and waits until it has.
    ///
    /// # Errors
    /// When it does not end even when killed.
    pub fn stop(&self, part: Part) -> Result<()> {
        match self.record(part)? {
            Some(record) => record.stop(GRACE),
            None => Ok(()),
        }
    }

    /// Ends a part at once, as a crash would.
    ///
    /// # Errors
    /// When it does not end even so.
    pub fn kill(&self, part: Part) -> Result<()> {
        match self.record(part)? {
            Some(record) => record.kill(),
            None => Ok(()),
        }
    }

    /// The process id of a part that runs.
    ///
    /// # Errors
    /// When its record cannot be read.
    pub fn pid(&self, part: Part) -> Result<Option<i32>> {
        Ok(self.record(part)?.filter(ProcessRecord::is_running).map(|record| record.pid()))
    }

    /// Whether a part is ready now; otherwise the error says what it waits for.
    ///
    /// # Errors
    /// When it is not ready.
    pub fn check_ready(&self, part: Part) -> Result<()> {
        if part == Part::Kcp {
            return kcp::check(&self.admin());
        }
        let path = if part == Part::Ingress { "/ready" } else { "/readyz" };
        let answer = http::get(self.settings.ops_port(part), "127.0.0.1", path)?;
        if answer.status == 200 { Ok(()) } else { bail!("{path}: {} {}", answer.status, answer.body.trim()) }
    }

    /// Waits until all of these parts are ready.
    ///
    /// # Errors
    /// When one ends instead, or takes too long; the message holds what it waits for and the end of its log.
    pub fn await_ready(&self, parts: &[Part]) -> Result<()> {
        let limit = if parts.contains(&Part::Kcp) { KCP_READY } else { SERVICE_READY };
        let started = Instant::now();
        let mut waiting = parts.to_vec();
        let mut reported = started;
        loop {
            let mut reasons = Vec::new();
            for part in std::mem::take(&mut waiting) {
                let connected = if part == Part::Kcp { self.connect() } else { Ok(()) };
                let Err(reason) = connected.and_then(|()| self.check_ready(part)) else { continue };
                if self.pid(part)?.is_none() {
                    bail!("the {part} has ended{}", self.end_of_log(part));
                }
                waiting.push(part);
                reasons.push((part, reason));
            }
            let Some((first, _)) = reasons.first() else { return Ok(()) };
            if started.elapsed() > limit {
                let late = format!(
                    "the {first} is not ready after {} s{}",
                    limit.as_secs(),
                    self.end_of_log(*first)
                );
                let why =
                    reasons.iter().map(|(part, reason)| format!("{part}: {reason:#}")).collect::<Vec<_>>();
                return Err(anyhow!(why.join("\n  ")).context(late));
            }
            // kcp's own reasons are pages, and that it takes its time is nothing new.
            if reported.elapsed() > REPORT && *first != Part::Kcp {
                reported = Instant::now();
                reasons
                    .iter()
                    .for_each(|(part, reason)| note(&format!("the {part} is not ready: {reason:#}")));
            }
            thread::sleep(Duration::from_millis(if *first == Part::Kcp { 300 } else { 50 }));
        }
    }

    fn launch(&self, part: Part) -> Result<()> {
        let launch = self.launch_of(part)?;
        if let Some(record) = self.record(part)?.filter(ProcessRecord::is_running) {
            if record.is(&launch)? {
                return Ok(());
            }
            record.stop(GRACE)?;
        }
        ports::require_free(&self.settings.ports(part))?;
        ProcessRecord::start(&launch, &self.paths.log(part), &self.paths.pid_record(part)).map(drop)
    }

    fn launch_of(&self, part: Part) -> Result<Launch> {
        let mut launch = if part == Part::Ingress {
            let binary = self.tools.envoy.as_deref().context("the ingress runs only with Knative")?;
            let port = self.settings.ops_port(part);
            envoy::launch(&self.settings, &self.paths, binary, port, &self.upstreams()?)?
        } else if part == Part::Kcp {
            let binary = self.tools.kcp.as_deref().context("kcp runs elsewhere: it is not started here")?;
            kcp::launch(&self.settings, &self.paths, binary, &self.kcp_address())
        } else {
            let binaries = self.binaries.as_ref().context("the services have not been built")?;
            let program = binaries.service(part).with_context(|| format!("the {part} has no program"))?;
            let (endpoint, _) = self.endpoint()?;
            let knative = match self.settings.compute {
                ComputeMode::Direct => None,
                ComputeMode::Knative => Some(self.knative()?),
            };
            services::launch(&self.settings, &self.paths, &endpoint.base, knative.as_ref(), part, program)
        };
        let extras = self.extras.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(extra) = extras.get(&part) {
            launch.args = services::merge_args(launch.args, &extra.args);
            launch.env.extend_from_slice(&extra.env);
        }
        Ok(launch)
    }

    fn upstreams(&self) -> Result<Upstreams> {
        if let Some(compute) = &self.compute {
            return Ok(Upstreams { http: compute.ingress_http(), https: Some(compute.ingress_https()) });
        }
        let split = |address: &String| split_address(address).map(|(host, port)| (host.to_owned(), port));
        let http = self.settings.ingress_http.as_ref().and_then(split);
        let http =
            http.context("no compute cluster runs here, and --ingress-http does not name another's ingress")?;
        Ok(Upstreams { http, https: self.settings.ingress_https.as_ref().and_then(split) })
    }

    fn knative(&self) -> Result<Knative> {
        let runner_image = self.runner_image.clone().context("there is no image of the runner")?;
        let Upstreams { http: (host, port), https } = self.upstreams()?;
        let ingress_url = match https.filter(|_| self.settings.tls) {
            Some((host, port)) => format!("https://{host}:{port}"),
            None => format!("http://{host}:{port}"),
        };
        let registry_port = self.settings.registry_port();
        let (listen, url) = match (&self.compute, &self.settings.registry_url) {
            (Some(compute), _) => (compute.host_address(), None),
            (None, Some(url)) => ("0.0.0.0".to_owned(), Some(url.clone())),
            (None, None) => {
                ("0.0.0.0".to_owned(), Some(format!("http://{}:{registry_port}", own_address(&host, port)?)))
            }
        };
        let registry_url = url.unwrap_or_else(|| format!("http://{listen}:{registry_port}"));
        Ok(Knative {
            runner_image,
            registry_listen: format!("{listen}:{registry_port}"),
            gateway_host: host_of(&registry_url).to_owned(),
            registry_url,
            ingress_url,
            gateway_listen: listen,
            internal_ingress: self.compute.as_ref().map(Compute::ingress_internal),
        })
    }

    fn endpoint(&self) -> Result<(crate::kubeconfig::Endpoint, serde_json::Value)> {
        kcp::endpoint(&self.settings, &self.paths, &self.tools.kubectl, self.ops_url(Part::Kcp))
    }

    /// Writes the administrator's kubeconfig, which everything else goes through.
    fn connect(&self) -> Result<()> {
        let (endpoint, credentials) = self.endpoint()?;
        users::write_admin(&self.paths, &endpoint, &credentials)
    }

    fn record(&self, part: Part) -> Result<Option<ProcessRecord>> {
        ProcessRecord::load(&self.paths.pid_record(part))
    }

    fn end_of_log(&self, part: Part) -> String {
        tail::of(&self.paths.log(part))
    }
}

/// How much of an environment is brought up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Everything,
    WithoutServices,
    ComputeOnly,
}

/// The address from which this machine reaches another: the one at which it is reached from there.
fn own_address(host: &str, port: u16) -> Result<String> {
    // Connecting a datagram socket sends nothing; it only chooses the way.
    let socket =
        UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.connect((host, port)).map(|()| socket));
    let address = socket.and_then(|socket| socket.local_addr());
    let address = address
        .with_context(|| format!("cannot tell how {host} reaches this machine: give --registry-url"))?;
    Ok(address.ip().to_string())
}

/// The host of an http URL; an IPv6 address with its brackets.
fn host_of(url: &str) -> &str {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or_default();
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// Ends every process that the records in `state_dir` name and that still is the one recorded: services first, kcp next,
/// the compute cluster last. Returns the names of what was running. `purge` also removes the directory.
///
/// # Errors
/// When a process cannot be ended, or when the directory to remove is not one of ours.
pub fn down(state_dir: &Path, purge: bool) -> Result<Vec<&'static str>> {
    let state_dir = std::path::absolute(state_dir).context("the state directory is not a path")?;
    let paths = Paths::new(&state_dir);
    if !paths.state_file().exists() && !paths.pids().exists() && !compute::is_anywhere(&paths) {
        // Nothing of ours is here, so nothing is written here either.
        return if purge { state::purge(&state_dir).map(|()| Vec::new()) } else { Ok(Vec::new()) };
    }
    let _lock = Lock::acquire(&paths)?;
    let mut ended = Vec::new();
    for group in [Part::SERVICES.as_slice(), &[Part::Kcp]] {
        let mut running = Vec::new();
        for part in group {
            if let Some(record) =
                ProcessRecord::load(&paths.pid_record(*part))?.filter(ProcessRecord::is_running)
            {
                record.terminate()?;
                running.push((*part, record));
            }
        }
        for (part, record) in running {
            step(&format!("end the {part}"), || record.stop(GRACE))?;
            ended.push(part.name());
        }
    }
    for part in Part::ALL {
        drop(fs::remove_file(paths.pid_record(part)));
    }
    ended.extend(compute::down(&paths)?.into_iter().map(Component::name));
    if purge {
        state::purge(&state_dir)?;
    }
    Ok(ended)
}

fn require_free_ports(settings: &Settings, paths: &Paths) -> Result<()> {
    let parts: Vec<Part> = settings.parts().collect();
    let (mut wanted, mut leaving) = (Vec::new(), Vec::new());
    for part in Part::ALL {
        let runs = ProcessRecord::load(&paths.pid_record(part))?.is_some_and(|record| record.is_running());
        match (parts.contains(&part), runs) {
            (true, false) => wanted.extend(settings.ports(part)),
            // Of a mode that the person has left: it is about to end, and its port is its successor's.
            (false, true) => leaving.extend(settings.ports(part).iter().map(|port| port.number)),
            _ => {}
        }
    }
    wanted.retain(|port| !leaving.contains(&port.number));
    ports::require_free(&wanted)
}

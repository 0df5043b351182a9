//! The command line of `cargo xtask`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand};

use crate::bench::{self, Bench};
use crate::checkout::Checkout;
use crate::checks::{self, Check};
use crate::compute::runner_image;
use crate::progress::{say, seconds};
use crate::settings::{ComputeMode, Settings};
use crate::stack::{self, Stack};
use crate::{demo, drift, state, status};

/// Annex's development environment, checks and code generation.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
pub struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build what is missing, start what is not running, and return when everything is ready
    Up {
        #[command(flatten)]
        environment: Environment,
        /// Start the compute cluster alone, without kcp and the services
        #[arg(long)]
        compute_only: bool,
    },
    /// End exactly what `up` started
    Down {
        #[command(flatten)]
        environment: Environment,
        /// Also remove the state: kcp's data, kubeconfigs, logs
        #[arg(long)]
        purge: bool,
    },
    /// Show what runs, and fail if something is not ready
    Status(Environment),
    /// Bring everything up and install an extension for two tenants, showing every command
    Demo(Environment),
    /// Run every check: format, lints, dependencies, generated files, unit tests, documentation, tests on a real kcp, tests
    /// on a real Kubernetes with Knative
    Test {
        /// Only these steps
        #[arg(long, value_name = "STEP", value_delimiter = ',')]
        only: Vec<Check>,
        /// Without these steps
        #[arg(long, value_name = "STEP", value_delimiter = ',')]
        skip: Vec<Check>,
        /// Fail where one of these steps cannot run on this machine, instead of leaving it out
        #[arg(long, value_name = "STEP", value_delimiter = ',')]
        require: Vec<Check>,
    },
    /// Write archives of Annex's programs as images, for `docker load`, `ctr image import` or a registry
    Images {
        /// The folder to write them to
        #[arg(long, value_name = "DIR", default_value = "target/images")]
        out: PathBuf,
        /// Build the programs with optimisation
        #[arg(long)]
        release: bool,
    },
    /// Render schemas, CRDs and manifests from apis/, and the manifest's schema from bundle/
    Generate,
    /// Measure; the last line is JSON
    Bench {
        /// What to measure
        name: Bench,
    },
}

/// What is not given is as it was the last time with this state, and else the default.
#[derive(Debug, Args)]
struct Environment {
    /// Where the environment is kept [default: .annex in the checkout]
    #[arg(long, value_name = "DIR", env = "ANNEX_STATE")]
    state: Option<PathBuf>,
    /// kcp's port [default: 6443]
    #[arg(long, value_name = "PORT")]
    kcp_port: Option<u16>,
    /// The port of kcp's etcd; it also takes the next one [default: 2379]
    #[arg(long, value_name = "PORT")]
    etcd_port: Option<u16>,
    /// The port on which installs answer without TLS [default: 8080]
    #[arg(long, value_name = "PORT")]
    runner_port: Option<u16>,
    /// The first of nine ports for the services' own use [default: 8090]
    #[arg(long, value_name = "PORT")]
    services_port: Option<u16>,
    /// The domain under which installs get theirs [default: apps.localhost]
    #[arg(long, value_name = "NAME")]
    domain_root: Option<String>,
    /// Use a kcp that runs elsewhere, as the administrator whom this file's current context names
    #[arg(long, value_name = "FILE")]
    kcp_kubeconfig: Option<PathBuf>,
    /// Use this kcp instead of building the pinned one
    #[arg(long, value_name = "FILE", env = "KCP_BIN")]
    kcp_bin: Option<PathBuf>,
    /// Where installs run [default: direct]
    #[arg(long, value_name = "MODE")]
    compute: Option<ComputeMode>,
    /// Use a cluster with Knative Serving that runs elsewhere, as the administrator whom this file's current context names
    #[arg(long, value_name = "FILE")]
    compute_kubeconfig: Option<PathBuf>,
    /// Use this image of the runner instead of building one; the cluster has to be able to pull it
    #[arg(long, value_name = "REFERENCE")]
    runner_image: Option<String>,
    /// Where the ingress of the cluster elsewhere takes HTTP
    #[arg(long, value_name = "HOST:PORT")]
    ingress_http: Option<String>,
    /// Where the ingress of the cluster elsewhere takes HTTPS
    #[arg(long, value_name = "HOST:PORT")]
    ingress_https: Option<String>,
    /// Where pods of the cluster elsewhere reach the registry [default: this machine's address towards it]
    #[arg(long, value_name = "URL")]
    registry_url: Option<String>,
    /// The port on which installs answer over TLS [default: 8443]
    #[arg(long, value_name = "PORT")]
    https_port: Option<u16>,
    /// Give the installs' domains a certificate of an authority made here, domains-ca.crt in the state folder
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    tls: Option<bool>,
    /// Build the services with optimisation
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    release: Option<bool>,
}

impl Environment {
    fn state_dir(&self) -> Result<PathBuf> {
        let chosen = self.state.as_ref().filter(|path| !path.as_os_str().is_empty());
        let path =
            chosen.cloned().map_or_else(|| Checkout::find().map(|checkout| checkout.join(".annex")), Ok)?;
        std::path::absolute(path).context("--state is not a path")
    }

    fn settings(&self) -> Result<Settings> {
        let state_dir = self.state_dir()?;
        let recorded = state::load(&state_dir)?.unwrap_or_else(|| Settings::new(&state_dir));
        self.over(recorded)
    }

    /// Paths are made absolute: they are recorded, and read from other folders later.
    fn over(&self, recorded: Settings) -> Result<Settings> {
        let file = |given: &Option<PathBuf>, recorded: Option<PathBuf>| match given {
            Some(path) if !path.as_os_str().is_empty() => {
                std::path::absolute(path).map(Some).context("not a path")
            }
            _ => Ok(recorded),
        };
        let knative = self.compute.unwrap_or(recorded.compute) == ComputeMode::Knative;
        Ok(Settings {
            kcp_port: self.kcp_port.unwrap_or(recorded.kcp_port),
            etcd_port: self.etcd_port.unwrap_or(recorded.etcd_port),
            runner_port: self.runner_port.unwrap_or(recorded.runner_port),
            services_port: self.services_port.unwrap_or(recorded.services_port),
            domain_root: self.domain_root.clone().unwrap_or(recorded.domain_root),
            kcp_kubeconfig: file(&self.kcp_kubeconfig, recorded.kcp_kubeconfig)?,
            kcp_bin: file(&self.kcp_bin, recorded.kcp_bin)?,
            release: self.release.unwrap_or(recorded.release),
            compute: self.compute.unwrap_or(recorded.compute),
            // What belongs to a cluster elsewhere is forgotten with it.
            compute_kubeconfig: file(
                &self.compute_kubeconfig,
                recorded.compute_kubeconfig.filter(|_| knative),
            )?,
            runner_image: self.runner_image.clone().or(recorded.runner_image.filter(|_| knative)),
            ingress_http: self.ingress_http.clone().or(recorded.ingress_http.filter(|_| knative)),
            ingress_https: self.ingress_https.clone().or(recorded.ingress_https.filter(|_| knative)),
            registry_url: self.registry_url.clone().or(recorded.registry_url.filter(|_| knative)),
            https_port: self.https_port.unwrap_or(recorded.https_port),
            tls: self.tls.unwrap_or(recorded.tls),
            ..recorded
        })
    }
}

impl Cli {
    /// Does what was asked. Errors are for a person to read.
    ///
    /// # Errors
    /// Whatever kept it from being done, with what to do about it.
    pub fn run(self) -> Result<ExitCode> {
        match self.command {
            Task::Up { environment, compute_only } => up(&environment.settings()?, compute_only)?,
            Task::Down { environment, purge } => down(&environment.state_dir()?, purge)?,
            Task::Status(environment) => {
                let state_dir = environment.state_dir()?;
                if state::load(&state_dir)?.is_none() {
                    bail!("nothing was ever set up in {}: `cargo xtask up` does it", state_dir.display());
                }
                if !status::print(environment.settings()?)? {
                    return Ok(ExitCode::FAILURE);
                }
            }
            Task::Demo(environment) => demo::run(&environment.settings()?)?,
            Task::Test { only, skip, require } => checks::run(&only, &skip, &require)?,
            Task::Images { out, release } => images(&out, release)?,
            Task::Generate => drift::generate(&Checkout::find()?)?,
            Task::Bench { name } => bench::run(name)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn up(settings: &Settings, compute_only: bool) -> Result<()> {
    let started = Instant::now();
    if compute_only {
        let stack = Stack::up_compute_only(settings)?;
        say(&format!("\nThe compute cluster is ready, after {}.\n", seconds(started.elapsed())));
        say(&format!("kubeconfig  {}", stack.paths().compute_kubeconfig().display()));
        say(&format!("kubectl     {}", stack.kubectl_path().display()));
        return Ok(());
    }
    let stack = Stack::up(settings)?;
    say(&format!("\nEverything is ready, after {}.\n", seconds(started.elapsed())));
    status::print_addresses(&stack);
    say("\n`cargo xtask demo` shows what it does; `cargo xtask down` ends it.");
    Ok(())
}

fn images(out: &Path, release: bool) -> Result<()> {
    let checkout = Checkout::find()?;
    let folder = checkout.root().join(out);
    for (reference, file) in runner_image::export(&checkout, &folder, release)? {
        say(&format!("{reference}  {}", checkout.display(&file)));
    }
    Ok(())
}

fn down(state_dir: &Path, purge: bool) -> Result<()> {
    let existed = state_dir.exists();
    let recorded = state::load(state_dir)?;
    let (elsewhere, compute) =
        recorded.map(|settings| (settings.kcp_kubeconfig, settings.compute_kubeconfig)).unwrap_or_default();
    let ended = stack::down(state_dir, purge)?;
    if ended.is_empty() {
        say("nothing was running");
    }
    if let Some(kubeconfig) = elsewhere {
        say(&format!(
            "the kcp of {} keeps workspace root:annex and the tenants' workspaces",
            kubeconfig.display()
        ));
    }
    if let Some(kubeconfig) = compute {
        say(&format!(
            "the cluster of {} keeps namespace annex-system and what installs have there",
            kubeconfig.display()
        ));
    }
    if purge && existed {
        say(&format!("removed the state in {}", state_dir.display()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn environment(args: &[&str]) -> Environment {
        let command = ["cargo xtask", "up", "--state", "/s"];
        match Cli::parse_from(command.iter().chain(args)).command {
            Task::Up { environment, .. } => environment,
            _ => unreachable!(),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_not_given_stays() {
        let recorded =
            Settings { kcp_port: 1, runner_port: 2, release: true, ..Settings::new(Path::new("/s")) };
        let settings = environment(&["--kcp-port", "9"]).over(recorded.clone()).unwrap();
        assert_eq!(settings, Settings { kcp_port: 9, ..recorded.clone() });
        assert!(!environment(&["--release=false"]).over(recorded.clone()).unwrap().release);
        let secured = environment(&["--tls"]).over(recorded).unwrap();
        assert!(environment(&[]).over(secured.clone()).unwrap().tls);
        assert!(!environment(&["--tls=false"]).over(secured).unwrap().tls);
    }

    #[test]
    fn knative_stays_and_is_left_with_its_cluster() {
        let args = ["--compute", "knative", "--compute-kubeconfig", "/k", "--runner-image", "r/i:1"];
        let chosen = environment(&args).over(Settings::new(Path::new("/s"))).unwrap();
        assert_eq!(environment(&[]).over(chosen.clone()).unwrap(), chosen);
        let back = environment(&["--compute", "direct"]).over(chosen).unwrap();
        assert_eq!(back, Settings::new(Path::new("/s")));
    }
}

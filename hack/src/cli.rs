//! The command line of `cargo xtask`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand};

use crate::bench::{self, Bench};
use crate::checkout::Checkout;
use crate::checks::{self, Check};
use crate::progress::{say, seconds};
use crate::settings::Settings;
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
    Up(Environment),
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
    /// Run every check: format, lints, dependencies, generated files, unit tests, documentation, tests on a real kcp
    Test {
        /// Only these steps
        #[arg(long, value_name = "STEP", value_delimiter = ',')]
        only: Vec<Check>,
        /// Without these steps
        #[arg(long, value_name = "STEP", value_delimiter = ',')]
        skip: Vec<Check>,
    },
    /// Render schemas, CRDs and manifests from apis/
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
    /// The port on which installs answer [default: 8080]
    #[arg(long, value_name = "PORT")]
    runner_port: Option<u16>,
    /// The first of five ports for the services' own use [default: 8090]
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
        Ok(Settings {
            kcp_port: self.kcp_port.unwrap_or(recorded.kcp_port),
            etcd_port: self.etcd_port.unwrap_or(recorded.etcd_port),
            runner_port: self.runner_port.unwrap_or(recorded.runner_port),
            services_port: self.services_port.unwrap_or(recorded.services_port),
            domain_root: self.domain_root.clone().unwrap_or(recorded.domain_root),
            kcp_kubeconfig: file(&self.kcp_kubeconfig, recorded.kcp_kubeconfig)?,
            kcp_bin: file(&self.kcp_bin, recorded.kcp_bin)?,
            release: self.release.unwrap_or(recorded.release),
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
            Task::Up(environment) => up(&environment.settings()?)?,
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
            Task::Test { only, skip } => checks::run(&only, &skip)?,
            Task::Generate => drift::generate(&Checkout::find()?)?,
            Task::Bench { name } => bench::run(name)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn up(settings: &Settings) -> Result<()> {
    let started = Instant::now();
    let stack = Stack::up(settings)?;
    say(&format!("\nEverything is ready, after {}.\n", seconds(started.elapsed())));
    status::print_addresses(&stack);
    say("\n`cargo xtask demo` shows what it does; `cargo xtask down` ends it.");
    Ok(())
}

fn down(state_dir: &Path, purge: bool) -> Result<()> {
    let existed = state_dir.exists();
    let elsewhere = state::load(state_dir)?.and_then(|settings| settings.kcp_kubeconfig);
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
            Task::Up(environment) => environment,
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
        assert!(!environment(&["--release=false"]).over(recorded).unwrap().release);
    }
}

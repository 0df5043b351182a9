use std::{path::PathBuf, time::Duration};

use annex_runner_client::RunnerSettings;
use anyhow::Context as _;

/// How the controller reaches what executes extensions, to prepare them and to call their lifecycle handlers. It signs these calls with
/// the keys of `--grant-keys`; without them extensions that have such handlers cannot be installed.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct HandlerArgs {
    /// The runner that executes for installs in direct mode: the URL of its internal listener. Absent: none does.
    #[arg(long, env = "RUNNER_INTERNAL_URL", value_name = "URL")]
    runner_internal_url: Option<String>,
    /// Where the Knative Service `exec` of a namespace is reached.
    #[arg(
        long,
        env = "RUNNER_EXEC_URL",
        default_value = "http://exec.{namespace}.svc.cluster.local",
        value_name = "URL WITH {namespace}"
    )]
    runner_exec_url: String,
    /// `HOST:PORT` of an ingress that takes the calls of all Knative Services by their Host header, where their names do not resolve:
    /// for a controller that runs outside of their cluster. Absent: they are reached by their names.
    #[arg(long, env = "RUNNER_EXEC_CONNECT", value_name = "HOST:PORT")]
    runner_exec_connect: Option<String>,
    /// The gateway's broker, which removes what an extension stored before its install moved to where the platform executes nothing.
    /// Absent: only what the runner of direct mode kept is removed then.
    #[arg(long, env = "BROKER_INTERNAL_URL", value_name = "URL")]
    broker_internal_url: Option<String>,
    /// The PEM certificates that these are checked by where they are https. Absent: the system's.
    #[arg(long, env = "RUNNER_INTERNAL_CA_FILE", value_name = "FILE")]
    runner_internal_ca_file: Option<PathBuf>,
    /// How long a lifecycle handler may take whose version names no shorter time, in milliseconds. Knative may have to start a runner within
    /// it.
    #[arg(long, env = "EXT_LIFECYCLE_TIMEOUT_MS", default_value_t = 30_000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    lifecycle_timeout_ms: u32,
}

impl HandlerArgs {
    pub(super) fn settings(&self) -> anyhow::Result<RunnerSettings> {
        let read = |path: &PathBuf| {
            std::fs::read(path)
                .with_context(|| format!("--runner-internal-ca-file {} cannot be read", path.display()))
        };
        Ok(RunnerSettings {
            direct: self.runner_internal_url.clone(),
            exec: self.runner_exec_url.clone(),
            exec_connect: self.runner_exec_connect.clone(),
            broker: self.broker_internal_url.clone(),
            authorities: self.runner_internal_ca_file.as_ref().map(read).transpose()?,
        })
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.lifecycle_timeout_ms.into())
    }
}

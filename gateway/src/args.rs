use std::{net::SocketAddr, path::PathBuf};

use annex_initializer::KcpArgs;
use annex_service::{KeyPairFiles, LogFormat, OperationsTlsArgs, TlsArgs};
use annex_storage::StoreUrl;

/// The way in to extensions: who may call what, how much and how long.
#[derive(clap::Parser, Clone, Debug)]
#[command(name = "annex-gateway", version)]
pub struct Args {
    /// How kcp is reached.
    #[command(flatten)]
    pub kcp: KcpArgs,
    /// Where `/healthz`, `/readyz` and `/metrics` are served.
    #[arg(
        long,
        env = "GATEWAY_OPERATIONS_LISTEN",
        default_value = "127.0.0.1:8097",
        value_name = "ADDRESS:PORT"
    )]
    pub operations_listen: SocketAddr,
    /// Where `/api/ext/…` is served.
    #[arg(long, env = "GATEWAY_LISTEN", default_value = "127.0.0.1:8096", value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,
    /// Where runners ask for secrets, and store what their extensions do. No tenant needs to reach it.
    #[arg(
        long,
        env = "GATEWAY_BROKER_LISTEN",
        default_value = "127.0.0.1:8098",
        value_name = "ADDRESS:PORT"
    )]
    pub broker_listen: SocketAddr,
    /// The folder of the keys that grants are signed with: a file each, and a file `current` that names the one that signs. Read again
    /// when it changes.
    #[arg(long = "grant-keys", env = "GRANT_KEYS_FOLDER", value_name = "FOLDER")]
    pub grant_keys: PathBuf,
    /// The runner that executes for installs in direct mode: the URL of its internal listener. Absent: no install is in that mode.
    #[arg(long = "runner-url", env = "GATEWAY_RUNNER_URL", value_name = "URL")]
    pub runner_url: Option<String>,
    /// Where the Knative Service `exec` of a namespace is reached.
    #[arg(
        long = "exec-url",
        env = "GATEWAY_EXEC_URL",
        default_value = "http://exec.{namespace}.svc.cluster.local",
        value_name = "URL WITH {namespace}"
    )]
    pub exec_url: String,
    /// `HOST:PORT` of an ingress that takes the calls of all Knative Services by their Host header, where their names do not resolve:
    /// for a gateway that runs outside of their cluster. Absent: they are reached by their names.
    #[arg(long = "exec-connect", env = "GATEWAY_EXEC_CONNECT", value_name = "HOST:PORT")]
    pub exec_connect: Option<String>,
    /// The PEM certificates that https runners are checked by. Absent: the system's.
    #[arg(long = "runner-ca-file", env = "GATEWAY_RUNNER_CA_FILE", value_name = "FILE")]
    pub runner_ca_file: Option<PathBuf>,
    /// Where the extensions' storage is, for runners that have no database of their own: `postgres://…`, or for one gateway alone
    /// `sqlite:///absolute/path`. Absent: what extensions read or write there is unavailable.
    #[arg(long = "storage-url", env = "EXT_STORAGE_URL", hide_env_values = true, value_name = "URL")]
    pub storage_url: Option<StoreUrl>,
    /// How long a call may take, in milliseconds. Knative may have to start a runner within it.
    #[arg(long = "timeout-ms", env = "EXT_GATEWAY_TIMEOUT_MS", default_value_t = 30_000, value_parser = clap::value_parser!(u32).range(1..=600_000))]
    pub timeout_ms: u32,
    /// Memory of a call whose version names none, in MiB.
    #[arg(long = "default-memory-mib", env = "GATEWAY_DEFAULT_MEMORY_MIB", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub default_memory_mib: u32,
    /// For how many seconds it holds what kcp says of who somebody is and what they may.
    #[arg(long = "decision-seconds", env = "GATEWAY_DECISION_SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=60))]
    pub decision_seconds: u64,
    /// How many MiB of bodies may be in memory at a time. One call takes up to 10.
    #[arg(long = "max-bodies-mib", env = "GATEWAY_MAX_BODIES_MIB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(10..=65_536))]
    pub max_bodies_mib: u32,
    /// How log lines look.
    #[arg(long, env = "ANNEX_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// TLS of `/api/ext/…`.
    #[command(flatten)]
    pub tls: TlsArgs,
    /// TLS of the broker.
    #[command(flatten)]
    pub broker_tls: BrokerTlsArgs,
    /// TLS of the operator's listener.
    #[command(flatten)]
    pub operations_tls: OperationsTlsArgs,
}

/// TLS of the listener where runners ask for secrets and storage.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct BrokerTlsArgs {
    /// Serves https to runners that ask the broker, with these PEM certificates. Absent: http. Read again when it changes.
    #[arg(long, env = "GATEWAY_BROKER_TLS_CERT_FILE", value_name = "FILE", requires = "broker_tls_key_file")]
    broker_tls_cert_file: Option<PathBuf>,
    /// The PEM private key of that certificate.
    #[arg(long, env = "GATEWAY_BROKER_TLS_KEY_FILE", value_name = "FILE", requires = "broker_tls_cert_file")]
    broker_tls_key_file: Option<PathBuf>,
}

impl BrokerTlsArgs {
    /// The files; none means http.
    #[must_use]
    pub fn files(&self) -> Option<KeyPairFiles> {
        let (cert, key) = (self.broker_tls_cert_file.clone()?, self.broker_tls_key_file.clone()?);
        Some(KeyPairFiles { cert, key })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        Args::command().debug_assert();
    }
}

use std::{net::SocketAddr, path::PathBuf};

use annex_initializer::{KcpArgs, LeaseArgs};
use annex_service::{LogFormat, OperationsTlsArgs, TlsArgs};

use crate::{policy::TrustArgs, store::StoreArgs};

/// Publishes and serves bundles, and answers which install a host is.
#[derive(clap::Parser, Clone, Debug)]
#[command(name = "annex-registry", version)]
pub struct Args {
    /// How kcp is reached.
    #[command(flatten)]
    pub kcp: KcpArgs,
    /// Which replica judges what is published.
    #[command(flatten)]
    pub lease: LeaseArgs,
    /// Where `/healthz`, `/readyz` and `/metrics` are served.
    #[arg(
        long,
        env = "REGISTRY_OPERATIONS_LISTEN",
        default_value = "127.0.0.1:8095",
        value_name = "ADDRESS:PORT"
    )]
    pub operations_listen: SocketAddr,
    /// Where the API is served, to publishers and runners.
    #[arg(long, env = "REGISTRY_LISTEN", default_value = "127.0.0.1:8091", value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,
    /// The file of the runners' tokens, a secret a line. Read again when it changes.
    #[arg(long = "runner-tokens", env = "RUNNER_TOKENS_FILE", value_name = "FILE")]
    pub runner_tokens: PathBuf,
    /// Where uploads are until they are judged: up to 200 MiB each. Absent: the system's folder for temporary files.
    #[arg(long = "upload-folder", env = "REGISTRY_UPLOAD_FOLDER", value_name = "FOLDER")]
    pub upload_folder: Option<PathBuf>,
    /// How many uploads there may be at a time.
    #[arg(long = "max-uploads", env = "REGISTRY_MAX_UPLOADS", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub max_uploads: u16,
    /// How log lines look.
    #[arg(long, env = "ANNEX_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// Whom to trust.
    #[command(flatten)]
    pub trust: TrustArgs,
    /// Where bundles are kept.
    #[command(flatten)]
    pub store: StoreArgs,
    /// TLS of the API.
    #[command(flatten)]
    pub tls: TlsArgs,
    /// TLS of the operator's listener.
    #[command(flatten)]
    pub operations_tls: OperationsTlsArgs,
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

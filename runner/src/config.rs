//! What the operator sets.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use annex_service::{LogFormat, OperationsTlsArgs, TlsArgs};
use clap::Parser;

use crate::registry_token::RegistryToken;
use crate::registry_url::RegistryUrl;

/// Serves an extension on its own domain.
#[derive(Debug, Clone, Parser)]
#[command(name = "annex-runner", version)]
pub struct Config {
    /// Address of the public listener, to which ingress sends the extensions' domains.
    #[arg(long, env = "RUNNER_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,

    /// Address of the internal listener: /healthz, /readyz, /metrics. Never reachable through a domain.
    #[arg(
        long,
        env = "RUNNER_INTERNAL_LISTEN",
        default_value = "127.0.0.1:8093",
        value_name = "ADDRESS:PORT"
    )]
    pub internal_listen: SocketAddr,

    /// Where the registry answers, http or https: the runner asks api/installs/lookup-by-host below it.
    #[arg(long, env = "REGISTRY_BASE_URL", value_name = "URL")]
    pub registry_base_url: RegistryUrl,

    /// The PEM certificates that an https registry is checked by, and no others. Absent: the system's.
    #[arg(long, env = "REGISTRY_CA_FILE", value_name = "FILE")]
    pub registry_ca_file: Option<PathBuf>,

    /// The same, as text: for a pod that has nothing mounted.
    // PEM begins with hyphens, which a value otherwise must not.
    #[arg(
        long,
        env = "REGISTRY_CA",
        value_name = "PEM",
        conflicts_with = "registry_ca_file",
        allow_hyphen_values = true
    )]
    pub registry_ca: Option<String>,

    /// What the registry knows this runner by: a file whose first line is a token. Read again when it changes.
    #[arg(long, env = "REGISTRY_TOKEN_FILE", value_name = "FILE")]
    pub registry_token_file: Option<PathBuf>,

    /// The same, as text: for a pod that has nothing mounted.
    // Not shown in --help: its value would be.
    #[arg(
        long,
        env = "REGISTRY_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN",
        conflicts_with = "registry_token_file"
    )]
    pub registry_token: Option<RegistryToken>,

    /// TLS of the public listener.
    #[command(flatten)]
    pub tls: TlsArgs,

    /// TLS of the internal listener.
    #[command(flatten)]
    pub operations_tls: OperationsTlsArgs,

    /// How log lines look.
    #[arg(long, env = "ANNEX_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// How long one question to the registry may take, in milliseconds, connecting included.
    #[arg(long, default_value_t = 2000, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub lookup_timeout_ms: u64,
}

impl Config {
    /// [`Self::lookup_timeout_ms`] as a duration.
    pub fn lookup_timeout(&self) -> Duration {
        Duration::from_millis(self.lookup_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_flags_are_consistent() {
        Config::command().debug_assert();
    }

    #[test]
    fn defaults_stay_on_this_machine() {
        let config = Config::parse_from(["annex-runner", "--registry-base-url", "http://127.0.0.1:8091"]);
        assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.internal_listen.to_string(), "127.0.0.1:8093");
        assert_eq!(config.lookup_timeout(), Duration::from_secs(2));
        assert_eq!(config.log_format, LogFormat::Text);
    }

    #[test]
    fn a_timeout_of_zero_is_refused() {
        let arguments = ["annex-runner", "--registry-base-url", "http://r", "--lookup-timeout-ms", "0"];
        assert!(Config::try_parse_from(arguments).is_err());
    }
}

//! What the operator sets.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use annex_bundle_client::PolicyArgs;
use annex_service::{LogFormat, OperationsTlsArgs, TlsArgs};
use clap::Parser;

use crate::execute::ExecuteArgs;
use crate::registry_token::RegistryToken;
use crate::registry_url::RegistryUrl;
use crate::ui::FrameAncestors;

/// Serves an extension on its own domain.
#[derive(Debug, Clone, Parser)]
#[command(name = "annex-runner", version)]
pub struct Config {
    /// Address of the public listener, to which ingress sends the extensions' domains.
    #[arg(long, env = "RUNNER_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,

    /// Address of the internal listener: /v1/execute, /healthz, /readyz, /metrics. Never reachable through a domain.
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

    /// By what bundles are judged. Without a trust bundle and the registry's keys no pages are served.
    #[command(flatten)]
    pub policy: PolicyArgs,

    /// The folder for bundles that were fetched and verified, for this runner alone. Absent: `annex-runner` in the system's folder for
    /// temporary files. Not used where no pages are served.
    #[arg(long, env = "EXT_CACHE_DIR", value_name = "FOLDER")]
    pub cache_dir: Option<PathBuf>,

    /// How many bytes of the disk the bundles in the folder take, counted by the block; the ones that were not asked for the longest go
    /// first. A bundle that takes more by itself is not served. What is being unpacked comes on top: two bundles at the most.
    #[arg(
        long,
        env = "EXT_CACHE_MAX_BYTES",
        default_value_t = 1 << 30,
        value_name = "BYTES",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub cache_max_bytes: u64,

    /// Asks the registry for each file whether the install still has this content, besides asking which install the host is.
    #[arg(
        long,
        env = "EXT_STATIC_STRICT_VALIDATION",
        default_value_t = true,
        action = clap::ArgAction::Set,
        value_name = "true|false"
    )]
    pub static_strict_validation: bool,

    /// Who may show pages in a frame: 'none', or 'self' and origins such as `https://app.example.com`, with spaces between them.
    #[arg(long, env = "EXT_FRAME_ANCESTORS", default_value = "'none'", value_name = "SOURCES")]
    pub frame_ancestors: FrameAncestors,

    /// Where the gateway answers: calls of an extension's own pages, /api/ext/ on its host, go there. Absent: there are none.
    #[arg(long, env = "EXT_GATEWAY_URL", value_name = "URL")]
    pub gateway_url: Option<reqwest::Url>,

    /// The PEM certificates that an https gateway is checked by, and no others. Absent: the system's.
    #[arg(long, env = "EXT_GATEWAY_CA_FILE", value_name = "FILE", requires = "gateway_url")]
    pub gateway_ca_file: Option<PathBuf>,

    /// The same, as text: for a pod that has nothing mounted. Without a gateway it says nothing.
    #[arg(
        long,
        env = "EXT_GATEWAY_CA",
        value_name = "PEM",
        conflicts_with = "gateway_ca_file",
        allow_hyphen_values = true
    )]
    pub gateway_ca: Option<String>,

    /// How calls are executed.
    #[command(flatten)]
    pub execute: ExecuteArgs,

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

    /// How long a page may be served by what the registry said of its host and its content before, in milliseconds: an install that ended or
    /// changed is noticed so much later. 0 asks for each file. What the policy denies is denied at once in either case.
    #[arg(
        long,
        env = "EXT_LOOKUP_TTL_MS",
        default_value_t = 1000,
        value_name = "MILLISECONDS",
        value_parser = clap::value_parser!(u64).range(..=60_000)
    )]
    pub lookup_ttl_ms: u64,
}

impl Config {
    /// [`Self::cache_dir`], or where it is if nobody says.
    pub fn cache_folder(&self) -> PathBuf {
        self.cache_dir.clone().unwrap_or_else(|| std::env::temp_dir().join("annex-runner"))
    }

    /// [`Self::lookup_ttl_ms`] as a duration.
    pub fn lookup_kept_for(&self) -> Duration {
        Duration::from_millis(self.lookup_ttl_ms)
    }

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
        assert_eq!(config.lookup_kept_for(), Duration::from_secs(1));
        assert_eq!(config.log_format, LogFormat::Text);
        assert_eq!(config.cache_max_bytes, 1 << 30);
        assert!(config.static_strict_validation);
        assert_eq!(config.frame_ancestors.to_string(), "'none'");
        assert!(!config.policy.is_complete());
    }

    #[test]
    fn a_timeout_of_zero_is_refused() {
        let arguments = ["annex-runner", "--registry-base-url", "http://r", "--lookup-timeout-ms", "0"];
        assert!(Config::try_parse_from(arguments).is_err());
    }
}

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use annex_core::{AddressPolicy, DomainRoot, HostName, IpNet};
use annex_initializer::{KcpArgs, LeaseArgs, SeedArgs};
use annex_service::{LogFormat, OperationsTlsArgs};
use jiff::{Span, SpanRelativeTo};

use crate::{
    announce::AnnounceArgs,
    compute::{ComputeArgs, DomainMode},
    handlers::HandlerArgs,
    runner::Runner,
    verify::VerifyArgs,
    workspace::SHORTEST_AGE,
};

/// Makes Installs true: finds the version, verifies it, gives it a host name and says Ready once the host answers.
#[derive(clap::Parser, Clone, Debug)]
#[command(version)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) kcp: KcpArgs,
    #[command(flatten)]
    pub(crate) lease: LeaseArgs,
    /// Where `/healthz`, `/readyz` and `/metrics` are served.
    #[arg(long, env = "ANNEX_LISTEN", default_value = "127.0.0.1:8090")]
    pub(crate) listen: SocketAddr,
    /// Where domains are answered, for asking for a host before the host is called Ready: the runner, or the ingress in knative
    /// mode, where nothing is asked when this is absent.
    #[arg(long, env = "RUNNER_BASE_URL", value_parser = base_url)]
    pub(crate) runner_url: Option<String>,
    /// The PEM certificates that an https runner or ingress is checked by, and no others. Absent: the system's.
    #[arg(long, env = "RUNNER_CA_FILE", value_name = "FILE")]
    pub(crate) runner_ca_file: Option<PathBuf>,
    /// Installs versions that nobody verified. For development only.
    #[arg(long, env = "ANNEX_ALLOW_UNSIGNED")]
    pub(crate) allow_unsigned: bool,
    /// How many reconciles run at a time.
    #[arg(long, env = "ANNEX_CONCURRENCY", default_value_t = 32)]
    pub(crate) concurrency: usize,
    /// How many of them may be of one workspace.
    #[arg(long, env = "ANNEX_CONCURRENCY_PER_WORKSPACE", default_value_t = 4)]
    pub(crate) concurrency_per_workspace: usize,
    /// How old the token in a workspace's kubeconfig gets before it is replaced, such as 30d or 12h; at least 10s.
    #[arg(long, env = "ANNEX_TOKEN_MAX_AGE", default_value = "30d", value_parser = token_max_age)]
    pub(crate) token_max_age: Duration,
    /// How many Installs with upgradePolicy Automatic begin to take a new version in a minute, over all tenants. 0: none does.
    #[arg(long, env = "ANNEX_ROLLOUT_PER_MINUTE", default_value_t = 60)]
    pub(crate) rollout_per_minute: usize,
    /// How log lines look.
    #[arg(long, env = "ANNEX_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    #[command(flatten)]
    pub(crate) verify: VerifyArgs,
    #[command(flatten)]
    pub(crate) operations_tls: OperationsTlsArgs,
    #[command(flatten)]
    pub(crate) domain: DomainArgs,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
    #[command(flatten)]
    pub(crate) handlers: HandlerArgs,
    #[command(flatten)]
    pub(crate) announce: AnnounceArgs,
    #[command(flatten)]
    pub(crate) environment: EnvironmentArgs,
    #[command(flatten)]
    pub(crate) seed: SeedArgs,
}

/// Which host names extensions get, and how they are opened.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct DomainArgs {
    /// The domain below which every extension gets a host name; a wildcard DNS record of it leads to the runner.
    #[arg(long = "domain-root", env = "EXT_DOMAIN_ROOT", value_parser = domain_root)]
    pub(crate) root: DomainRoot,
    /// The scheme of the extensions' URLs. Absent: https where EXT_DOMAIN_TLS_SECRET names their certificate, else http.
    #[arg(long = "domain-scheme", env = "EXT_DOMAIN_SCHEME", value_parser = ["http", "https"])]
    pub(crate) scheme: Option<String>,
    /// The port of the extensions' URLs, where it is not the scheme's own.
    #[arg(long = "domain-port", env = "EXT_DOMAIN_PORT")]
    pub(crate) port: Option<u16>,
}

/// Where a runner of direct mode answers when nobody says.
const RUNNER_URL: &str = "http://127.0.0.1:8080";

impl Args {
    /// Whom to ask whether a host answers. None: nobody.
    pub(crate) fn runner(&self) -> anyhow::Result<Option<Runner>> {
        let ingress = self.compute.domain_mode == DomainMode::Knative;
        match (&self.runner_url, ingress) {
            (None, true) => Ok(None),
            (url, ingress) => {
                let ca = self.runner_ca_file.as_deref();
                Runner::new(url.as_deref().unwrap_or(RUNNER_URL), ingress, ca).map(Some)
            }
        }
    }
}

impl DomainArgs {
    /// Where a person opens `host`. `certificate`: the domains have one.
    pub(crate) fn url(&self, host: &HostName, certificate: bool) -> String {
        let scheme = self.scheme.as_deref().unwrap_or(if certificate { "https" } else { "http" });
        match (self.port, scheme) {
            (None, _) | (Some(80), "http") | (Some(443), "https") => format!("{scheme}://{host}/"),
            (Some(port), _) => format!("{scheme}://{host}:{port}/"),
        }
    }
}

/// Where tenants' own clusters may be.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct EnvironmentArgs {
    /// Networks such as 10.20.0.0/16 in which environments may be though they are not public, separated by commas. Whoever may
    /// write a ManagedEnvironment can make the controller connect to any port in them.
    #[arg(
        long = "environment-allowed-networks",
        env = "ANNEX_ENVIRONMENT_ALLOWED_NETWORKS",
        value_delimiter = ','
    )]
    pub(crate) allowed_networks: Vec<IpNet>,
    /// Lets environments ask not to have their server's certificate checked.
    #[arg(long = "environment-allow-insecure-tls", env = "ANNEX_ENVIRONMENT_ALLOW_INSECURE_TLS")]
    pub(crate) allow_insecure_tls: bool,
}

impl EnvironmentArgs {
    pub(crate) fn policy(&self) -> AddressPolicy {
        AddressPolicy::new(self.allowed_networks.clone())
    }
}

fn domain_root(text: &str) -> Result<DomainRoot, String> {
    text.parse::<DomainRoot>().map_err(|error| format!("the domain root {error}"))
}

fn base_url(text: &str) -> Result<String, String> {
    let url = reqwest::Url::parse(text).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() || url.path() != "/" {
        return Err("must be http or https, with a host and without a path".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn token_max_age(text: &str) -> Result<Duration, String> {
    let span: Span = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    let age = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|error| error.to_string())?;
    let age = Duration::try_from(age).map_err(|_| "must not be negative".to_owned())?;
    if age < SHORTEST_AGE {
        return Err(format!(
            "must be at least {} s, or tokens are replaced all the time",
            SHORTEST_AGE.as_secs()
        ));
    }
    Ok(age)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_a_unit_and_is_not_too_short() {
        assert_eq!(token_max_age("30d"), Ok(Duration::from_secs(30 * 86_400)));
        assert_eq!(token_max_age("12h"), Ok(Duration::from_secs(12 * 3600)));
        assert_eq!(token_max_age("10s"), Ok(Duration::from_secs(10)));
        for bad in ["", "30", "9s", "-1d", "1s ago", "soon"] {
            assert!(token_max_age(bad).is_err(), "{bad}");
        }
    }
}

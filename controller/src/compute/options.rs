use std::{env, path::PathBuf};

use annex_bundle_client::Policy;
use annex_core::IpNet;
use annex_service::{Followed, RunnerTokens};
use anyhow::{Context as _, bail};

use super::{
    calls::{CallArgs, Calls},
    quantity::canonical,
};

/// How domains reach a runner, and the cluster that runs it.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ComputeArgs {
    /// direct: a wildcard ingress sends every domain to one runner. knative: each workspace gets runners and domain mappings on a
    /// cluster with Knative Serving.
    #[arg(long, env = "EXT_DOMAIN_MODE", default_value = "direct")]
    pub(crate) domain_mode: DomainMode,
    /// A kubeconfig whose current context is the compute cluster. Absent: the cluster that this runs in. Knative mode only.
    #[arg(long, env = "ANNEX_COMPUTE_KUBECONFIG")]
    pub(crate) compute_kubeconfig: Option<PathBuf>,
    /// The runner's image. Knative mode, and environments that are tenants' own clusters.
    #[arg(long, env = "RUNNER_IMAGE")]
    pub(crate) runner_image: Option<String>,
    /// Where runners in a cluster reach the registry.
    #[arg(long, env = "RUNNER_REGISTRY_URL")]
    pub(crate) runner_registry_url: Option<String>,
    /// How many pods of a runner are kept when nobody asks: 0 lets it start when it is asked.
    #[arg(long, env = "RUNNER_MIN_SCALE", default_value_t = 0)]
    pub(crate) runner_min_scale: u32,
    /// How many pods of a runner there may be.
    #[arg(long, env = "RUNNER_MAX_SCALE", default_value_t = 5)]
    pub(crate) runner_max_scale: u32,
    /// The CPU that a runner's pod asks for, as a Kubernetes quantity.
    #[arg(long, env = "RUNNER_CPU_REQUEST", default_value = "10m")]
    pub(crate) runner_cpu_request: String,
    /// The memory that a runner's pod asks for, as a Kubernetes quantity.
    #[arg(long, env = "RUNNER_MEMORY_REQUEST", default_value = "32Mi")]
    pub(crate) runner_memory_request: String,
    /// The CPU that a runner's pod may use, as a Kubernetes quantity.
    #[arg(long, env = "RUNNER_CPU_LIMIT", default_value = "1")]
    pub(crate) runner_cpu_limit: String,
    /// The memory that a runner's pod may use, as a Kubernetes quantity.
    #[arg(long, env = "RUNNER_MEMORY_LIMIT", default_value = "256Mi")]
    pub(crate) runner_memory_limit: String,
    /// The memory that a pod which executes extensions may use, as a Kubernetes quantity. All calls under way in it share that, and what
    /// compiles a component for the first time takes some hundred MiB for seconds.
    #[arg(long, env = "RUNNER_EXEC_MEMORY_LIMIT", default_value = "1Gi")]
    pub(crate) runner_exec_memory_limit: String,
    /// How long a request to a runner may take, in seconds. A pod that ends is given as long, and so is the namespace of a workspace
    /// whose last install went.
    #[arg(long, env = "RUNNER_TIMEOUT_SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(crate) runner_timeout_seconds: u32,
    /// How long a runner may take to start before Knative calls it failed and says why, in seconds.
    #[arg(long, env = "RUNNER_PROGRESS_DEADLINE_SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) runner_progress_deadline_seconds: u32,
    /// How many pods a workspace's namespace may hold.
    #[arg(long, env = "RUNNER_NAMESPACE_PODS", default_value_t = 20)]
    pub(crate) runner_namespace_pods: u32,
    /// The namespaces from which a runner's pods may be reached: Knative's and its ingress's, and the gateway's.
    #[arg(
        long,
        env = "RUNNER_INGRESS_NAMESPACES",
        value_delimiter = ',',
        default_value = "knative-serving,kourier-system,annex-system"
    )]
    pub(crate) runner_ingress_namespaces: Vec<String>,
    /// Networks that a runner's pods cannot reach, each as CIDR. The default is where clouds tell who asks their secrets.
    #[arg(
        long,
        env = "RUNNER_EGRESS_BLOCKED",
        value_delimiter = ',',
        default_value = "169.254.0.0/16,fd00:ec2::254/128"
    )]
    pub(crate) runner_egress_blocked: Vec<String>,
    /// The Secret that holds what of a runner's settings is secret, S3_ACCESS_KEY and S3_SECRET_KEY. It has to be in the namespace of
    /// each workspace, where the operator puts it: Annex reads and writes no such Secret.
    #[arg(long, env = "RUNNER_CREDENTIALS_SECRET", value_parser = object_name)]
    pub(crate) runner_credentials_secret: Option<String>,
    /// One runner for all workspaces: the namespace of its Knative Service, which the operator makes. Absent: each workspace has
    /// its own. Where only one of this and RUNNER_KSERVICE is given, the other is `default` or `runner`.
    #[arg(long, env = "RUNNER_NAMESPACE")]
    pub(crate) runner_namespace: Option<String>,
    /// One runner for all workspaces: the name of its Knative Service.
    #[arg(long, env = "RUNNER_KSERVICE")]
    pub(crate) runner_kservice: Option<String>,
    /// Makes the ClusterDomainClaim of each domain. Otherwise somebody else does, or Knative itself.
    #[arg(long, env = "KNATIVE_AUTO_CREATE_CDC")]
    pub(crate) auto_create_domain_claims: bool,
    /// The Secret of type kubernetes.io/tls on the compute cluster with the domains' wildcard certificate, as `namespace/name`.
    #[arg(long, env = "EXT_DOMAIN_TLS_SECRET")]
    pub(crate) domain_tls_secret: Option<String>,
    #[command(flatten)]
    pub(crate) calls: CallArgs,
}

/// How domains reach a runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum DomainMode {
    Direct,
    Knative,
}

/// What every place has in common. Checked, so that a mistake stops the start and not the first Install.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) image: String,
    pub(crate) registry_url: String,
    /// What each workspace's runner is known to the registry by is derived from these.
    pub(crate) runner_tokens: Option<Followed<RunnerTokens>>,
    /// By what a runner judges bundles: by the same as this process. None: it serves no pages.
    pub(crate) policy: Option<Policy>,
    /// The settings of a runner that the operator gave this process and that mean nothing to it, in the order of
    /// [`RUNNER_SETTINGS`].
    pub(crate) settings: Vec<(String, String)>,
    /// The Secret that holds the values of [`RUNNER_CREDENTIALS`].
    pub(crate) credentials: Option<String>,
    /// How calls reach them, and what they reach the gateway by.
    pub(crate) calls: Calls,
    pub(crate) min_scale: u32,
    pub(crate) max_scale: u32,
    pub(crate) cpu: (String, String),
    pub(crate) memory: (String, String),
    /// Of what executes.
    pub(crate) exec_memory: (String, String),
    pub(crate) timeout_seconds: u32,
    pub(crate) progress_deadline_seconds: u32,
    pub(crate) namespace_pods: u32,
    pub(crate) ingress_namespaces: Vec<String>,
    pub(crate) egress_blocked: Vec<String>,
}

/// What a runner is set up with, as the app-domains paper names it, and everybody may read.
const RUNNER_SETTINGS: [&str; 17] = [
    "BUNDLE_STORE_BASE",
    "EXT_BROKER_CA",
    "EXT_CACHE_MAX_BYTES",
    "EXT_CODE_CACHE_MAX_BYTES",
    "EXT_CONCURRENCY",
    "EXT_EGRESS_ALLOWLIST",
    "EXT_FRAME_ANCESTORS",
    "EXT_FUEL",
    "EXT_GATEWAY_CA",
    "EXT_LOOKUP_TTL_MS",
    "EXT_MEMORY_MAX_MIB",
    "EXT_STATIC_STRICT_VALIDATION",
    "REGISTRY_CA",
    "RUNNER_PUBLIC_BASE",
    "RUNNER_LOG",
    "S3_BUCKET",
    "S3_ENDPOINT",
];

/// What a runner is set up with and nobody is to read, as the paper names it. It reaches a runner out of a Secret and never passes
/// through here: what is in this process's environment would be in the open in every runner's Knative Service.
pub(super) const RUNNER_CREDENTIALS: [&str; 2] = ["S3_ACCESS_KEY", "S3_SECRET_KEY"];

/// One runner for all workspaces, which the operator made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SharedRunner {
    pub(crate) namespace: String,
    pub(crate) kservice: String,
}

/// What a runner on a tenant's own cluster is told of them: what it needs to check the registry by, and who may frame its pages.
const SETTINGS_ELSEWHERE: [&str; 2] = ["EXT_FRAME_ANCESTORS", "REGISTRY_CA"];

impl Options {
    /// For a cluster that is not the platform's: whoever owns it reads everything of a pod.
    pub(crate) fn elsewhere(mut self) -> Self {
        self.settings.retain(|(name, _)| SETTINGS_ELSEWHERE.contains(&name.as_str()));
        self.credentials = None;
        self.calls = Calls::default();
        self
    }
}

impl ComputeArgs {
    /// None where the image or the registry is not given: then nothing can run on a cluster.
    pub(crate) fn options(
        &self,
        runner_tokens: Option<Followed<RunnerTokens>>,
        policy: Option<Policy>,
        calls: Calls,
    ) -> anyhow::Result<Option<Options>> {
        let (Some(image), Some(registry_url)) = (&self.runner_image, &self.runner_registry_url) else {
            if self.domain_mode == DomainMode::Knative && self.shared().is_none() {
                bail!("--domain-mode knative needs --runner-image and --runner-registry-url");
            }
            return Ok(None);
        };
        let url = reqwest::Url::parse(registry_url).context("--runner-registry-url is no URL")?;
        if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some()
        {
            bail!("--runner-registry-url must be http or https, without user information");
        }
        for text in &self.runner_egress_blocked {
            let Ok(network) = text.parse::<IpNet>() else {
                bail!("--runner-egress-blocked: {text:?} is no network such as 10.0.0.0/8");
            };
            // The API server would refuse these later, in each NetworkPolicy.
            if network.prefix_len() == 0 {
                bail!("--runner-egress-blocked: {text:?} is everything, and only parts of it can be blocked");
            }
            if network.trunc().to_string() != *text {
                bail!("--runner-egress-blocked: {text:?} must be written as {}", network.trunc());
            }
        }
        if self.runner_max_scale < self.runner_min_scale.max(1) {
            bail!("--runner-max-scale must be at least 1 and not below --runner-min-scale");
        }
        let given = |name: &str| env::var(name).ok();
        no_credentials(given)?;
        let settings: Vec<(String, String)> =
            RUNNER_SETTINGS.iter().filter_map(|&name| Some((name.to_owned(), given(name)?))).collect();
        for (name, value) in &settings {
            if reqwest::Url::parse(value)
                .is_ok_and(|url| !url.username().is_empty() || url.password().is_some())
            {
                bail!(
                    "{name} must not hold user information: it is readable to whoever can read the runners' pods"
                );
            }
        }
        Ok(Some(Options {
            image: image.clone(),
            registry_url: registry_url.clone(),
            runner_tokens,
            policy,
            settings,
            credentials: self.runner_credentials_secret.clone(),
            calls,
            min_scale: self.runner_min_scale,
            max_scale: self.runner_max_scale,
            cpu: (
                quantity("--runner-cpu-request", &self.runner_cpu_request)?,
                quantity("--runner-cpu-limit", &self.runner_cpu_limit)?,
            ),
            memory: (
                quantity("--runner-memory-request", &self.runner_memory_request)?,
                quantity("--runner-memory-limit", &self.runner_memory_limit)?,
            ),
            exec_memory: (
                quantity("--runner-memory-request", &self.runner_memory_request)?,
                quantity("--runner-exec-memory-limit", &self.runner_exec_memory_limit)?,
            ),
            timeout_seconds: self.runner_timeout_seconds,
            progress_deadline_seconds: self.runner_progress_deadline_seconds,
            namespace_pods: self.runner_namespace_pods,
            ingress_namespaces: self.runner_ingress_namespaces.clone(),
            egress_blocked: self.runner_egress_blocked.clone(),
        }))
    }

    pub(crate) fn shared(&self) -> Option<SharedRunner> {
        if self.runner_namespace.is_none() && self.runner_kservice.is_none() {
            return None;
        }
        let or = |given: &Option<String>, default: &str| given.clone().unwrap_or_else(|| default.to_owned());
        Some(SharedRunner {
            namespace: or(&self.runner_namespace, "default"),
            kservice: or(&self.runner_kservice, "runner"),
        })
    }

    /// Namespace and name of the domains' certificate.
    pub(crate) fn tls_secret(&self) -> anyhow::Result<Option<(String, String)>> {
        let Some(text) = &self.domain_tls_secret else { return Ok(None) };
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Some((namespace.to_owned(), name.to_owned())))
            }
            _ => bail!("EXT_DOMAIN_TLS_SECRET must be namespace/name, not {text:?}"),
        }
    }
}

fn quantity(flag: &str, text: &str) -> anyhow::Result<String> {
    canonical(text).with_context(|| format!("{flag}: {text:?} is no quantity such as 100m, 1 or 256Mi"))
}

/// Refuses to go on with what would otherwise be left out without a word, or be in the open.
fn no_credentials(given: impl Fn(&str) -> Option<String>) -> anyhow::Result<()> {
    for name in RUNNER_CREDENTIALS {
        if given(name).is_some_and(|value| !value.is_empty()) {
            bail!(
                "{name} is a secret of the runners, and not for the controller: put it into a Secret in their namespaces, and name \
                 that one by RUNNER_CREDENTIALS_SECRET"
            );
        }
    }
    Ok(())
}

/// A name that a Secret can have.
fn object_name(text: &str) -> Result<String, String> {
    let inside = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit();
    let labels = text.split('.').all(|label| {
        label.starts_with(inside)
            && label.ends_with(inside)
            && label.chars().all(|character| inside(character) || character == '-')
    });
    if labels && text.len() <= 253 {
        Ok(text.to_owned())
    } else {
        Err("must be the name of a Secret".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Args {
        #[command(flatten)]
        compute: ComputeArgs,
    }

    fn options(more: &[&str]) -> Result<Options, String> {
        let given = ["annex", "--runner-image", "i", "--runner-registry-url", "http://registry"];
        let args = Args::try_parse_from(given.iter().chain(more)).map_err(|error| error.to_string())?;
        args.compute
            .options(None, None, Calls::default())
            .map(Option::unwrap)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_the_api_server_would_refuse_stops_the_start() {
        assert_eq!(options(&[]).unwrap().egress_blocked, ["169.254.0.0/16", "fd00:ec2::254/128"]);
        for bad in
            ["10.0.0.0/200", "10.0.0.0", "10.0.0.1/8", "fd00::1/64", "FD00::/64", "0.0.0.0/0", "::/0", "x"]
        {
            let error = options(&["--runner-egress-blocked", bad]).unwrap_err();
            assert!(error.contains("--runner-egress-blocked") && error.contains(bad), "{error}");
        }
        assert!(options(&["--runner-memory-limit", "1gb"]).unwrap_err().contains("--runner-memory-limit"));
    }

    #[test]
    fn a_quantity_is_asked_for_as_it_will_be_stored() {
        let options = options(&["--runner-cpu-limit", "2000m", "--runner-memory-limit", "1024Mi"]).unwrap();
        assert_eq!((options.cpu.1.as_str(), options.memory.1.as_str()), ("2", "1Gi"));
    }

    #[test]
    fn secrets_reach_a_runner_by_a_secrets_name_alone() {
        assert_eq!(options(&[]).expect("options").credentials, None);
        let named = options(&["--runner-credentials-secret", "annex-runner-credentials"]).expect("options");
        assert_eq!(named.credentials.as_deref(), Some("annex-runner-credentials"));
        assert_eq!(named.elsewhere().credentials, None, "not on a cluster that is not the platform's");
        for bad in ["", "A", "a_b", "a/b", "-a", "a.", "a..b"] {
            assert!(options(&["--runner-credentials-secret", bad]).is_err(), "{bad}");
        }
        for name in RUNNER_CREDENTIALS {
            let given = |value: &'static str| move |asked: &str| (asked == name).then(|| value.to_owned());
            let error = no_credentials(given("h1dden")).expect_err(name).to_string();
            assert!(error.contains(name) && error.contains("RUNNER_CREDENTIALS_SECRET"), "{error}");
            assert!(!error.contains("h1dden"), "{error}");
            assert!(no_credentials(given("")).is_ok());
        }
    }
}

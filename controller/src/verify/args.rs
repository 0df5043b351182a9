use std::path::PathBuf;

use annex_bundle::Limits;
use annex_bundle_client::{PolicyArgs, Source};
use annex_service::{Followed, RunnerTokens, runner_token};
use anyhow::{Context as _, ensure};
use reqwest::{Certificate, Url};
use tokio::sync::Semaphore;

use super::{AT_A_TIME, Bundles};

/// How bundles are verified, as command line arguments.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct VerifyArgs {
    /// Where the registry answers, http or https. Needed, unless --allow-unsigned.
    #[arg(long = "registry-url", env = "REGISTRY_BASE_URL", value_name = "URL")]
    url: Option<Url>,
    /// The PEM certificates that an https registry is checked by, and no others. Absent: the system's.
    #[arg(long = "registry-ca-file", env = "REGISTRY_CA_FILE", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The file of the runners' tokens: the registry knows the controller by the first, and each workspace's runner by what is derived from
    /// it. Read again when it changes.
    #[arg(long = "runner-tokens", env = "RUNNER_TOKENS_FILE", value_name = "FILE")]
    tokens: Option<PathBuf>,
    #[command(flatten)]
    policy: PolicyArgs,
}

impl VerifyArgs {
    /// How bundles are had and judged. None: not at all, which only `allow_unsigned` permits.
    pub(crate) fn bundles(&self, allow_unsigned: bool) -> anyhow::Result<Option<Bundles>> {
        let Some(base) = &self.url else {
            ensure!(
                allow_unsigned,
                "--registry-url is not given: nothing could be verified (--allow-unsigned is for development)"
            );
            return Ok(None);
        };
        ensure!(
            matches!(base.scheme(), "http" | "https")
                && base.username().is_empty()
                && base.password().is_none(),
            "--registry-url must be http or https, without user information"
        );
        let tokens = self.tokens.iter().cloned().collect();
        let token = Followed::load("the runners' tokens", tokens, |contents| {
            contents.first().map(|content| runner_token(content)).transpose()
        })?;
        Ok(Some(Bundles {
            source: Source::new(self.client(base)?, base.clone(), token.clone()),
            policy: self.policy.load(Limits::default())?,
            token,
            known: parking_lot::Mutex::default(),
            places: Semaphore::new(AT_A_TIME),
        }))
    }

    /// What workspaces' runners are known by.
    pub(crate) fn runner_tokens(&self) -> anyhow::Result<Option<Followed<RunnerTokens>>> {
        let load = |file: &PathBuf| {
            Followed::load("the runners' tokens", vec![file.clone()], |contents| {
                RunnerTokens::parse(contents.first().map_or(&[][..], Vec::as_slice))
            })
        };
        self.tokens.as_ref().map(load).transpose()
    }

    fn client(&self, base: &Url) -> anyhow::Result<reqwest::Client> {
        // A redirect or a proxy from the environment would let another party hand out bundles.
        let mut builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
        let authorities = match &self.ca {
            Some(path) => {
                let name = format!("--registry-ca-file {}", path.display());
                let pem = std::fs::read(path).with_context(|| format!("{name} cannot be read"))?;
                let certificates = Certificate::from_pem_bundle(&pem).unwrap_or_default();
                ensure!(!certificates.is_empty(), "{name} holds no PEM certificate");
                Some(certificates)
            }
            // Without it the client reads the system's root certificates even for http, and fails where there are none.
            None => (base.scheme() == "http").then(Vec::new),
        };
        if let Some(authorities) = authorities {
            builder = builder.tls_certs_only(authorities);
        }
        Ok(builder.build()?)
    }
}

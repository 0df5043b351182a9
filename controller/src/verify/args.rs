use std::path::PathBuf;

use annex_bundle::{Denylist, RegistryKeys, TrustBundle};
use annex_service::{Followed, RunnerTokens, runner_token};
use anyhow::{Context as _, ensure};
use reqwest::{Certificate, Url};
use tokio::sync::Semaphore;

use super::{AT_A_TIME, Bundles, Policy};

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
    /// The PEM file that says which publishers are trusted. Absent or empty: none is. Read again when it changes.
    #[arg(long = "trust-bundle", env = "SIGNING_TRUST_BUNDLE", value_name = "FILE")]
    trust: Option<PathBuf>,
    /// What is revoked. Absent: nothing. Read again when it changes.
    #[arg(long = "denylist", env = "SIGNING_DENYLIST", value_name = "FILE")]
    denylist: Option<PathBuf>,
    /// The JSON file of the registry's public keys. Absent: no receipt counts. Read again when it changes.
    #[arg(long = "registry-keys", env = "REGISTRY_KEYS_FILE", value_name = "FILE")]
    keys: Option<PathBuf>,
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
        let first = |contents: &[Vec<u8>]| contents.first().map_or(&[][..], Vec::as_slice).to_vec();
        let files = |file: &Option<PathBuf>| file.iter().cloned().collect::<Vec<_>>();
        let policy = Policy {
            trust: Followed::load("the trust bundle", files(&self.trust), move |contents| {
                TrustBundle::parse(&first(contents)).map_err(|error| error.to_string())
            })?,
            denylist: Followed::load("the denylist", files(&self.denylist), move |contents| {
                Denylist::parse(&first(contents)).map_err(|error| error.to_string())
            })?,
            keys: Followed::load("the registry's keys", files(&self.keys), |contents| {
                match contents.first() {
                    Some(keys) => RegistryKeys::from_json(keys).map_err(|error| error.to_string()),
                    None => Ok(RegistryKeys::default()),
                }
            })?,
        };
        let token = Followed::load("the runners' tokens", files(&self.tokens), |contents| {
            contents.first().map(|content| runner_token(content)).transpose()
        })?;
        Ok(Some(Bundles {
            http: self.client(base)?,
            base: base.clone(),
            token,
            policy,
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

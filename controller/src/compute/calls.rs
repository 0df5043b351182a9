//! What the runners of a cluster need to take calls: by what they verify the gateway's grants, and where the gateway is.

use std::path::PathBuf;

use annex_grant::{Audience, KeyRing};
use annex_service::Followed;
use anyhow::{Context as _, ensure};
use reqwest::Url;

/// How the gateway and the runners that Annex makes find and know each other.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct CallArgs {
    /// The folder of the keys that the gateway signs grants with. What executes on a cluster gets what is derived from them for its
    /// workspace. Absent: nothing is executed there. Read again when it changes.
    #[arg(long = "grant-keys", env = "GRANT_KEYS_FOLDER", value_name = "FOLDER")]
    grant_keys: Option<PathBuf>,
    /// Where runners in a cluster reach the gateway, for the calls of extensions' own pages. Absent: pages have no calls.
    #[arg(long, env = "RUNNER_GATEWAY_URL", value_name = "URL")]
    runner_gateway_url: Option<Url>,
    /// Where runners in a cluster reach the gateway's broker. Absent: extensions there have neither secrets nor storage.
    #[arg(long, env = "RUNNER_BROKER_URL", value_name = "URL")]
    runner_broker_url: Option<Url>,
}

impl CallArgs {
    /// Checked.
    pub(crate) fn calls(&self) -> anyhow::Result<Calls> {
        for (name, url) in [
            ("--runner-gateway-url", &self.runner_gateway_url),
            ("--runner-broker-url", &self.runner_broker_url),
        ] {
            let plain = |url: &Url| {
                matches!(url.scheme(), "http" | "https")
                    && url.username().is_empty()
                    && url.password().is_none()
            };
            ensure!(url.as_ref().is_none_or(plain), "{name} must be http or https, without user information");
        }
        let load = |folder: &PathBuf| {
            Followed::load_folder("the keys of grants", folder.clone(), |files| {
                KeyRing::parse(files).map_err(|error| error.to_string())
            })
        };
        Ok(Calls {
            keys: self.grant_keys.as_ref().map(load).transpose().context("--grant-keys")?,
            gateway: self.runner_gateway_url.as_ref().map(Url::to_string),
            broker: self.runner_broker_url.as_ref().map(Url::to_string),
        })
    }
}

/// What [`CallArgs`] gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls {
    keys: Option<Followed<KeyRing>>,
    /// Where runners reach the gateway.
    pub(super) gateway: Option<String>,
    /// Where they reach its broker.
    pub(super) broker: Option<String>,
}

impl Calls {
    /// What grants are signed with, if there is anything.
    pub(crate) fn keys(&self) -> Option<Followed<KeyRing>> {
        self.keys.clone()
    }

    /// Reads the keys again when they change, for ever.
    pub(crate) async fn follow(&self) {
        match &self.keys {
            Some(keys) => keys.follow().await,
            None => std::future::pending().await,
        }
    }

    /// What the runner that is `audience` verifies grants by, as its environment has it. None: there are no keys.
    pub(super) fn keys_for(&self, audience: &Audience) -> Option<String> {
        let derived = self.keys.as_ref()?.get().derived(audience);
        let words: Vec<String> = derived.iter().map(|(id, key)| format!("{id}={key}")).collect();
        (!words.is_empty()).then(|| words.join(" "))
    }
}

/// Who the Knative Service that executes in `namespace` is to the gateway.
pub(super) fn audience(namespace: &str) -> Option<Audience> {
    format!("{namespace}/exec").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_workspaces_runner_has_its_own_keys_and_never_the_gateways() {
        let folder = tempfile::tempdir().unwrap();
        let secret = "a secret of the tests that is long enough";
        std::fs::write(folder.path().join("k1"), secret).unwrap();
        std::fs::write(folder.path().join("k2"), secret.to_uppercase()).unwrap();
        let args = CallArgs { grant_keys: Some(folder.path().to_owned()), ..CallArgs::default() };
        let calls = args.calls().unwrap();
        let of = |namespace: &str| calls.keys_for(&audience(namespace).unwrap()).unwrap();
        let (acme, globex) = (of("annex-acme"), of("annex-globex"));
        assert_ne!(acme, globex);
        assert!(
            acme.starts_with("k1=aud.annex-acme/exec.") && acme.contains(" k2=aud.annex-acme/exec."),
            "{acme}"
        );
        assert!(!acme.to_lowercase().contains(secret));
        assert_eq!(Calls::default().keys_for(&audience("n").unwrap()), None);
    }

    #[test]
    fn what_cannot_be_meant_stops_the_start() {
        let with =
            |url: &str| CallArgs { runner_broker_url: Some(url.parse().unwrap()), ..CallArgs::default() };
        assert!(
            with("http://user:secret@gateway:8098")
                .calls()
                .unwrap_err()
                .to_string()
                .contains("--runner-broker-url")
        );
        assert!(with("ftp://gateway").calls().is_err());
        let empty = tempfile::tempdir().unwrap();
        let args = CallArgs { grant_keys: Some(empty.path().to_owned()), ..CallArgs::default() };
        assert!(args.calls().is_err());
    }
}

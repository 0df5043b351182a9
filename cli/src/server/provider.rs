//! The provider's workspace, where the catalog is.

use clap::Args;
use kube::{Client, Config};

use super::config::{ConfigError, ServerArguments};

/// Where the catalog is unless it is said otherwise.
pub(crate) const PROVIDER_WORKSPACE: &str = "root:annex";

/// Which server, as whom, and where the catalog is.
#[derive(Debug, Clone, Args)]
pub(crate) struct ProviderArguments {
    #[command(flatten)]
    pub(crate) server: ServerArguments,
    /// The provider's workspace, where the catalog is
    #[arg(long, value_name = "PATH", default_value = PROVIDER_WORKSPACE, value_parser = workspace_path)]
    pub(crate) workspace: String,
}

/// The provider's workspace, with the caller's own rights.
pub(crate) struct Provider {
    pub(crate) client: Client,
    /// Its address, for messages.
    pub(crate) server: String,
}

impl ProviderArguments {
    /// Whatever workspace the kubeconfig's context names, this one is asked on the same server.
    pub(crate) async fn connect(&self) -> Result<Provider, ConfigError> {
        let mut config: Config = self.server.config().await?;
        let server = in_workspace(&config.cluster_url.to_string(), &self.workspace);
        config.cluster_url = server.parse().map_err(|error: http::uri::InvalidUri| {
            ConfigError::Client(format!("{server} is no address: {error}"))
        })?;
        let client = Client::try_from(config).map_err(|error| ConfigError::Client(error.to_string()))?;
        Ok(Provider { client, server })
    }
}

/// The address of a workspace on the server of another.
fn in_workspace(server: &str, workspace: &str) -> String {
    let base = server.split_once("/clusters/").map_or(server, |(base, _)| base);
    format!("{}/clusters/{workspace}", base.trim_end_matches('/'))
}

/// A path of kcp, such as `root:annex`. A slash or a dot in it would ask for something else.
fn workspace_path(text: &str) -> Result<String, String> {
    let is_name = |name: &str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !name.is_empty() && name.chars().all(inner)
    };
    if text.split(':').all(is_name) {
        Ok(text.to_owned())
    } else {
        Err("it must be names of a-z, 0-9 and -, with : between them, such as root:annex".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalog_is_on_the_same_server() {
        for (server, expected) in [
            ("https://kcp:6443/clusters/root:acme", "https://kcp:6443/clusters/root:annex"),
            ("https://kcp:6443/", "https://kcp:6443/clusters/root:annex"),
            ("https://front/kcp/clusters/1x2y3z", "https://front/kcp/clusters/root:annex"),
        ] {
            assert_eq!(in_workspace(server, PROVIDER_WORKSPACE), expected);
        }
    }

    #[test]
    fn a_workspace_is_a_path_of_kcp() {
        for text in ["root:annex", "2f3k9x", "root:platform:extensions"] {
            assert!(workspace_path(text).is_ok(), "{text}");
        }
        for text in ["", "root:", "../x", "root/annex", "Root", "a b"] {
            assert!(workspace_path(text).is_err(), "{text}");
        }
    }
}

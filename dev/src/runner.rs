//! How the real runner is set up here.

use std::ffi::OsString;

use annex_egress::OperatorList;
use annex_runner::{Config, Server};
use anyhow::{Context as _, Result};
use clap::builder::Resettable;
use clap::{CommandFactory as _, FromArgMatches as _};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::state::State;

/// Where the runner finds the others, and what it is given.
pub(crate) struct Around<'a> {
    pub(crate) registry: &'a str,
    pub(crate) gateway: &'a str,
    pub(crate) broker: &'a str,
    /// `ID=KEY`.
    pub(crate) grant_keys: &'a str,
    pub(crate) egress: &'a OperatorList,
}

/// Takes the ports: the public one on 127.0.0.1, and any for the internal listener.
pub(crate) async fn bind(port: u16, state: &State, around: &Around<'_>) -> Result<Server> {
    let folder = state.folder().to_str().context("the state folder's path is no UTF-8")?;
    let options = [
        ("--listen", format!("127.0.0.1:{port}")),
        ("--internal-listen", "127.0.0.1:0".to_owned()),
        ("--registry-base-url", around.registry.to_owned()),
        ("--gateway-url", around.gateway.to_owned()),
        ("--broker-url", around.broker.to_owned()),
        ("--trust-bundle", format!("{folder}/trust/trust.pem")),
        ("--denylist", format!("{folder}/trust/denylist")),
        ("--registry-keys", format!("{folder}/trust/keys.json")),
        ("--cache-dir", format!("{folder}/bundles")),
        ("--code-cache-dir", format!("{folder}/code")),
        ("--storage-url", storage_url(&state.storage().display().to_string())),
        ("--grant-keys", around.grant_keys.to_owned()),
        // The machine is busy compiling.
        ("--lookup-timeout-ms", "20000".to_owned()),
    ];
    let mut config = config(options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]))?;
    config.execute.egress_allowlist = around.egress.clone();
    Server::bind(&config).await
}

fn config(options: impl Iterator<Item = String>) -> Result<Config> {
    // By these options alone: the environment may be that of somebody who operates runners.
    let command = Config::command().mut_args(|argument| argument.env(Resettable::Reset));
    let arguments = std::iter::once("annex-runner".to_owned()).chain(options).map(OsString::from);
    let mut matches = command.try_get_matches_from(arguments).map_err(|error| anyhow::anyhow!("{error}"))?;
    Config::from_arg_matches_mut(&mut matches).map_err(|error| anyhow::anyhow!("{error}"))
}

/// What a path has in a URL as it is.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_').remove(b'~');

fn storage_url(path: &str) -> String {
    format!("sqlite://{}", utf8_percent_encode(path, IN_PATH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_anything_in_it_is_one_in_a_url() {
        assert_eq!(storage_url("/a b/c?d#e%20.db"), "sqlite:///a%20b/c%3Fd%23e%2520.db");
    }
}

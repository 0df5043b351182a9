//! What the registry knows this runner by.

use std::fmt;
use std::str::FromStr;

use annex_service::{Followed, runner_token};

use crate::config::Config;

/// A token of `REGISTRY_TOKEN`. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct RegistryToken(String);

impl FromStr for RegistryToken {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        runner_token(text.as_bytes()).map(Self)
    }
}

impl fmt::Debug for RegistryToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RegistryToken")
    }
}

/// The token that each question to the registry gets, as it is now and when its file changes.
///
/// # Errors
/// The file cannot be read, or its first line is no token.
pub(crate) fn registry_token(config: &Config) -> anyhow::Result<Followed<Option<String>>> {
    let given = config.registry_token.clone();
    let files = config.registry_token_file.clone().into_iter().collect();
    Followed::load("the registry's token", files, move |contents| {
        Ok(match contents.first() {
            Some(content) => Some(runner_token(content)?),
            None => given.clone().map(|RegistryToken(token)| token),
        })
    })
}

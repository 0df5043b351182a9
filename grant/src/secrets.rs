//! `POST /v1/secrets`, by a runner to the gateway's broker.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Base64Bytes;

/// Where the gateway's broker answers, on a listener of its own.
pub const SECRETS_PATH: &str = "/v1/secrets";
/// The audience of the grant that is presented to the broker. What it is good for there its capabilities say.
pub const BROKER_AUDIENCE: &str = "annex-gateway/broker";
/// The capability without which the broker says nothing.
pub const SECRETS_CAPABILITY: &str = "secrets";

/// Which secret is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretQuestion {
    /// One of the Install's `spec.secrets[].name`.
    pub name: String,
}

/// What it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretAnswer {
    /// The Secret's `data`, by key.
    pub data: BTreeMap<String, Base64Bytes>,
}

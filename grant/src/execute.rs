//! `POST /v1/execute`, by the gateway to a runner.

use std::collections::BTreeMap;

use annex_core::{ContentHash, ExtensionId, InstallId, TenantId};
use serde::{Deserialize, Serialize};

use crate::Base64Bytes;

/// Where a runner executes, on its internal listener.
pub const EXECUTE_PATH: &str = "/v1/execute";

/// One call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecuteRequest {
    /// Whose call of what it is. What the grant says, too, must be the same.
    pub context: ExecuteContext,
    /// What the guest is asked.
    pub http: HttpRequest,
    /// What it may use. The same as in the grant.
    pub limits: Limits,
}

/// Whose call of what it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecuteContext {
    /// The gateway's `x-request-id`.
    pub request_id: String,
    /// The tenant, by the id that the outside knows it by.
    pub tenant_id: TenantId,
    /// The extension.
    pub extension_id: ExtensionId,
    /// The Install's `metadata.uid`.
    pub install_id: InstallId,
    /// The content to execute.
    pub content_hash: ContentHash,
    /// Its version, by semver.
    pub version: String,
    /// The Install's parameters. The grant covers them by the body's digest.
    #[serde(default)]
    pub config: BTreeMap<String, serde_json::Value>,
}

/// What the guest is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpRequest {
    /// In upper case.
    pub method: String,
    /// From `/`, below `/api/ext/<extension>`. Percent-encoded in the one way that [the gateway](crate) makes: what needs no escape has
    /// none, hex digits are in upper case, and there is no empty segment, no dot segment and no escaped slash.
    pub path: String,
    /// What follows the `?`, as it came. Absent: there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Those that pass, with names in lower case, in the order in which they came.
    #[serde(default)]
    pub headers: Vec<Header>,
    /// Absent: it is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_b64: Option<Base64Bytes>,
}

/// A name and a value, as a JSON array of the two.
pub type Header = (String, String);

/// What one call may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Milliseconds until it is ended.
    pub timeout_ms: u32,
    /// Memory, in MiB.
    pub memory_mb: u32,
    /// Wasm fuel. Absent: it is not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
}

/// What the guest answered: with status 200. Whatever the runner itself says no to has another status and is a
/// [`RunnerError`](crate::RunnerError).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecuteResponse {
    /// The guest's status, as it gave it.
    pub status: u16,
    /// The guest's headers, as it gave them.
    #[serde(default)]
    pub headers: Vec<Header>,
    /// Absent: it is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_b64: Option<Base64Bytes>,
}

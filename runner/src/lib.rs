//! The runner: what answers when a browser opens an extension's domain.
//!
//! Two listeners that never share a port. The public one answers `GET /` with the identity of the install that the
//! request's host is, as the registry knows it; the Wasm runner will grow there. The internal one has `/healthz`,
//! `/readyz` and `/metrics`. The answer of the registry and our own are both [`annex_core::InstallIdentity`].

mod config;
mod host_header;
mod metrics;
mod process;
mod public;
mod readiness;
mod refusal;
mod registry;
mod registry_token;
mod registry_url;
mod server;

pub use config::Config;
pub use process::run;
pub use registry_url::{RegistryUrl, RegistryUrlError};
pub use server::Server;

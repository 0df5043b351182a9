//! The runner: what answers when a browser opens an extension's domain.
//!
//! Two listeners that never share a port. The public one serves the pages of the extension that is installed on the
//! request's host (`ui/`), out of a cache of bundles that were verified from their bytes (`cache/`), and says at
//! [`annex_core::IDENTITY_PATH`] which install that is, as the registry knows it; the Wasm runner will grow there. The
//! internal one has `/healthz`, `/readyz` and `/metrics`.

mod cache;
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
mod ui;

pub use config::Config;
pub use process::run;
pub use registry_url::{RegistryUrl, RegistryUrlError};
pub use server::Server;
pub use ui::{FrameAncestors, FrameAncestorsError};

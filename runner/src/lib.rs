//! The runner: what answers when a browser opens an extension's domain.
//!
//! Two listeners that never share a port. The public one serves the pages of the extension that is installed on the
//! request's host (`ui/`), out of a cache of bundles that were verified from their bytes (`cache/`), and says at
//! [`annex_core::IDENTITY_PATH`] which install that is, as the registry knows it. The
//! internal one executes what the gateway grants (`execute/`), and has `/healthz`, `/readyz` and `/metrics`.
//!
//! Components are compiled by the same program in a process of its own ([`COMPILE`]).

mod authorities;
mod cache;
mod config;
mod execute;
mod forward;
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
pub use execute::ExecuteArgs;
pub use process::run;
pub use registry_url::{RegistryUrl, RegistryUrlError};
pub use server::Server;
pub use ui::{FrameAncestors, FrameAncestorsError};

/// The argument with which this program compiles what comes on its standard input, and does nothing else.
pub const COMPILE: &str = "compile";

/// Compiles, where the program was called with [`COMPILE`].
pub fn compile(mut arguments: impl Iterator<Item = std::ffi::OsString>) -> std::process::ExitCode {
    annex_engine::compile_standard_input(annex_engine::CodeOptions {
        fuel: arguments.any(|argument| argument == "--fuel"),
    })
}

//! The development environment as a library: what `cargo xtask` does, and what the end-to-end tests bring up.
//!
//! Everything blocks. A test makes [`Settings::with_free_ports`], calls [`Stack::up`], and stops, kills and starts
//! single [`Part`]s of it; `cargo xtask down` and [`Stack::down`] end exactly what was started, by the records in the
//! state directory, so that a process that crashed in between leaves nothing that cannot be ended.

pub mod cli;
pub mod progress;

mod ahead;
mod bench;
mod binaries;
mod checkout;
mod checks;
mod compute;
mod demo;
mod domain_tls;
mod drift;
mod envoy;
mod guard;
mod http;
mod identities;
mod interrupt;
mod kcp;
mod kubeconfig;
mod kubectl;
mod part;
mod paths;
mod ports;
mod prerequisites;
mod private_file;
mod process;
mod provider;
mod sandbox;
mod services;
mod settings;
mod signing;
mod stack;
mod state;
mod status;
mod tail;
mod tools;
mod users;

pub use binaries::example;
pub use compute::{Component, Compute};
pub use demo::run as demo;
pub use http::{Response, get};
pub use kubectl::Kubectl;
pub use part::Part;
pub use paths::Paths;
pub use settings::{ComputeMode, Settings};
pub use stack::{Stack, down};
pub use tools::s3_server;

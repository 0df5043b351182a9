//! How whoever installs or serves a bundle has it: fetched from the registry, and verified from the bytes.
//!
//! Neither the registry nor its store is believed. What decides is [`Policy`]: a trust bundle, a denylist and the registry's public keys,
//! in files of the operator's that are followed. The controller reads a bundle before it installs it and keeps nothing, the runner
//! unpacks it into its cache: they differ in the [`annex_bundle::Sink`] alone.

mod chunks;
mod policy;
mod source;

pub use policy::{Held, Policy, PolicyArgs};
pub use source::{LoadError, Source, Vouched};

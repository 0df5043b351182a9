//! The spine, end to end on a real kcp with the real services. `cargo xtask test --only e2e` runs it and takes the environment
//! down afterwards.

#![allow(missing_docs)]

mod cleanup;
mod cli;
mod conflicts;
mod environment;
mod guide;
mod provider;
mod refusals;
mod restarts;
mod security;
mod tenants;

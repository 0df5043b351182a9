//! The spine, end to end on a real kcp with the real services. `cargo xtask test --only e2e` runs it and takes the environment
//! down afterwards.

#![allow(missing_docs)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of it is test, also what is not in a #[test] function: a panic is how a test fails"
)]

mod calls;
mod cleanup;
mod cli;
mod conflicts;
mod demo;
mod dependencies;
mod environment;
mod events;
mod faults;
mod flows;
mod guide;
mod handlers;
mod interruptions;
mod kube_kcp;
mod managed_environments;
mod pages;
mod parameters;
mod policies;
mod provider;
mod refusals;
mod registry;
mod registry_s3;
mod replicas;
mod restarts;
mod sample;
mod security;
mod seed;
mod stuck;
mod tenants;
mod tls;

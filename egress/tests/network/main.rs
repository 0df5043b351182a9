//! Egress against hostile names, servers and guests, over real sockets.
//!
//! Each test has a network namespace of its own, in which private, metadata and "public" addresses are this machine's own: a bug
//! reaches nothing real. It takes root, or `unshare --map-root-user cargo test`.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the lints see tests only in the test functions themselves, not in what these share"
)]

mod addresses;
mod bodies;
mod certificates;
mod names;
mod namespace;
mod pki;
mod proxies;
mod server;
mod sharing;
mod slow;
mod system_resolver;
mod world;

//! An extension's pages over real sockets, out of bundles that are really packed, signed and received. The registry is a double: what it
//! hands out and answers can be changed under the runner.

#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of it is test, also what is not in a #[test] function: a panic is how a test fails"
)]

#[path = "../support/mod.rs"]
mod support;

mod cache;
mod encodings;
mod files;
mod headers;
mod hosts;
mod published;
mod trust;
mod world;

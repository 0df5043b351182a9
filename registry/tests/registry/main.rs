//! The registry over HTTP, without a network: kcp is a function, the store a folder.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of it is test: a panic is how a test fails"
)]

mod bundles;
mod catalog;
mod crashes;
mod lookups;
mod publishing;
mod reprovision;
mod support;
mod verdicts;

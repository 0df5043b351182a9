//! Bundles as an attacker makes them, and as everybody else does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the lints see tests only in the test functions themselves, not in what these share"
)]

mod archives;
mod chains;
mod codes;
mod fuzz;
mod keys;
mod loading;
mod manifests;
mod packing;
mod publishing;
mod support;
mod trust_bundles;

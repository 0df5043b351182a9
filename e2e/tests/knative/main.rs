//! Annex on a real Kubernetes with Knative Serving. `cargo xtask test --only knative` runs it and takes the cluster down afterwards.

#![allow(missing_docs)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of it is test, also what is not in a #[test] function: a panic is how a test fails"
)]

mod cluster;

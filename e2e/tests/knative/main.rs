//! Runners and domains on a real Kubernetes with Knative Serving, Kourier and Envoy, for tenants of a real kcp. `cargo xtask test
//! --only knative` runs it and takes the environment down afterwards.

#![allow(missing_docs)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of it is test, also what is not in a #[test] function: a panic is how a test fails"
)]

mod calls;
mod certificates;
mod cleanup;
mod clocks;
mod conflicts;
mod deployments;
mod domains;
mod drift;
mod elsewhere;
mod environment;
mod faults;
mod faults_in_flows;
mod flows;
mod guard;
mod overlay;
mod own_cluster;
mod own_clusters;
mod rights;
mod runner_settings;
mod shared_mode;
mod versions;

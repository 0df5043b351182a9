#![doc = include_str!("../README.md")]

mod answer;
mod backoff;
mod brief;
mod client;
mod endpoints;
mod index;
pub mod kinds;
mod lease;
mod metrics;
mod names;
mod queue;
mod readiness;
mod schema;
mod watch;
mod worker;

pub use answer::AnswerTooLarge;
pub use backoff::{Backoff, WatchBackoff};
pub use brief::Brief;
pub use client::{Bounds, ConnectError, Connection};
pub use endpoints::{Endpoints, export_endpoints, initializing_endpoints};
pub use index::{Change, Index, RemovedBecause};
pub use lease::{Claim, Fence, Fenced, Leadership, Lease, LeaseError, LeaseMetrics, LeaseOptions, NotLeader};
pub use metrics::Metrics;
pub use names::{
    CLUSTER_ANNOTATION, ClusterName, MissingCluster, NameError, ObjectKey, PATH_ANNOTATION, ShardUrl,
    cluster_of,
};
pub use queue::{Lane, Outcome, WorkQueue};
pub use readiness::{Gate, Readiness};
pub use schema::{SchemaError, resource_schema};
pub use watch::{spawn_metadata_watch, spawn_object_watch};
pub use worker::{Limits, run_workers};

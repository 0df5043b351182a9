#![doc = include_str!("../README.md")]

mod answer;
mod backoff;
mod brake;
mod brief;
mod client;
mod index;
pub mod kinds;
mod lanes;
mod lease;
mod metrics;
mod names;
mod news;
mod queue;
mod readiness;
mod schema;
mod virtual_workspace;
mod watch;
mod work_metrics;
mod worker;

pub use answer::AnswerTooLarge;
pub use backoff::{Backoff, WatchBackoff};
pub use brake::Brake;
pub use brief::Brief;
pub use client::{Bounds, ConnectError, Connection, Timeouts, trust_also};
pub use index::{Change, Held, Index, RemovedBecause};
pub use lease::{Claim, Fence, Fenced, Leadership, Lease, LeaseError, LeaseMetrics, LeaseOptions, NotLeader};
pub use metrics::Metrics;
pub use names::{
    CLUSTER_ANNOTATION, ClusterName, MissingCluster, NameError, ObjectKey, PATH_ANNOTATION, ShardUrl,
    cluster_of,
};
pub use news::{Found, News};
pub use queue::{Lane, Outcome, WorkQueue};
pub use readiness::{Gate, Readiness};
pub use schema::{SchemaError, resource_schema};
pub use virtual_workspace::{
    Health, LET_GO_ANNOTATION, NoClient, ShardHealth, ShardHost, ShardHostError, VirtualWorkspace,
    VirtualWorkspaceOptions,
};
pub use watch::{WatchError, WatchOptions};
pub use work_metrics::WorkMetrics;
pub use worker::{Limits, Stop, run_workers};

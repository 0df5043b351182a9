//! The way in to extensions: who may call what, how much and how long.
//!
//! `docs/gateway-api.md` has what it answers. It is a library, too, so that tests drive it without a process.

mod answer;
mod app;
mod args;
mod bodies;
mod broker;
mod call;
mod endpoints;
mod heard;
mod http;
mod installed;
mod metrics;
mod parameters;
mod path;
mod prune;
mod refusals;
mod request_headers;
mod response_headers;
mod rights;
mod run;
mod storage;
mod target;
mod workspace;

pub use annex_runner_client::{DIRECT_AUDIENCE, RunnerSettings, Runners};
pub use app::{App, Settings};
pub use args::Args;
pub use bodies::{Bodies, LARGEST_BODY};
pub use heard::Early;
pub use http::{broker_router, router};
pub use metrics::Metrics;
pub use parameters::Parameters;
pub use prune::prune;
pub use rights::Rights;
pub use run::run;
pub use storage::Storage;

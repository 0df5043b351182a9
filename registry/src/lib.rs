//! The registry: what may be published is judged here, kept, and handed to runners; and it knows which install a host is.
//!
//! `docs/registry-api.md` has what it answers. It is a library, too, so that tests drive it without a process.

mod app;
mod args;
mod bundles;
mod http;
mod lead;
mod listing;
mod lookup;
mod metrics;
mod pace;
mod places;
mod policy;
mod prune;
mod publish;
mod query;
mod refusal;
mod reprovision;
mod reverify;
mod run;
mod runner_auth;
mod scratch;
mod store;
mod upload;
mod version;

pub use annex_answering::{Caller, Callers, Catalog, Installs, Named, Refusal, Routes, Workspaces};
pub use app::App;
pub use args::Args;
pub use http::router;
pub use metrics::Metrics;
pub use pace::Patience;
pub use places::Places;
pub use policy::{Keys, Policy, TrustArgs};
pub use reverify::judge;
pub use run::run;
pub use scratch::Scratch;
pub use store::{
    BundleFile, BundleStore, Collected, Marker, NewBundle, S3Args, StoreArgs, StoreError, Stored,
};

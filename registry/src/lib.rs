//! The registry: what may be published is judged here, kept, and handed to runners; and it knows which install a host is.
//!
//! `docs/registry-api.md` has what it answers. It is a library, too, so that tests drive it without a process.

mod app;
mod args;
mod bundles;
mod caller;
mod http;
mod installs;
mod kcp;
mod lead;
mod listing;
mod lookup;
mod metrics;
mod named;
mod pace;
mod places;
mod policy;
mod publish;
mod query;
mod refusal;
mod reprovision;
mod reverify;
mod routes;
mod run;
mod runner_auth;
mod scratch;
mod store;
mod upload;
mod version;

pub use app::{App, Catalog, Workspaces};
pub use args::Args;
pub use caller::{Caller, Callers};
pub use http::router;
pub use installs::Installs;
pub use metrics::Metrics;
pub use named::Named;
pub use pace::Patience;
pub use places::Places;
pub use policy::{Keys, Policy, TrustArgs};
pub use refusal::Refusal;
pub use reverify::judge;
pub use routes::Routes;
pub use run::run;
pub use scratch::Scratch;
pub use store::{
    BundleFile, BundleStore, Collected, Marker, NewBundle, S3Args, StoreArgs, StoreError, Stored,
};

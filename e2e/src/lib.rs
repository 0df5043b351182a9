//! What the end-to-end tests and the benchmarks share: a real environment, its users, and waiting for what they see.
//!
//! Nothing here sleeps in place of a condition: every wait is a watch with a limit.

mod browser;
mod caller;
mod catalog;
mod cluster;
mod everything;
mod extension;
pub mod faults;
mod lifecycle;
mod notes_page;
mod publisher;
pub mod replica;
mod runner_client;
pub mod turns;
mod waiting;
mod workspaces;
mod world;

pub use browser::{console_errors, evaluate, with_browser};
pub use caller::{Caller, token_in};
pub use catalog::{hash, publish, publish_version, withdraw};
pub use cluster::{Cluster, Kind};
pub use everything::Everything;
pub use extension::{
    NOTES, NOTES_ENDPOINTS, component, folder, kubectl_annex, packed_with, publish_notes, publish_sample,
};
pub use lifecycle::{
    GUEST_ENDPOINTS, Load, guest_capabilities, guest_is_handed, guest_says, guest_was_told, modules,
    publish_guest,
};
pub use notes_page::NotesPage;
pub use publisher::{Publisher, packed};
pub use runner_client::RunnerClient;
pub use waiting::{PATIENCE, until, when};
pub use workspaces::{Tenancy, Workspace, condition};
pub use world::World;

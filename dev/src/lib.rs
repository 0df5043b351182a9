//! `kubectl annex dev`: one extension in a platform of its own, on the machine of whoever writes it.
//!
//! What executes and serves is the real runner, and what lets calls in is the real gateway, so that what works here works when it is
//! installed: the sandbox, its limits, what is linked, the headers, and what of a request passes. What stands around them is not real:
//!
//! | in production | here |
//! |---|---|
//! | the registry | `registry.rs` answers for one install, out of memory, over the same paths. Keys are made at the start, so that signature and receipt are verified as ever |
//! | kcp | there is none: one Tenant, ExtensionVersion and Install are made up (`install.rs`), and `kcp.rs` gives the Secrets that were named |
//! | tokens and RBAC | every endpoint is in the Install's `spec.public`: whoever reaches the address may call. `front.rs` keeps out the pages of other sites |
//!
//! All listeners are on 127.0.0.1. [`Platform`] is all of that; [`Watch`] says when a project has changed, [`Child`] runs what builds
//! it, and [`Terminal`] shows what guests say.

mod child;
mod follow_up;
mod front;
mod install;
mod kcp;
mod parameters;
mod platform;
mod registry;
mod runner;
mod signing;
mod snapshot;
mod state;
mod terminal;
mod watch;

pub use annex_egress::OperatorList;
pub use annex_runner::{COMPILE, compile};
pub use child::Child;
pub use follow_up::FollowUp;
pub use install::SecretFile;
pub use parameters::Parameters;
pub use platform::{Installed, Platform, Settings};
pub use snapshot::{Changes, Project};
pub use state::{State, StateError};
pub use terminal::Terminal;
pub use watch::Watch;

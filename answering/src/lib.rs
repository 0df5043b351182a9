//! What the services that answer requests by what kcp knows do alike: [who asks](Callers), [what is published](Catalog) and
//! [installed](Installs), and [how they say no](Refusal).
//!
//! It exists because registry and gateway need the same, and a check of who somebody is must not be fixed in one of two copies.

mod caller;
mod catalog;
mod following;
mod installs;
mod named;
pub mod questions;
mod refusal;
mod routes;
mod vanished;

pub use caller::{Caller, Callers, Wish, bearer};
pub use catalog::Catalog;
pub use following::clients;
pub use installs::Installs;
pub use named::Named;
pub use refusal::Refusal;
pub use routes::Routes;
pub use vanished::Workspaces;

//! Calls over real sockets, of components that are really packed, signed, compiled and sandboxed. The registry is a double, and so is the
//! gateway, which grants what no gateway would; of the real one there is the broker where guests store by it.

#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of it is test, also what is not in a #[test] function: a panic is how a test fails"
)]

#[path = "../support/mod.rs"]
mod support;

#[allow(dead_code, reason = "the pages' tests use all of it")]
#[path = "../pages/published.rs"]
mod published;
#[allow(dead_code, reason = "the pages' tests use all of it")]
#[path = "../pages/world.rs"]
mod world;

mod calls;
#[cfg(target_os = "linux")]
mod capabilities;
mod gateway;
mod grants;
mod guests;
mod guide;
mod javascript;
mod node;
mod orders;
#[cfg(target_os = "linux")]
mod outside;
mod refusals;
mod storage;
mod template;

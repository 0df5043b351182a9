//! The whole way of a call, and who attacks it: over real sockets to the real gateway, from there to a runner that is a process, and in it
//! guests that are really signed, received, verified, compiled and sandboxed. kcp and the registry are doubles, and so is what stands between
//! gateway and runner: it passes on what it is given, and remembers it, as whoever sits on that network would.

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

#[allow(dead_code, reason = "the calls' tests use all of it")]
#[path = "../execute/guests.rs"]
mod components;
#[allow(dead_code, reason = "the gateway's tests use all of it")]
#[path = "../../../gateway/tests/gateway/support/kcp.rs"]
mod kcp;
#[allow(dead_code, reason = "the pages' tests use all of it")]
#[path = "../pages/published.rs"]
mod published;
#[allow(dead_code, reason = "the engine's tests use all of it")]
#[path = "../../../engine/tests/sandbox/wat_guest.rs"]
mod wat_guest;
#[allow(dead_code, reason = "the pages' tests use all of it")]
#[path = "../pages/world.rs"]
mod world;

mod callers;
mod chain;
mod grants;
mod guests;
mod hosts;
mod memory;
mod paths;
mod process;
mod tap;

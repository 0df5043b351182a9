//! The gateway over HTTP. kcp is a double, a function that knows a few people; the runner is a double, too, but a real server that checks
//! grants as a runner does.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of it is test: a panic is how a test fails"
)]

mod admission;
mod calls;
mod connections;
mod failures;
mod orders;
mod parameters;
mod secrets;
mod storage;
mod support;

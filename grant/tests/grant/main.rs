//! Grants from the outside: as the gateway signs and a runner admits them.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of it is test: a panic is how a test fails"
)]

mod fuzz;
mod replays;
mod rings;
mod support;
mod tokens;
mod wire;

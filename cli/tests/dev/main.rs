//! `kubectl annex dev` as a person runs it: the program, real guests, files that change, and what is seen at its address.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of it is test, also what is not in a #[test] function: a panic is how a test fails"
)]

mod changes;
mod dev;
mod ending;
mod guests;
mod http;
mod serving;

//! The binary as kubectl starts it: output, files and exit codes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the lints see tests only in the test functions themselves, not in what these share"
)]

mod cataloguing;
mod explaining;
mod flowing;
mod publishing;
mod signing;
mod starting;
mod support;

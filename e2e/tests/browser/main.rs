//! What people see: pages in a real Chromium.

#![allow(missing_docs)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of it is test, also what is not in a #[test] function: a panic is how a test fails"
)]

mod embedding;
mod notes;
mod site;

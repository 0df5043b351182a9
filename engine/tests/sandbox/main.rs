//! The engine with real guests, most of them hostile. What each attack gets is in `docs/threat-model.md`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the lints see tests only in the test functions themselves, not in what these share"
)]

mod attacks;
mod bench;
mod compiling;
mod document;
mod guest;
mod host_functions;
mod linking;
mod loading;
mod usage;
mod wat_guest;

//! Notes of a workspace: a page that keeps what its people write.
//!
//! `answer` says what is answered, `notes` what notes are, [`Store`] is what they are kept in. None of them knows WebAssembly, so that
//! `cargo test` tries them on your machine. `component` carries requests and values from and to the host.

mod answer;
#[cfg(target_family = "wasm")]
mod component;
mod notes;
mod store;

pub use answer::{Answer, MAX_BODY_BYTES, Request, answer};
pub use notes::{MAX_NOTES, MAX_TEXT, PAGE};
pub use store::{Store, StoreError};

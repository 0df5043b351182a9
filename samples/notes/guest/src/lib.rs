//! Notes of a workspace: a page that keeps what its people write.
//!
//! [`answer`] decides what is answered, [`Store`] is what it keeps notes in. Neither knows WebAssembly, so that `cargo test` tries
//! them on your machine. `component` carries requests and values from and to the host.

mod answer;
#[cfg(target_family = "wasm")]
mod component;
mod store;

pub use answer::{Answer, MAX_NOTES, MAX_TEXT_BYTES, Request, answer};
pub use store::{Store, StoreError};

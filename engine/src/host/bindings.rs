//! What `wit/host.wit` is in Rust.

#![allow(
    missing_docs,
    unsafe_code,
    clippy::all,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "generated"
)]

wasmtime::component::bindgen!({
    path: "wit",
    world: "annex:host/imports",
    imports: {
        "annex:host/storage-kv": async | trappable,
        "annex:host/secrets": async | trappable,
        default: trappable,
    },
    require_store_data_send: true,
});

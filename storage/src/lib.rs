//! Keeps what extensions store: [`annex_core::Kv`] on SQLite, which is a file, and on PostgreSQL.
//!
//! What belongs to whom is decided by tenant and extension. A [`Store`] is opened by a URL, and is there for as long as the
//! process: a database that goes away and comes back is used again.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use annex_core::Kv;
//! use annex_engine::Host;
//! use annex_storage::{Store, StoreOptions};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Store::open("sqlite:///var/lib/annex/kv.db", StoreOptions::default())?;
//! // Not needed before use. It says what is wrong while somebody is looking.
//! store.check().await?;
//! let kv: Arc<dyn Kv> = Arc::new(store.clone());
//! let host = Host { kv, ..Host::in_memory() };
//! # drop(host);
//!
//! store.close().await;
//! # Ok(())
//! # }
//! ```

mod address;
mod backend;
mod database;
mod failure;
mod health;
mod key_range;
mod operation;
mod options;
mod owner;
mod schema;
mod session;
mod store;
mod store_url;
mod turns;

pub use address::AddressError;
pub use failure::StoreError;
pub use operation::ENTRY_BYTES;
pub use options::StoreOptions;
pub use store::Store;
pub use store_url::StoreUrl;

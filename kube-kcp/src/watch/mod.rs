mod error;
mod list_watch;
mod shards;
mod sink;
mod wire;

pub use error::WatchError;
pub use list_watch::WatchOptions;
pub(crate) use shards::{Following, follow_shards};

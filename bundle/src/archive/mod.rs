//! The archive: a tar in one zstd frame, read and written as strictly as `docs/bundle-format.md` says.

mod error;
mod files;
mod frame;
mod header;
mod pack;
mod tar;
mod unpack;

pub use error::ArchiveError;
pub use pack::{PackError, pack, pack_files};
pub use unpack::{Unpacked, unpack};

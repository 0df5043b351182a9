//! Keys: read, written, made; each type with the one algorithm that it signs with.

mod error;
mod pem;
mod private;
mod public;

pub use error::KeyError;
pub use pem::PemError;
pub use private::{KeyType, SigningKey};
pub use public::{KeyKind, PublicKey};

pub(crate) use pem::{Block, Comment, read_blocks};

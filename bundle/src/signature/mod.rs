//! Signatures over bundles, and the registry's over what it published.

mod envelope;
mod receipt;
mod registry_keys;
mod sign;
mod statement;

pub use envelope::{MAX_SIGNATURE, MAX_SIGNATURES};
pub use receipt::{Receipt, issue_receipt};
pub use registry_keys::{RegistryKey, RegistryKeys};
pub use sign::{SignError, cosign, sign};
pub use statement::{ArchiveReference, Statement};

pub(crate) use envelope::Envelope;

/// What an archive is, for HTTP and for the statement.
pub const ARCHIVE_MEDIA_TYPE: &str = "application/vnd.annex.bundle.v1.tar+zstd";
/// What a signature says: a statement about a bundle. It is signed along, so that no signature counts for anything else.
pub const STATEMENT_TYPE: &str = "application/vnd.annex.bundle.statement.v1+json";
/// What a receipt says.
pub const RECEIPT_TYPE: &str = "application/vnd.annex.registry.receipt.v1+json";

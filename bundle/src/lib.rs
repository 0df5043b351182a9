//! Annex's bundles: packed, unpacked within limits, signed and verified.
//!
//! Pure: bytes in, verdict out. Nothing here opens a file or a connection or looks at a clock; bytes come through [`std::io::Read`], files go
//! to a [`Sink`], and the time is a parameter. It blocks, so that asynchronous callers use `spawn_blocking`.
//!
//! The formats are in `docs/bundle-format.md`, byte by byte. Every refusal has a code that stays and a message that may be
//! shown to whoever sent the bytes: what they chose is in it only shortened and made harmless.
//!
//! | who | calls |
//! |---|---|
//! | a publisher's tool | [`pack`], [`sign()`], [`SigningKey::generate`] |
//! | the registry, once | [`verify_at_publish`], [`issue_receipt`] |
//! | the registry, before it reads an archive | [`check_signature`] |
//! | the registry, after trust or denylist changed | [`check_loadable`] |
//! | a runner, at every load | [`verify_at_load`] |

pub mod archive;
mod code;
pub mod denylist;
pub mod digest;
pub mod document;
pub mod keys;
pub mod limits;
pub mod listing;
pub mod manifest;
pub mod path;
pub mod publisher;
mod shown;
pub mod signature;
pub mod sink;
mod text_type;
mod time;
pub mod trust;
pub mod verify;

pub use archive::{ArchiveError, PackError, Unpacked, pack, pack_files, unpack};
pub use denylist::{DeniedThing, Denylist, DenylistError};
pub use digest::{ArchiveDigest, FileDigest, Fingerprint, KeyId, SignatureDigest};
pub use document::DocumentError;
pub use keys::{KeyError, KeyKind, KeyType, PemError, PublicKey, SigningKey};
pub use limits::Limits;
pub use listing::{FileEntry, Listing};
pub use manifest::{Manifest, manifest_schema};
pub use path::{BundlePath, PathError};
pub use publisher::{Publisher, PublisherError};
pub use signature::{
    ARCHIVE_MEDIA_TYPE, Receipt, RegistryKey, RegistryKeys, SignError, Statement, cosign, issue_receipt, sign,
};
pub use sink::{Discard, Memory, Sink};
pub use trust::{Certificate, TrustBundle, TrustError};
pub use verify::{
    LoadPolicy, Loadable, Loaded, PublishPolicy, Refusal, Signed, Signer, Verified, check_loadable,
    check_signature, verify_at_load, verify_at_publish,
};

/// Every code that a refusal can have.
pub fn codes() -> impl Iterator<Item = &'static str> {
    [
        ArchiveError::CODES,
        DenylistError::CODES,
        DocumentError::CODES,
        KeyError::CODES,
        PackError::CODES,
        PemError::CODES,
        Refusal::CODES,
        SignError::CODES,
        TrustError::CODES,
    ]
    .into_iter()
    .flatten()
    .copied()
}

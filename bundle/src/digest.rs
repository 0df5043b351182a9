//! Digests that must not be taken for one another.

use std::fmt;
use std::str::FromStr;

use annex_core::{ContentHash, ContentHashError};
use sha2::{Digest as _, Sha256};

/// A digest with a type of its own, written `sha256:` and 64 lower-case hex digits like a [`ContentHash`].
macro_rules! digest_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(ContentHash);

        impl $name {
            /// Of these bytes.
            pub fn of(bytes: &[u8]) -> Self {
                Self::from_sha256(Sha256::digest(bytes).into())
            }

            /// Of a SHA-256 that was just computed.
            pub const fn from_sha256(digest: [u8; 32]) -> Self {
                Self(ContentHash::from_sha256(digest))
            }

            /// The 32 bytes of the digest.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                self.0.as_bytes()
            }
        }

        impl FromStr for $name {
            type Err = ContentHashError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, formatter)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, formatter)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.serialize(serializer)
            }
        }
    };
}

digest_type!(
    /// The SHA-256 of an archive's bytes as they were uploaded.
    ArchiveDigest
);
digest_type!(
    /// The SHA-256 of one file in a bundle.
    FileDigest
);
digest_type!(
    /// The SHA-256 of a signature file's bytes, which is what a receipt binds.
    SignatureDigest
);
digest_type!(
    /// What a key is known by: the SHA-256 of its `SubjectPublicKeyInfo` in DER.
    KeyId
);
digest_type!(
    /// What a certificate is known by: the SHA-256 of its DER.
    Fingerprint
);

use super::pem::PemError;
use crate::code::codes;

/// The smallest RSA modulus that is accepted.
pub(crate) const MIN_RSA_BITS: usize = 3072;

/// Why a key cannot be used. It never says anything of a private key's bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No PEM.
    #[error("{0}")]
    Pem(PemError),
    /// Other than one key.
    #[error("has {found} PEM blocks, not one {wanted}")]
    NotOneKey {
        /// How many there are.
        found: usize,
        /// What it should have.
        wanted: &'static str,
    },
    /// A private key that needs a passphrase.
    #[error(
        "the private key is encrypted; decrypt it with `openssl pkcs8 -in KEY -out PLAIN`, keep that file where only you can read it"
    )]
    Encrypted,
    /// A PEM block of another format.
    #[error("{label} is not read; write the key as {wanted}")]
    Format {
        /// What the block says it is.
        label: String,
        /// What it should be, and how to make it so.
        wanted: &'static str,
    },
    /// Not what it says it is.
    #[error("is no well-formed {what}")]
    Malformed {
        /// What it should be.
        what: &'static str,
    },
    /// A type of key that is not accepted.
    #[error(
        "is of a type that is not accepted ({oid}); use Ed25519, ECDSA P-256 or P-384, or RSA with at least 3072 bits"
    )]
    Unsupported {
        /// The type's object identifier.
        oid: String,
    },
    /// RSA with too small a modulus, or too small an exponent.
    #[error(
        "is RSA with {bits} bits or a small exponent; it needs at least 3072 bits and the exponent 65537 or more"
    )]
    Weak {
        /// How many bits the modulus has.
        bits: usize,
    },
    /// RSA with a modulus that is not supported.
    #[error("is RSA with {bits} bits, more than {max}")]
    TooLarge {
        /// How many bits it has.
        bits: usize,
        /// How many it may have.
        max: usize,
    },
    /// No randomness, or none that gave a key.
    #[error("making a key failed: {reason}")]
    Generate {
        /// What the library says.
        reason: String,
    },
    /// The library would not sign.
    #[error("signing failed")]
    Sign,
}

codes!(KeyError {
    NotOneKey => "NotOneKey",
    Encrypted => "EncryptedKey",
    Format => "KeyFormat",
    Malformed => "MalformedKey",
    Unsupported => "UnsupportedKey",
    Weak => "WeakKey",
    TooLarge => "KeyTooLarge",
    Generate => "KeyGenerationFailed",
    Sign => "SigningFailed",
} inside { Pem });

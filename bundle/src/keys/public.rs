//! Public keys, and the one algorithm that each type verifies with.

use std::fmt;

use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use x509_cert::der::asn1::{AnyRef, BitStringRef, UintRef};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode as _, Reader as _, SliceReader};
use x509_cert::spki::SubjectPublicKeyInfo;

use super::error::{KeyError, MIN_RSA_BITS};
use super::pem;
use crate::digest::KeyId;

pub(super) const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
pub(super) const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
pub(super) const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
pub(super) const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
pub(super) const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// What ring verifies with.
const MAX_RSA_BITS: usize = 8192;

/// A type of key, which alone decides the algorithm: no envelope can choose a weaker one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// ECDSA over P-256 with SHA-256; signatures in DER.
    EcdsaP256,
    /// ECDSA over P-384 with SHA-384; signatures in DER.
    EcdsaP384,
    /// RSA-PSS with SHA-256, MGF1 with SHA-256 and a salt of 32 bytes.
    RsaPss {
        /// How many bits the modulus has, 3072 to 8192.
        bits: usize,
    },
}

/// A public key that may be trusted: of an accepted type and strong enough.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// `SubjectPublicKeyInfo`.
    der: Vec<u8>,
    /// What is in its bit string, as the algorithms take it.
    key: Vec<u8>,
    kind: KeyKind,
    id: KeyId,
}

impl PublicKey {
    /// Reads a `SubjectPublicKeyInfo` in DER.
    ///
    /// # Errors
    /// [`KeyError`] where it is none, or of a type or size that is not accepted.
    pub fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let malformed = || KeyError::Malformed { what: "public key" };
        let info =
            SubjectPublicKeyInfo::<AnyRef<'_>, BitStringRef<'_>>::from_der(der).map_err(|_| malformed())?;
        let key = info.subject_public_key.as_bytes().ok_or_else(malformed)?;
        let algorithm = info.algorithm;
        let curve = || algorithm.parameters.and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
        let kind = if algorithm.oid == ED25519 && algorithm.parameters.is_none() && key.len() == 32 {
            KeyKind::Ed25519
        } else if algorithm.oid == EC && curve() == Some(P256) && is_point(key, 32) {
            KeyKind::EcdsaP256
        } else if algorithm.oid == EC && curve() == Some(P384) && is_point(key, 48) {
            KeyKind::EcdsaP384
        } else if algorithm.oid == RSA && algorithm.parameters == Some(AnyRef::NULL) {
            KeyKind::RsaPss { bits: rsa_bits(key)? }
        } else if [ED25519, EC, RSA].contains(&algorithm.oid)
            && curve().is_none_or(|curve| [P256, P384].contains(&curve))
        {
            return Err(malformed());
        } else {
            let oid = curve().unwrap_or(algorithm.oid).to_string();
            return Err(KeyError::Unsupported { oid });
        };
        Ok(Self { der: der.to_vec(), key: key.to_vec(), kind, id: KeyId::of(der) })
    }

    /// Reads a PEM text with one block `PUBLIC KEY`.
    ///
    /// # Errors
    /// As [`Self::from_der`], or where it is no such text.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        let (blocks, _) = pem::read_blocks(text, 2).map_err(KeyError::Pem)?;
        let [block] = blocks.as_slice() else {
            return Err(KeyError::NotOneKey { found: blocks.len(), wanted: "PUBLIC KEY" });
        };
        if block.label != "PUBLIC KEY" {
            let wanted = "PUBLIC KEY, such as `openssl pkey -in KEY -pubout` prints";
            return Err(KeyError::Format { label: block.label.clone(), wanted });
        }
        Self::from_der(&block.der)
    }

    /// The key as PEM, `PUBLIC KEY`.
    pub fn to_pem(&self) -> String {
        pem::encode("PUBLIC KEY", &self.der).to_string()
    }

    /// The `SubjectPublicKeyInfo` in DER.
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }

    /// What the key is known by.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// Its type.
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// Whether `signature` is this key's over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &'static dyn VerificationAlgorithm = match self.kind {
            KeyKind::Ed25519 => &signature::ED25519,
            KeyKind::EcdsaP256 => &signature::ECDSA_P256_SHA256_ASN1,
            KeyKind::EcdsaP384 => &signature::ECDSA_P384_SHA384_ASN1,
            // From 2048 on, but this type holds none under 3072.
            KeyKind::RsaPss { .. } => &signature::RSA_PSS_2048_8192_SHA256,
        };
        UnparsedPublicKey::new(algorithm, &self.key).verify(message, signature).is_ok()
    }
}

/// An uncompressed point: one key has one encoding, and so one id.
fn is_point(key: &[u8], coordinate: usize) -> bool {
    key.first() == Some(&4) && key.len() == 1 + 2 * coordinate
}

fn rsa_bits(key: &[u8]) -> Result<usize, KeyError> {
    let malformed = |_| KeyError::Malformed { what: "RSA public key" };
    let mut reader = SliceReader::new(key).map_err(malformed)?;
    let numbers = reader.sequence(|fields| Ok((UintRef::decode(fields)?, UintRef::decode(fields)?)));
    let (modulus, exponent) = numbers.map_err(malformed)?;
    reader.finish().map_err(malformed)?;
    let bits = bit_length(modulus.as_bytes());
    // A small exponent makes sloppy padding checks fatal, and no tool makes one any more.
    if bits < MIN_RSA_BITS || bit_length(exponent.as_bytes()) < 17 {
        return Err(KeyError::Weak { bits });
    }
    if bits > MAX_RSA_BITS {
        return Err(KeyError::TooLarge { bits, max: MAX_RSA_BITS });
    }
    Ok(bits)
}

fn bit_length(number: &[u8]) -> usize {
    let digits = number.iter().skip_while(|byte| **byte == 0);
    let zeros = digits.clone().next().map_or(0, |byte| byte.leading_zeros() as usize);
    digits.count() * 8 - zeros
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PublicKey").field("kind", &self.kind).field("id", &self.id).finish()
    }
}

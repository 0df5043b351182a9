//! Private keys.
//!
//! Only the PKCS#8 document is kept, and wiped when it is let go of. ring makes its own copy for the time of one signature and does not
//! wipe that; whoever can read a signing process's memory has the key either way.

use std::fmt;

use getrandom::SysRng;
use pkcs8::PrivateKeyInfoRef;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{
    self, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
};
use rsa::pkcs8::EncodePrivateKey as _;
use x509_cert::der::asn1::{AnyRef, BitStringRef};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::spki::{AlgorithmIdentifier, SubjectPublicKeyInfo};
use zeroize::Zeroizing;

use super::error::KeyError;
use super::pem;
use super::public::{EC, ED25519, P256, P384, PublicKey, RSA};
use crate::digest::KeyId;

/// What ring signs with.
const MAX_RSA_BITS: usize = 4096;

/// Everything of an Ed25519 private key in PKCS#8 (RFC 8410, section 7) but its 32 bytes.
const ED25519_PREFIX: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// The types of key that are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyType {
    /// Ed25519: small, quick, and nothing to choose.
    #[default]
    Ed25519,
    /// ECDSA P-256.
    EcdsaP256,
    /// ECDSA P-384.
    EcdsaP384,
    /// RSA with 3072 bits.
    Rsa3072,
    /// RSA with 4096 bits.
    Rsa4096,
}

/// A private key that signs.
pub struct SigningKey {
    pkcs8: Zeroizing<Vec<u8>>,
    signer: Signer,
    public: PublicKey,
}

#[derive(Clone, Copy)]
enum Signer {
    Ed25519,
    Ecdsa(&'static EcdsaSigningAlgorithm),
    RsaPss,
}

impl SigningKey {
    /// Makes a key.
    ///
    /// # Errors
    /// [`KeyError::Generate`] where the system gives no randomness.
    pub fn generate(kind: KeyType) -> Result<Self, KeyError> {
        let failed = |reason: &dyn fmt::Display| KeyError::Generate { reason: reason.to_string() };
        let random = SystemRandom::new();
        let ecdsa = |algorithm| {
            let document =
                EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(|error| failed(&error))?;
            Self::from_pkcs8(document.as_ref())
        };
        match kind {
            KeyType::Ed25519 => {
                // Not ring's document: that is of a version which openssl does not read.
                let mut seed = Zeroizing::new([0; 32]);
                random.fill(&mut *seed).map_err(|error| failed(&error))?;
                let document = Zeroizing::new([ED25519_PREFIX.as_slice(), seed.as_slice()].concat());
                Self::from_pkcs8(&document)
            }
            KeyType::EcdsaP256 => ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING),
            KeyType::EcdsaP384 => ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING),
            KeyType::Rsa3072 | KeyType::Rsa4096 => {
                let bits = if kind == KeyType::Rsa3072 { 3072 } else { 4096 };
                let key = rsa::PrivateKey::new(&mut SysRng, bits).map_err(|error| failed(&error))?;
                let document = key.to_pkcs8_der().map_err(|error| failed(&error))?;
                Self::from_pkcs8(document.as_bytes())
            }
        }
    }

    /// Reads a PEM text with one block `PRIVATE KEY` (PKCS#8).
    ///
    /// # Errors
    /// [`KeyError`]; an encrypted key is refused, with how to decrypt it.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        let (blocks, _) = pem::read_blocks(text, 4).map_err(KeyError::Pem)?;
        // openssl ecparam writes the curve's parameters before the key.
        let keys: Vec<_> = blocks.iter().filter(|block| block.label != "EC PARAMETERS").collect();
        let [block] = keys.as_slice() else {
            return Err(KeyError::NotOneKey { found: keys.len(), wanted: "PRIVATE KEY" });
        };
        match block.label.as_str() {
            _ if block.has_headers => Err(KeyError::Encrypted),
            "ENCRYPTED PRIVATE KEY" => Err(KeyError::Encrypted),
            "PRIVATE KEY" => Self::from_pkcs8(&block.der),
            label => {
                let wanted = "PRIVATE KEY (PKCS#8), such as `openssl pkcs8 -topk8 -nocrypt -in KEY` prints";
                Err(KeyError::Format { label: label.to_owned(), wanted })
            }
        }
    }

    /// Reads a PKCS#8 document.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_pkcs8(document: &[u8]) -> Result<Self, KeyError> {
        let malformed = || KeyError::Malformed { what: "private key in PKCS#8" };
        let info = PrivateKeyInfoRef::try_from(document).map_err(|_| malformed())?;
        let algorithm = info.algorithm;
        let curve = algorithm.parameters.and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
        let ecdsa = |signer: &'static EcdsaSigningAlgorithm, curve| {
            let pair =
                EcdsaKeyPair::from_pkcs8(signer, document, &SystemRandom::new()).map_err(|_| malformed())?;
            Ok((Signer::Ecdsa(signer), public(EC, Some(AnyRef::from(&curve)), pair.public_key().as_ref())?))
        };
        let (signer, public) = match (algorithm.oid, curve) {
            (ED25519, _) => {
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(document).map_err(|_| malformed())?;
                (Signer::Ed25519, public(ED25519, None, pair.public_key().as_ref())?)
            }
            (EC, Some(P256)) => ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING, P256)?,
            (EC, Some(P384)) => ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING, P384)?,
            (RSA, _) => {
                let key = rsa_public_key(info.private_key.as_bytes()).ok_or_else(malformed)?;
                // First its size, which ring's refusal does not tell.
                let public = public(RSA, Some(AnyRef::NULL), &key)?;
                if let super::KeyKind::RsaPss { bits } = public.kind()
                    && bits > MAX_RSA_BITS
                {
                    return Err(KeyError::TooLarge { bits, max: MAX_RSA_BITS });
                }
                RsaKeyPair::from_pkcs8(document).map_err(|_| malformed())?;
                (Signer::RsaPss, public)
            }
            (oid, curve) => return Err(KeyError::Unsupported { oid: curve.unwrap_or(oid).to_string() }),
        };
        Ok(Self { pkcs8: Zeroizing::new(document.to_vec()), signer, public })
    }

    /// The key as PEM, `PRIVATE KEY`. It is wiped when it is let go of.
    pub fn to_pem(&self) -> Zeroizing<String> {
        pem::encode("PRIVATE KEY", &self.pkcs8)
    }

    /// Its public half.
    pub const fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// What it is known by.
    pub const fn id(&self) -> KeyId {
        self.public.id()
    }

    /// Signs with the algorithm of the key's type.
    ///
    /// # Errors
    /// [`KeyError::Sign`] where the library does not, for want of randomness say.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        match self.signer {
            Signer::Ed25519 => {
                let pair =
                    Ed25519KeyPair::from_pkcs8_maybe_unchecked(&self.pkcs8).map_err(|_| KeyError::Sign)?;
                Ok(pair.sign(message).as_ref().to_vec())
            }
            Signer::Ecdsa(algorithm) => {
                let pair =
                    EcdsaKeyPair::from_pkcs8(algorithm, &self.pkcs8, &random).map_err(|_| KeyError::Sign)?;
                let signature = pair.sign(&random, message).map_err(|_| KeyError::Sign)?;
                Ok(signature.as_ref().to_vec())
            }
            Signer::RsaPss => {
                let pair = RsaKeyPair::from_pkcs8(&self.pkcs8).map_err(|_| KeyError::Sign)?;
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&signature::RSA_PSS_SHA256, &random, message, &mut signature)
                    .map_err(|_| KeyError::Sign)?;
                Ok(signature)
            }
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SigningKey").field("public", &self.public).finish_non_exhaustive()
    }
}

/// The public key in the form that certificates and PEM have.
fn public(oid: ObjectIdentifier, parameters: Option<AnyRef<'_>>, key: &[u8]) -> Result<PublicKey, KeyError> {
    let malformed = |_| KeyError::Malformed { what: "private key in PKCS#8" };
    let subject_public_key = BitStringRef::from_bytes(key).map_err(malformed)?;
    let algorithm = AlgorithmIdentifier { oid, parameters };
    let der = SubjectPublicKeyInfo { algorithm, subject_public_key }.to_der().map_err(malformed)?;
    PublicKey::from_der(&der)
}

/// `RSAPublicKey` out of `RSAPrivateKey` (RFC 8017, appendix A.1).
fn rsa_public_key(private: &[u8]) -> Option<Vec<u8>> {
    rsa::pkcs1::RsaPrivateKeyRef::from_der(private).ok()?.public_key().to_der().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeyKind;

    const TYPES: [KeyType; 4] = [KeyType::Ed25519, KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Rsa3072];

    #[test]
    fn every_type_signs_what_its_public_half_verifies() {
        for kind in TYPES {
            let key = SigningKey::generate(kind).unwrap();
            let signature = key.sign(b"message").unwrap();
            let public = PublicKey::from_pem(key.public_key().to_pem().as_bytes()).unwrap();
            assert_eq!(&public, key.public_key());
            assert!(public.verifies(b"message", &signature));
            assert!(!public.verifies(b"massage", &signature));
            let mut other = signature.clone();
            other[0] ^= 1;
            assert!(!public.verifies(b"message", &other));
            assert!(!public.verifies(b"message", b""));

            let again = SigningKey::from_pem(key.to_pem().as_bytes()).unwrap();
            assert_eq!(again.id(), key.id());
            assert!(public.verifies(b"message", &again.sign(b"message").unwrap()));
        }
    }

    #[test]
    fn the_default_is_ed25519() {
        let key = SigningKey::generate(KeyType::default()).unwrap();
        assert_eq!(key.public_key().kind(), KeyKind::Ed25519);
    }

    #[test]
    fn debug_shows_nothing_of_a_private_key() {
        let key = SigningKey::generate(KeyType::Ed25519).unwrap();
        let shown = format!("{key:?}");
        let secret: Vec<_> = key.pkcs8.iter().map(u8::to_string).collect();
        assert!(!shown.contains(&secret[16..20].join(", ")), "{shown}");
        assert!(shown.contains(&key.id().to_string()), "{shown}");
    }
}

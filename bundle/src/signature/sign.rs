//! Makes signature files.

use jiff::Timestamp;

use super::STATEMENT_TYPE;
use super::envelope::{Envelope, MAX_SIGNATURE, MAX_SIGNATURES, Signature};
use super::statement::Statement;
use crate::archive::Unpacked;
use crate::code::codes;
use crate::document::DocumentError;
use crate::keys::{KeyError, SigningKey};
use crate::trust::Certificate;

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The key does not sign.
    #[error("the key {0}")]
    Key(KeyError),
    /// Certificates that are not the key's.
    #[error("no certificate is of the key {key}; the leaf must be among them")]
    ForeignCertificate {
        /// The key.
        key: String,
    },
    /// The file to which a signature is to be added is none.
    #[error("the signature file: {0}")]
    Envelope(DocumentError),
    /// It speaks of another bundle.
    #[error("the signature file speaks of another bundle; sign this one anew")]
    OtherBundle,
    /// It already has one of this key.
    #[error("the key has signed already")]
    SignedAlready,
    /// It would be too large.
    #[error("the signature file would have more than {MAX_SIGNATURE} bytes or {MAX_SIGNATURES} signatures")]
    TooLarge,
}

codes!(SignError {
    ForeignCertificate => "ForeignCertificate",
    OtherBundle => "OtherBundle",
    SignedAlready => "SignedAlready",
    TooLarge => "SignatureTooLarge",
} inside { Key, Envelope });

/// Signs a bundle that was just read or packed. `certificates` are the key's own and those above it, none for a key that is pinned.
///
/// # Errors
/// [`SignError`].
pub fn sign(
    unpacked: &Unpacked,
    key: &SigningKey,
    certificates: &[Certificate],
    signed_at: Timestamp,
) -> Result<Vec<u8>, SignError> {
    let payload = Statement::about(unpacked, signed_at).to_json().map_err(|_| SignError::TooLarge)?;
    let envelope = Envelope {
        payload_type: STATEMENT_TYPE.to_owned(),
        payload,
        signatures: Vec::new(),
        certificates: Vec::new(),
    };
    add(envelope, key, certificates)
}

/// Adds a signature by another key to a signature file: while keys are rotated both the old and the new one verify.
///
/// # Errors
/// [`SignError`], also where the file does not speak of this bundle.
pub fn cosign(
    signature: &[u8],
    unpacked: &Unpacked,
    key: &SigningKey,
    certificates: &[Certificate],
) -> Result<Vec<u8>, SignError> {
    let envelope = Envelope::from_json(signature).map_err(SignError::Envelope)?;
    let statement = Statement::from_json(&envelope.payload).map_err(SignError::Envelope)?;
    if envelope.payload_type != STATEMENT_TYPE || statement != Statement::about(unpacked, statement.signed_at)
    {
        return Err(SignError::OtherBundle);
    }
    if envelope.signatures.iter().any(|signature| signature.key == Some(key.id())) {
        return Err(SignError::SignedAlready);
    }
    add(envelope, key, certificates)
}

fn add(mut envelope: Envelope, key: &SigningKey, certificates: &[Certificate]) -> Result<Vec<u8>, SignError> {
    let own = certificates.iter().any(|certificate| certificate.key_id() == key.id());
    if !certificates.is_empty() && !own {
        return Err(SignError::ForeignCertificate { key: key.id().to_string() });
    }
    let bytes = key.sign(&envelope.signed_bytes()).map_err(SignError::Key)?;
    envelope.signatures.push(Signature { key: Some(key.id()), bytes });
    for certificate in certificates {
        if !envelope.certificates.contains(certificate) {
            envelope.certificates.push(certificate.clone());
        }
    }
    let json = envelope.to_json().map_err(|_| SignError::TooLarge)?;
    // Read back as a verifier will, so that no file leaves that none would take.
    match Envelope::from_json(&json) {
        Ok(_) => Ok(json),
        Err(_) => Err(SignError::TooLarge),
    }
}

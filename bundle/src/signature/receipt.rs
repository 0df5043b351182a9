//! The registry's countersignature: when it verified what, and by whose key.
//!
//! Certificates expire, installs must not. Whoever loads a bundle asks whether the chain was good when the registry looked, and the
//! receipt is how they know when that was.

use annex_core::{ContentHash, ExtensionName};
use jiff::Timestamp;
use semver::Version;
use serde::Serialize;

use super::RECEIPT_TYPE;
use super::envelope::{Envelope, Signature};
use crate::digest::{ArchiveDigest, KeyId, SignatureDigest};
use crate::document::{self, DocumentError};
use crate::keys::{KeyError, SigningKey};
use crate::publisher::Publisher;
use crate::time::{read_time, show_time, to_second};
use crate::verify::Verified;

/// The largest receipt's content.
const MAX_RECEIPT: usize = 8 << 10;

/// What a registry says of a bundle that it published.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The signature file that it verified.
    pub signature: SignatureDigest,
    /// The hash over the files.
    pub content_hash: ContentHash,
    /// The archive.
    pub archive: ArchiveDigest,
    /// The extension.
    pub name: ExtensionName,
    /// Its version.
    pub version: Version,
    /// Who publishes it.
    pub publisher: Publisher,
    /// The publisher's key that it verified with.
    pub key: KeyId,
    /// When it verified.
    pub published_at: Timestamp,
}

/// Signs a receipt for what was verified for publication, dated to when that was.
///
/// # Errors
/// [`KeyError`] where the key does not sign.
pub fn issue_receipt(verified: &Verified, key: &SigningKey) -> Result<Vec<u8>, KeyError> {
    let receipt = Receipt {
        signature: verified.signature,
        content_hash: verified.unpacked.content_hash,
        archive: verified.unpacked.archive,
        name: verified.unpacked.manifest.name.clone(),
        version: verified.unpacked.manifest.version.clone(),
        publisher: verified.unpacked.manifest.publisher.clone(),
        key: verified.signer.key,
        published_at: to_second(verified.at),
    };
    let mut envelope = Envelope {
        payload_type: RECEIPT_TYPE.to_owned(),
        payload: receipt.to_json().map_err(|_| KeyError::Sign)?,
        signatures: Vec::new(),
        certificates: Vec::new(),
    };
    let bytes = key.sign(&envelope.signed_bytes())?;
    envelope.signatures.push(Signature { key: Some(key.id()), bytes });
    envelope.to_json().map_err(|_| KeyError::Sign)
}

impl Receipt {
    fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&Written {
            signature: &self.signature,
            content_hash: &self.content_hash,
            archive: &self.archive,
            name: &self.name,
            version: &self.version,
            publisher: &self.publisher,
            key_id: &self.key,
            published_at: show_time(self.published_at),
        })
    }

    pub(crate) fn from_json(bytes: &[u8]) -> Result<Self, DocumentError> {
        const FIELDS: &[&str] =
            &["signature", "contentHash", "archive", "name", "version", "publisher", "keyId", "publishedAt"];
        document::read(bytes, MAX_RECEIPT)?.object(FIELDS, |fields| {
            Ok(Self {
                signature: fields.need("signature")?.parse()?,
                content_hash: fields.need("contentHash")?.parse()?,
                archive: fields.need("archive")?.parse()?,
                name: fields.need("name")?.parse()?,
                version: fields.need("version")?.parse()?,
                publisher: fields.need("publisher")?.parse()?,
                key: fields.need("keyId")?.parse()?,
                published_at: fields.need("publishedAt")?.check(read_time)?,
            })
        })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    signature: &'a SignatureDigest,
    content_hash: &'a ContentHash,
    archive: &'a ArchiveDigest,
    name: &'a ExtensionName,
    version: &'a Version,
    publisher: &'a Publisher,
    key_id: &'a KeyId,
    published_at: String,
}

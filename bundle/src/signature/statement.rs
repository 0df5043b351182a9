//! What a publisher signs.

use annex_core::{ContentHash, ExtensionName};
use jiff::Timestamp;
use semver::Version;
use serde::Serialize;

use super::ARCHIVE_MEDIA_TYPE;
use crate::archive::Unpacked;
use crate::digest::ArchiveDigest;
use crate::document::{self, DocumentError, Field};
use crate::manifest::Capability;
use crate::publisher::Publisher;
use crate::time::{read_time, show_time, to_second};

/// The largest statement.
const MAX_STATEMENT: usize = 32 << 10;

/// What a signature says of a bundle. It says all that the catalog shows, so that nobody need open the archive to know what was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statement {
    /// The hash over the files.
    pub content_hash: ContentHash,
    /// The archive.
    pub archive: ArchiveReference,
    /// The extension.
    pub name: ExtensionName,
    /// Its version.
    pub version: Version,
    /// Who publishes it.
    pub publisher: Publisher,
    /// What it asks for, in order.
    pub capabilities: Vec<Capability>,
    /// When it was signed, as the signer says.
    pub signed_at: Timestamp,
}

/// An archive, by its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveReference {
    /// The digest of its bytes.
    pub digest: ArchiveDigest,
    /// How many there are.
    pub size: u64,
}

impl Statement {
    /// What can truly be said of the bundle.
    pub(crate) fn about(unpacked: &Unpacked, signed_at: Timestamp) -> Self {
        let manifest = &unpacked.manifest;
        let mut capabilities = manifest.capabilities.clone();
        capabilities.sort();
        Self {
            content_hash: unpacked.content_hash,
            archive: ArchiveReference { digest: unpacked.archive, size: unpacked.size },
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            publisher: manifest.publisher.clone(),
            capabilities,
            signed_at: to_second(signed_at),
        }
    }

    pub(crate) fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&Written {
            content_hash: &self.content_hash,
            archive: WrittenArchive {
                digest: &self.archive.digest,
                size: self.archive.size,
                media_type: ARCHIVE_MEDIA_TYPE,
            },
            name: &self.name,
            version: &self.version,
            publisher: &self.publisher,
            capabilities: &self.capabilities,
            signed_at: show_time(self.signed_at),
        })
    }

    pub(crate) fn from_json(bytes: &[u8]) -> Result<Self, DocumentError> {
        const FIELDS: &[&str] =
            &["contentHash", "archive", "name", "version", "publisher", "capabilities", "signedAt"];
        document::read(bytes, MAX_STATEMENT)?.object(FIELDS, |fields| {
            Ok(Self {
                content_hash: fields.need("contentHash")?.parse()?,
                archive: archive(fields.need("archive")?)?,
                name: fields.need("name")?.parse()?,
                version: fields.need("version")?.parse()?,
                publisher: fields.need("publisher")?.parse()?,
                capabilities: fields
                    .need("capabilities")?
                    .list(64)?
                    .into_iter()
                    .map(Field::parse)
                    .collect::<Result<_, _>>()?,
                signed_at: fields.need("signedAt")?.check(read_time)?,
            })
        })
    }
}

fn archive(field: Field) -> Result<ArchiveReference, DocumentError> {
    field.object(&["digest", "size", "mediaType"], |fields| {
        fields.need("mediaType")?.check(|text| {
            if text == ARCHIVE_MEDIA_TYPE { Ok(()) } else { Err(format!("is not {ARCHIVE_MEDIA_TYPE}")) }
        })?;
        let size = fields.need("size")?.integer(0..=document::MAX_NUMBER)?;
        Ok(ArchiveReference {
            digest: fields.need("digest")?.parse()?,
            // Not negative, because the range is not.
            size: u64::try_from(size).unwrap_or_default(),
        })
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    content_hash: &'a ContentHash,
    archive: WrittenArchive<'a>,
    name: &'a ExtensionName,
    version: &'a Version,
    publisher: &'a Publisher,
    capabilities: &'a [Capability],
    signed_at: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenArchive<'a> {
    digest: &'a ArchiveDigest,
    size: u64,
    media_type: &'static str,
}

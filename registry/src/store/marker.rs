use annex_bundle::{ArchiveDigest, SignatureDigest};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

/// `bundle.json`: which files are the bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// The upload that they came with.
    pub upload: Uuid,
    /// The archive's digest.
    pub archive: ArchiveDigest,
    /// The archive's size in bytes.
    pub size: u64,
    /// The signature file's digest.
    pub signature: SignatureDigest,
}

#[derive(Deserialize)]
struct Written {
    upload: String,
    archive: String,
    size: u64,
    signature: String,
}

impl Marker {
    pub(super) fn to_json(self) -> Vec<u8> {
        let Self { upload, archive, size, signature } = self;
        let json = json!({
            "upload": upload.to_string(), "archive": archive.to_string(), "size": size, "signature": signature.to_string(),
        });
        json.to_string().into_bytes()
    }

    pub(super) fn from_json(bytes: &[u8]) -> Option<Self> {
        let Written { upload, archive, size, signature } = serde_json::from_slice(bytes).ok()?;
        let upload = upload.parse().ok()?;
        Some(Self { upload, archive: archive.parse().ok()?, size, signature: signature.parse().ok()? })
    }
}

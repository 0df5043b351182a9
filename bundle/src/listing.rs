//! What a bundle's content hash is made of.

use std::collections::BTreeMap;

use annex_core::ContentHash;
use sha2::{Digest as _, Sha256};

use crate::digest::FileDigest;
use crate::path::BundlePath;

/// Says what is hashed, so that no other thing's hash can be one of a bundle.
const HEADER: &[u8] = b"annex bundle listing v1\n";

/// A file's size and digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileEntry {
    /// Its size in bytes.
    pub size: u64,
    /// The SHA-256 of its bytes.
    pub digest: FileDigest,
}

/// The files of a bundle, in the order of their paths' bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    files: BTreeMap<BundlePath, FileEntry>,
}

impl Listing {
    /// The files and what is known of them.
    pub fn files(&self) -> impl ExactSizeIterator<Item = (&BundlePath, &FileEntry)> {
        self.files.iter()
    }

    /// What is known of the file at `path`.
    pub fn get(&self, path: &str) -> Option<&FileEntry> {
        // A path that is none is in no listing.
        BundlePath::parse(path.as_bytes()).ok().and_then(|path| self.files.get(&path))
    }

    /// Whether a file begins with this.
    pub(crate) fn has_below(&self, prefix: &str) -> bool {
        self.files.keys().any(|path| path.as_str().starts_with(prefix))
    }

    pub(crate) fn insert(&mut self, path: BundlePath, entry: FileEntry) {
        self.files.insert(path, entry);
    }

    /// The SHA-256 over the listing, as `docs/bundle-format.md` has it byte by byte.
    pub fn content_hash(&self) -> ContentHash {
        let mut hash = Sha256::new();
        hash.update(HEADER);
        for (path, entry) in &self.files {
            hash.update(path.as_str());
            hash.update([0]);
            hash.update(entry.size.to_string());
            hash.update([0]);
            hash.update(ContentHash::from_sha256(*entry.digest.as_bytes()).hex());
            hash.update(b"\n");
        }
        ContentHash::from_sha256(hash.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_hash_is_that_of_the_page() {
        let mut listing = Listing::default();
        for (path, bytes) in [("ui/index.html", b"hi\n".as_slice()), ("main.wasm", b"")] {
            let entry = FileEntry { size: bytes.len() as u64, digest: FileDigest::of(bytes) };
            listing.insert(BundlePath::parse(path.as_bytes()).unwrap(), entry);
        }
        // Made by hand with sha256sum, as the page shows.
        let text = "annex bundle listing v1\n\
            main.wasm\x000\x00e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n\
            ui/index.html\x003\x0098ea6e4f216f2fb4b69fff9b3a44842c38686ca685f3f55dc48c5d3fb1107be4\n";
        assert_eq!(listing.content_hash(), ContentHash::from_sha256(Sha256::digest(text).into()));
    }
}

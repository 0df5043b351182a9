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

    /// The SHA-256 over [`Self::to_bytes`].
    pub fn content_hash(&self) -> ContentHash {
        ContentHash::from_sha256(Sha256::digest(self.to_bytes()).into())
    }

    /// The listing as it is hashed, which `docs/bundle-format.md` has byte by byte.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = HEADER.to_vec();
        for (path, entry) in &self.files {
            let digest = ContentHash::from_sha256(*entry.digest.as_bytes()).hex();
            bytes.extend_from_slice(format!("{}\0{}\0{digest}\n", path.as_str(), entry.size).as_bytes());
        }
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote. None if it is not exactly that.
    ///
    /// Whoever keeps a listing beside a bundle's files need not trust that it is still what was verified: its content hash says so.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let text = str::from_utf8(bytes.strip_prefix(HEADER)?).ok()?;
        let mut listing = Self::default();
        for line in text.lines() {
            let mut fields = line.split('\0');
            let path = BundlePath::parse(fields.next()?.as_bytes()).ok()?;
            let size = fields.next()?.parse().ok()?;
            let digest = format!("sha256:{}", fields.next()?).parse().ok()?;
            listing.insert(path, FileEntry { size, digest });
        }
        (listing.to_bytes() == bytes).then_some(listing)
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

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let mut listing = Listing::default();
        for path in ["main.wasm", "ui/a b.js", "ui/größe.css"] {
            let entry = FileEntry { size: 2, digest: FileDigest::of(path.as_bytes()) };
            listing.insert(BundlePath::parse(path.as_bytes()).unwrap(), entry);
        }
        let bytes = listing.to_bytes();
        assert_eq!(Listing::from_bytes(&bytes), Some(listing));
        let text = String::from_utf8(bytes).unwrap();
        for other in [
            String::new(),
            text.trim_end().to_owned(),
            text.replace('\n', "\r\n"),
            text.replace("\x002\0", "\x0002\0"),
            text.replace("ui/a b.js", "ui/../b.js"),
            text.replace("v1", "v2"),
            format!("{text}{text}"),
        ] {
            assert_eq!(Listing::from_bytes(other.as_bytes()), None, "{other:?}");
        }
    }
}

//! One bundle on the disk:
//!
//! ```text
//! listing       what the content hash is made of: each file's path, size and SHA-256
//! bundle.sig    the publisher's signature
//! receipt.json  the registry's receipt
//! files/…       the files
//! ```
//!
//! Nothing of it is believed after a restart. The listing is right if its hash is the bundle's content hash, which the folder is called
//! by and the lookup names; a file is right if its hash is in the listing, which is looked at when it is first read; the signature and
//! the receipt are judged as if they had just come.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use annex_bundle::{BundlePath, FileDigest, FileEntry, Listing, Loaded, Manifest, check_loadable};
use annex_bundle_client::{Held, Vouched};
use annex_core::ContentHash;
use bytes::Bytes;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

pub(super) const FILES: &str = "files";
const LISTING: &str = "listing";
const SIGNATURE: &str = "bundle.sig";
const RECEIPT: &str = "receipt.json";
const MANIFEST: &str = "manifest.json";

/// Ten thousand entries of some 340 bytes, which is the most that a bundle has.
const LARGEST_LISTING: u64 = 4 << 20;
/// A signature, a receipt or a manifest.
const LARGEST_SMALL: u64 = 256 << 10;
/// Disks give space by the block.
const BLOCK: u64 = 4096;
/// The folders and files that every bundle has besides.
const BLOCKS_BESIDES: u64 = 8;
/// A file that is not larger is read at once, and shared by all who want it. Opening one is a hop to another thread; each piece of a stream
/// is one more.
pub(super) const AT_ONCE: u64 = 1 << 20;
/// The same of a part of a larger one, which whoever asked holds alone for as long as they take to read it.
const PART_AT_ONCE: u64 = 256 << 10;
/// How exactly it is written down when a bundle was used last.
const USED_EVERY: Duration = Duration::from_secs(60);

/// A bundle whose bytes were verified. Whether it may be served still has to be asked.
#[derive(Debug)]
pub(crate) struct Bundle {
    folder: PathBuf,
    content: ContentHash,
    listing: Listing,
    manifest: Manifest,
    vouched: Vouched,
    space: u64,
    /// The policy under which it was judged last, and how.
    judged: Mutex<Option<(Held, bool)>>,
    /// The files that an earlier process wrote and this one has not looked at.
    unchecked: Mutex<HashSet<BundlePath>>,
    used: Mutex<Option<Instant>>,
}

/// Some bytes of a file.
#[derive(Debug)]
pub(crate) enum Content {
    /// All of them.
    Small(Bytes),
    /// A file that stands where they begin, and how many they are.
    Large(File, u64),
}

impl Bundle {
    /// Writes down what [`Self::read`] needs beside the files.
    pub(super) fn write(folder: &Path, listing: &Listing, vouched: &Vouched) -> io::Result<()> {
        fs::write(folder.join(SIGNATURE), &vouched.signature)?;
        fs::write(folder.join(RECEIPT), &vouched.receipt)?;
        fs::write(folder.join(LISTING), listing.to_bytes())
    }

    /// What was just verified and written to `folder` by this process.
    pub(super) fn fresh(folder: PathBuf, loaded: Loaded, vouched: Vouched) -> Self {
        let unpacked = loaded.verified.unpacked;
        Self::new(folder, unpacked.content_hash, unpacked.listing, unpacked.manifest, vouched, HashSet::new())
    }

    /// What an earlier process left. None if it is not what `content` is made of.
    pub(super) fn read(folder: &Path, content: &ContentHash) -> Option<Self> {
        let small = |name: &str, most: u64| -> Option<Vec<u8>> {
            let mut bytes = Vec::new();
            File::open(folder.join(name)).ok()?.take(most + 1).read_to_end(&mut bytes).ok()?;
            (bytes.len() as u64 <= most).then_some(bytes)
        };
        let listing = Listing::from_bytes(&small(LISTING, LARGEST_LISTING)?)?;
        if listing.content_hash() != *content {
            return None;
        }
        let manifest = small(&format!("{FILES}/{MANIFEST}"), LARGEST_SMALL)?;
        if listing.get(MANIFEST)?.digest != FileDigest::of(&manifest) {
            return None;
        }
        let manifest = Manifest::from_json(&manifest).ok()?;
        let vouched = Vouched {
            signature: small(SIGNATURE, LARGEST_SMALL)?.into(),
            receipt: small(RECEIPT, LARGEST_SMALL)?.into(),
        };
        let unchecked = listing.files().map(|(path, _)| path.clone()).collect();
        Some(Self::new(folder.to_owned(), *content, listing, manifest, vouched, unchecked))
    }

    fn new(
        folder: PathBuf,
        content: ContentHash,
        listing: Listing,
        manifest: Manifest,
        vouched: Vouched,
        unchecked: HashSet<BundlePath>,
    ) -> Self {
        Self {
            folder,
            content,
            space: space(&listing),
            listing,
            manifest,
            vouched,
            judged: Mutex::default(),
            unchecked: Mutex::new(unchecked),
            used: Mutex::default(),
        }
    }

    pub(crate) fn content(&self) -> &ContentHash {
        &self.content
    }

    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What is known of the file at `path`; none if there is none.
    pub(crate) fn file(&self, path: &BundlePath) -> Option<FileEntry> {
        self.listing.get(path.as_str()).copied()
    }

    /// The SHA-256 of the file at `path`, as it was verified; none if there is none.
    pub(crate) fn digest(&self, path: &str) -> Option<[u8; 32]> {
        self.listing.get(path).map(|entry| *entry.digest.as_bytes())
    }

    /// The bytes that it takes of the disk.
    pub(super) fn space(&self) -> u64 {
        self.space
    }

    /// Whether what vouches for it still does. A policy that has not changed is asked once.
    pub(super) fn is_loadable(&self, held: &Held) -> bool {
        let mut judged = self.judged.lock();
        match &*judged {
            Some((by, verdict)) if by.is_same(held) => *verdict,
            _ => {
                let verdict =
                    check_loadable(Some(&self.vouched.signature), Some(&self.vouched.receipt), &held.load());
                let verdict = match verdict {
                    // A receipt is worth something for its own content alone.
                    Ok(loadable) => loadable.signed.statement.content_hash == self.content,
                    Err(refusal) => {
                        tracing::info!(content = %self.content, code = refusal.code(), "a bundle of the cache is not trusted any more");
                        false
                    }
                };
                *judged = Some((held.clone(), verdict));
                verdict
            }
        }
    }

    /// Some bytes of a file. None: the disk does not have what was verified.
    pub(super) async fn read_file(
        self: &Arc<Self>,
        path: &BundlePath,
        entry: FileEntry,
        range: Range<u64>,
    ) -> Option<Content> {
        let (bundle, path) = (Arc::clone(self), path.clone());
        let read = spawn_blocking(move || bundle.read_blocking(&path, entry, range)).await;
        match read {
            Ok(Ok(content)) => Some(content),
            Ok(Err(error)) => {
                tracing::debug!(%error, content = %self.content, "a file of the cache cannot be read");
                None
            }
            Err(_) => None,
        }
    }

    fn read_blocking(&self, path: &BundlePath, entry: FileEntry, range: Range<u64>) -> io::Result<Content> {
        if self.is_use_due() {
            self.write_use();
        }
        let mut file = File::open(self.folder.join(FILES).join(path.as_str()))?;
        if entry.size <= AT_ONCE && range == (0..entry.size) {
            let mut bytes = Vec::with_capacity(usize::try_from(entry.size).map_err(io::Error::other)? + 1);
            // One byte more than it has shows that there is more.
            file.take(entry.size + 1).read_to_end(&mut bytes)?;
            // Each time, because it is quick, and what is kept in memory by its digest had better have it.
            if FileDigest::of(&bytes) != entry.digest {
                return Err(io::Error::other("it is not what was verified"));
            }
            self.unchecked.lock().remove(path);
            return Ok(Content::Small(bytes.into()));
        }
        if self.unchecked.lock().contains(path) {
            check(&mut file, entry)?;
            self.unchecked.lock().remove(path);
        }
        file.seek(SeekFrom::Start(range.start))?;
        let length = range.end.saturating_sub(range.start);
        if length > PART_AT_ONCE {
            return Ok(Content::Large(file, length));
        }
        Ok(Content::Small(read_exactly(&mut file, length)?.into()))
    }

    /// Has it written down that it is used, for the order after a restart.
    pub(super) fn note_use(self: &Arc<Self>) {
        if self.is_use_due() {
            let bundle = Arc::clone(self);
            spawn_blocking(move || bundle.write_use());
        }
    }

    fn is_use_due(&self) -> bool {
        let mut used = self.used.lock();
        let due = used.is_none_or(|at| at.elapsed() >= USED_EVERY);
        if due {
            *used = Some(Instant::now());
        }
        due
    }

    fn write_use(&self) {
        // Not written, it only goes earlier than it should.
        let _ = File::open(self.folder.join(LISTING)).and_then(|file| file.set_modified(SystemTime::now()));
    }
}

/// The bytes that a bundle takes of a disk, at the most. Not those of its files alone: ten thousand files of one byte each would pass for
/// ten kilobytes, and a cache be full of them long before its bound.
pub(super) fn space(listing: &Listing) -> u64 {
    // One more for each file: its own entry, its line in the listing, and maybe a folder.
    let files: u64 = listing.files().map(|(_, entry)| entry.size.div_ceil(BLOCK) + 1).sum();
    (files + BLOCKS_BESIDES) * BLOCK
}

/// When the bundle in a folder was used last, as far as is known.
pub(super) fn last_used(folder: &Path) -> Option<SystemTime> {
    fs::metadata(folder.join(LISTING)).and_then(|metadata| metadata.modified()).ok()
}

fn read_exactly(file: &mut File, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn check(file: &mut File, entry: FileEntry) -> io::Result<()> {
    let mut hash = Sha256::new();
    let mut piece = vec![0; 64 << 10];
    let mut size = 0;
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            break;
        }
        size += count as u64;
        hash.update(piece.get(..count).unwrap_or_default());
    }
    if size == entry.size && FileDigest::from_sha256(hash.finalize().into()) == entry.digest {
        Ok(())
    } else {
        Err(io::Error::other("it is not what was verified"))
    }
}

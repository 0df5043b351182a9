//! What the files of an archive must be, whatever form they came in.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::error::ArchiveError;
use crate::digest::FileDigest;
use crate::limits::Limits;
use crate::listing::{FileEntry, Listing};
use crate::manifest::{MAX_MANIFEST, Manifest};
use crate::path::{BundlePath, COMPONENT, MANIFEST, UI};
use crate::shown::shown;
use crate::sink::Sink;

/// The first bytes of a component: `\0asm`, version 13, layer 1.
const COMPONENT_PREAMBLE: [u8; 8] = [0, b'a', b's', b'm', 0x0d, 0, 1, 0];
/// The first bytes of a core module: `\0asm`, version 1, layer 0.
const MODULE_PREAMBLE: [u8; 8] = [0, b'a', b's', b'm', 1, 0, 0, 0];

/// Checks and hashes files on their way to the sink.
pub(super) struct Files<S> {
    limits: Limits,
    sink: S,
    listing: Listing,
    /// What is taken, a file or a folder, by its key: no file may be where another's folder is.
    taken: BTreeMap<String, Taken>,
    entries: usize,
    current: Option<Current>,
    manifest: Option<Vec<u8>>,
}

struct Taken {
    path: String,
    folder: bool,
}

struct Current {
    path: BundlePath,
    size: u64,
    hash: Sha256,
    /// The bytes that are looked at: the whole manifest, the component's preamble.
    kept: Vec<u8>,
    keep: usize,
}

impl<S: Sink> Files<S> {
    pub(super) fn new(limits: Limits, sink: S) -> Self {
        Self {
            limits,
            sink,
            listing: Listing::default(),
            taken: BTreeMap::new(),
            entries: 0,
            current: None,
            manifest: None,
        }
    }

    pub(super) fn begin(&mut self, path: &[u8], size: u64) -> Result<(), ArchiveError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(ArchiveError::TooManyEntries { limit: self.limits.entries });
        }
        let path = self.check_path(path)?;
        if size > self.limits.file {
            return Err(ArchiveError::FileTooLarge { path: path.to_string(), size, limit: self.limits.file });
        }
        let keep = match path.as_str() {
            MANIFEST if size > MAX_MANIFEST as u64 => {
                let limit = MAX_MANIFEST as u64;
                return Err(ArchiveError::FileTooLarge { path: path.to_string(), size, limit });
            }
            MANIFEST => MAX_MANIFEST,
            COMPONENT => COMPONENT_PREAMBLE.len(),
            _ => 0,
        };
        self.sink.begin(&path, size).map_err(|error| not_stored(&path, error))?;
        self.current = Some(Current { path, size, hash: Sha256::new(), kept: Vec::new(), keep });
        Ok(())
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        let Some(current) = &mut self.current else { return Ok(()) };
        current.hash.update(bytes);
        let missing = current.keep - current.kept.len();
        if missing > 0 {
            current.kept.extend(bytes.iter().take(missing));
        }
        self.sink.write(bytes).map_err(|error| not_stored(&current.path, error))
    }

    pub(super) fn end(&mut self) -> Result<(), ArchiveError> {
        let Some(current) = self.current.take() else { return Ok(()) };
        match current.path.as_str() {
            MANIFEST => self.manifest = Some(current.kept),
            COMPONENT => check_component(&current.kept)?,
            _ => {}
        }
        self.sink.end().map_err(|error| not_stored(&current.path, error))?;
        let digest = FileDigest::from_sha256(current.hash.finalize().into());
        self.listing.insert(current.path, FileEntry { size: current.size, digest });
        Ok(())
    }

    /// What the files are together.
    pub(super) fn finish(self) -> Result<(Manifest, Listing), ArchiveError> {
        let manifest = self.manifest.ok_or(ArchiveError::MissingFile { path: MANIFEST })?;
        if self.listing.get(COMPONENT).is_none() {
            return Err(ArchiveError::MissingFile { path: COMPONENT });
        }
        let manifest = Manifest::from_json(&manifest).map_err(ArchiveError::Manifest)?;
        match &manifest.ui {
            Some(ui) if self.listing.get(ui.entry.as_str()).is_none() => {
                return Err(ArchiveError::EntryMissing { entry: ui.entry.to_string() });
            }
            None if self.listing.has_below(UI) => return Err(ArchiveError::UndeclaredUi),
            _ => {}
        }
        Ok((manifest, self.listing))
    }

    fn check_path(&mut self, bytes: &[u8]) -> Result<BundlePath, ArchiveError> {
        if bytes.len() > self.limits.path {
            return Err(ArchiveError::PathTooLong {
                path: shown(bytes),
                length: bytes.len(),
                limit: self.limits.path,
            });
        }
        let path = BundlePath::parse(bytes)
            .map_err(|reason| ArchiveError::UnsafePath { path: shown(bytes), reason })?;
        if path.depth() > self.limits.depth {
            return Err(ArchiveError::PathTooDeep { path: path.to_string(), limit: self.limits.depth });
        }
        if !path.is_known() {
            return Err(ArchiveError::UnknownFile { path: path.to_string() });
        }
        self.take(&path)?;
        Ok(path)
    }

    fn take(&mut self, path: &BundlePath) -> Result<(), ArchiveError> {
        let text = path.as_str();
        let key = path.collision_key();
        // Folding keeps slashes, so that the two have the same number of them.
        let folders = text.match_indices('/').zip(key.match_indices('/'));
        let folders = folders.map(|((at, _), (key_at, _))| (text.get(..at), key.get(..key_at), true));
        for (part, key, folder) in folders.chain([(Some(text), Some(key.as_str()), false)]) {
            let (Some(part), Some(key)) = (part, key) else { continue };
            match self.taken.get(key) {
                None => {
                    self.taken.insert(key.to_owned(), Taken { path: part.to_owned(), folder });
                }
                // A folder is shared by those who write it alike.
                Some(taken) if folder && taken.folder && taken.path == part => {}
                Some(taken) if taken.path == part && !taken.folder && !folder => {
                    return Err(ArchiveError::DuplicatePath { path: path.to_string() });
                }
                Some(taken) => {
                    let other = shown(taken.path.as_bytes());
                    return Err(ArchiveError::CollidingPath { path: path.to_string(), other });
                }
            }
        }
        Ok(())
    }
}

fn check_component(beginning: &[u8]) -> Result<(), ArchiveError> {
    match beginning {
        beginning if beginning == COMPONENT_PREAMBLE => Ok(()),
        beginning if beginning == MODULE_PREAMBLE => {
            Err(ArchiveError::NotAComponent { found: "a core module" })
        }
        _ => Err(ArchiveError::NotAComponent { found: "no WebAssembly of this version" }),
    }
}

fn not_stored(path: &BundlePath, error: std::io::Error) -> ArchiveError {
    ArchiveError::Store { path: path.to_string(), error }
}

//! The cache's folder:
//!
//! ```text
//! lock            held by the one process that uses the folder
//! staging/…       what is not verified yet, or is on its way out
//! sha256/<hash>/  a bundle, as bundle.rs has it
//! ```
//!
//! A bundle comes and goes by a rename: there is never half of one.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use annex_core::ContentHash;
use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;

use super::bundle::last_used;

#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    /// Released when the process ends, however that happens.
    _lock: File,
}

const STAGING: &str = "staging";
const CONTENTS: &str = "sha256";

impl Folder {
    /// Makes or takes over the folder, and empties what was not finished.
    pub(super) fn open(root: &Path) -> anyhow::Result<Self> {
        let name = || format!("the cache {} (--cache-dir)", root.display());
        DirBuilder::new().recursive(true).mode(0o700).create(root).with_context(name)?;
        let metadata = fs::symlink_metadata(root).with_context(name)?;
        // In a folder for everybody such as /tmp another user may have made it first, to change what is served once it was verified.
        ensure!(metadata.is_dir(), "{} is no folder", name());
        ensure!(
            metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o022 == 0,
            "{} belongs to another user, or others may write there",
            name()
        );
        let lock = File::create(root.join("lock")).with_context(name)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("{} is used by another runner", name()),
            Err(TryLockError::Error(error)) => return Err(error).with_context(name),
        }
        let staging = root.join(STAGING);
        match fs::remove_dir_all(&staging) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).with_context(name),
            _ => {}
        }
        for folder in [staging, root.join(CONTENTS)] {
            fs::create_dir_all(folder).with_context(name)?;
        }
        Ok(Self { root: root.to_owned(), _lock: lock })
    }

    /// The bundles that are there, the one that was not used the longest first.
    pub(super) fn contents(&self) -> io::Result<Vec<(ContentHash, PathBuf)>> {
        let mut contents = Vec::new();
        for entry in fs::read_dir(self.root.join(CONTENTS))? {
            let entry = entry?;
            let content = entry.file_name().to_str().and_then(|hex| format!("sha256:{hex}").parse().ok());
            // What is not ours is left alone.
            if let Some(content) = content {
                contents.push((content, entry.path()));
            }
        }
        contents.sort_by_cached_key(|(_, path)| last_used(path));
        Ok(contents)
    }

    /// A place for what is not verified yet. It is gone when it is dropped.
    pub(super) fn stage(&self) -> io::Result<TempDir> {
        TempDir::new_in(self.root.join(STAGING))
    }

    /// Keeps what was staged, and says where.
    pub(super) fn keep(&self, staged: TempDir, content: &ContentHash) -> io::Result<PathBuf> {
        let at = self.at(content);
        if at.exists() {
            // It could not be removed when it was to go.
            self.remove(content);
        }
        fs::rename(staged.path(), &at)?;
        // Nothing is left to remove.
        let _ = staged.keep();
        Ok(at)
    }

    /// Moves a bundle out. Its files are gone when what is returned is dropped, which may take its time.
    pub(super) fn remove(&self, content: &ContentHash) -> Option<TempDir> {
        let moved = self.stage().and_then(|trash| {
            fs::rename(self.at(content), trash.path().join(content.hex()))?;
            Ok(trash)
        });
        moved
            .inspect_err(
                |error| tracing::warn!(%error, %content, "a bundle cannot be removed from the cache"),
            )
            .ok()
    }

    fn at(&self, content: &ContentHash) -> PathBuf {
        self.root.join(CONTENTS).join(content.hex())
    }
}

//! The folder of what outlives a run.
//!
//! ```text
//! .gitignore      nothing here is for a repository
//! annex-dev.lock  says whose folder it is, and is held by the one process that uses it
//! storage.db      what the extension has stored
//! code/           compiled code, so that the next start is quick
//! bundles/        what is served, made anew at each start
//! trust/          public keys of this run
//! ```

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// The folder, held by this process.
#[derive(Debug)]
pub struct State {
    folder: PathBuf,
    /// Released when the process ends, however that happens.
    _lock: File,
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be made or written.
    #[error("the state folder {} cannot be used: {error}", folder.display())]
    Io {
        /// Which.
        folder: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Another process has it.
    #[error("the state folder {} is used by another kubectl annex dev; end that one, or give another folder with --state", .0.display())]
    InUse(PathBuf),
    /// It has other things in it, some of which might go.
    #[error("the state folder {} is not empty, and was not made by kubectl annex dev; give another with --state", .0.display())]
    NotOurs(PathBuf),
}

const LOCK: &str = "annex-dev.lock";

impl State {
    /// Makes or takes over the folder, and removes what was of the last run alone.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn open(folder: &Path) -> Result<Self, StateError> {
        let failed = |error| StateError::Io { folder: folder.to_owned(), error };
        // What an extension stores is its author's alone.
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let folder = folder.canonicalize().map_err(failed)?;
        let is_new = fs::read_dir(&folder).map_err(failed)?.next().is_none();
        if !is_new && !folder.join(LOCK).exists() {
            return Err(StateError::NotOurs(folder));
        }
        let lock = File::create(folder.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateError::InUse(folder)),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        fs::write(folder.join(".gitignore"), "*\n").map_err(failed)?;
        for of_the_last in ["bundles", "trust"] {
            match fs::remove_dir_all(folder.join(of_the_last)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        fs::create_dir(folder.join("trust")).map_err(failed)?;
        Ok(Self { folder, _lock: lock })
    }

    /// Where it is, as an absolute path without links.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the extension's storage is.
    pub fn storage(&self) -> PathBuf {
        self.folder.join("storage.db")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_uses_it_and_what_is_stored_stays() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("a/b");
        let state = State::open(&folder).unwrap();
        for name in ["storage.db", "trust/trust.pem"] {
            fs::write(folder.join(name), "x").unwrap();
        }
        assert!(matches!(State::open(&folder), Err(StateError::InUse(_))));
        drop(state);
        State::open(&folder).unwrap();
        assert!(folder.join("storage.db").exists() && !folder.join("trust/trust.pem").exists());
        assert_eq!(fs::read_to_string(folder.join(".gitignore")).unwrap(), "*\n");
        let parent = place.path().join("a");
        assert!(matches!(State::open(&parent), Err(StateError::NotOurs(_))), "what is in it might go");
        assert!(!parent.join(".gitignore").exists());
    }
}

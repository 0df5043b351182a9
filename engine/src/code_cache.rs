//! Compiled code on disk, which nobody but us can have written.
//!
//! Machine code is run as it is found, so a file counts only with a MAC by a key that is this installation's. The MAC is over
//! everything that the code must fit: which component it was made of, by which version of wasmtime, by which rules. A file that
//! does not verify is deleted, and the component is compiled anew.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use crate::sealed::Sealed;

/// The version of wasmtime whose code this is. A test keeps it what `Cargo.lock` has; wasmtime itself refuses code of another
/// version as well.
pub(crate) const WASMTIME_VERSION: &str = "48.0.8";

const KEY_BYTES: usize = blake3::KEY_LEN;
const TAG_BYTES: usize = blake3::OUT_LEN;

/// Why the cache cannot be opened. It is never a reason not to run: an engine can do without one.
#[derive(Debug, thiserror::Error)]
pub enum CodeCacheError {
    /// The folder or the key cannot be read or made.
    #[error("the code cache at {path} cannot be used: {error}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Others than the owner may read or write the key: whoever can read it can forge code.
    #[error("the key of the code cache at {path} is open to others; its mode must be 0600")]
    OpenKey {
        /// The file.
        path: PathBuf,
    },
    /// The key has another length than a key.
    #[error("the key of the code cache at {path} is no key; delete it, and the code with it")]
    BadKey {
        /// The file.
        path: PathBuf,
    },
}

/// A folder of compiled code. Processes that share it share the key in it.
///
/// Everything here blocks.
pub struct CodeCache {
    folder: PathBuf,
    key: [u8; KEY_BYTES],
    max_bytes: u64,
}

/// What compiled code must fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CodeId {
    /// The SHA-256 of the component.
    pub(crate) component: [u8; 32],
    /// The SHA-256 of the rules that it was compiled by.
    pub(crate) config: [u8; 32],
}

// By hand: the key is not shown.
impl fmt::Debug for CodeCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CodeCache").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl CodeCache {
    /// Opens a folder, and makes it and its key if they are not there. At most `max_bytes` of code stay in it; what was used
    /// longest ago goes first.
    ///
    /// # Errors
    /// When the folder or the key cannot be read or made, or the key is open to others.
    pub fn open(folder: &Path, max_bytes: u64) -> Result<Self, CodeCacheError> {
        let failed = |error| CodeCacheError::Io { path: folder.to_owned(), error };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let path = folder.join("key");
        make_key(folder, &path).map_err(failed)?;
        let key = read_key(&path)?;
        Ok(Self { folder: folder.to_owned(), key, max_bytes })
    }

    /// The code, if it is there and ours.
    pub(crate) fn get(&self, id: &CodeId) -> Option<Sealed> {
        let path = self.path(id);
        let mut file = File::open(&path).ok()?;
        let read = self.read(&mut file, id).inspect_err(|error| {
            tracing::warn!(path = %path.display(), %error, "compiled code cannot be read");
        });
        let Some(code) = read.ok()? else {
            tracing::warn!(path = %path.display(), "compiled code does not verify and is deleted");
            self.remove(id);
            return None;
        };
        // For what goes first. A file system that keeps no such time only makes the choice worse.
        let _ = file.set_modified(SystemTime::now());
        Some(code)
    }

    /// None: it does not verify.
    fn read(&self, file: &mut File, id: &CodeId) -> io::Result<Option<Sealed>> {
        // Apart from the code, which is loaded from where it is read to.
        let mut tag = [0; TAG_BYTES];
        match file.read_exact(&mut tag) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let mut mac = self.mac(id);
        let code = Sealed::copy(file, |piece| {
            mac.update(piece);
        })?;
        // In constant time.
        Ok((mac.finalize() == tag).then_some(code))
    }

    /// Keeps code. That it cannot be kept is logged, and costs a compilation later.
    pub(crate) fn put(&self, id: &CodeId, code: &[u8]) {
        if let Err(error) = self.try_put(id, code).and_then(|()| self.make_room()) {
            tracing::warn!(folder = %self.folder.display(), %error, "compiled code is not kept");
        }
    }

    /// Forgets code that verified and still could not be loaded.
    pub(crate) fn remove(&self, id: &CodeId) {
        // Another process may have been quicker.
        let _ = fs::remove_file(self.path(id));
    }

    fn path(&self, id: &CodeId) -> PathBuf {
        // Half of the hash of the rules tells files apart. All of it is in the MAC.
        let (rules, _) = id.config.split_at(16);
        self.folder.join(format!("{}-{}.code", hex(&id.component), hex(rules)))
    }

    fn try_put(&self, id: &CodeId, code: &[u8]) -> io::Result<()> {
        let tag = self.mac(id).update(code).finalize();
        write_then_name(&self.folder, &self.path(id), &[tag.as_bytes(), code], |from, to| {
            fs::rename(from, to)
        })
    }

    /// BLAKE3 in its keyed mode, of what the code must fit. The code comes after it; all before it has a fixed length or is delimited, so that
    /// no two differ only in where one ends.
    fn mac(&self, id: &CodeId) -> blake3::Hasher {
        let mut mac = blake3::Hasher::new_keyed(&self.key);
        for part in [
            b"annex compiled code 3\0",
            WASMTIME_VERSION.as_bytes(),
            b"\0",
            &id.component[..],
            &id.config[..],
        ] {
            mac.update(part);
        }
        mac
    }

    fn make_room(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "code") {
                continue;
            }
            // One that another process deletes meanwhile takes no room.
            let Ok(metadata) = fs::metadata(&path) else { continue };
            files.push((metadata.modified()?, metadata.len(), path));
        }
        files.sort();
        let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in files {
            if total <= self.max_bytes {
                break;
            }
            let _ = fs::remove_file(path);
            total = total.saturating_sub(bytes);
        }
        Ok(())
    }
}

/// A key that only the owner reads. Of two processes that make one at the same time, the first one's stays.
fn make_key(folder: &Path, path: &Path) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    let made = write_then_name(folder, path, &[&key], |from, to| {
        fs::hard_link(from, to)?;
        fs::remove_file(from)
    });
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn read_key(path: &Path) -> Result<[u8; KEY_BYTES], CodeCacheError> {
    let failed = |error| CodeCacheError::Io { path: path.to_owned(), error };
    let file = File::open(path).map_err(failed)?;
    // Of the file that was opened, so that it is not another one that is read.
    if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
        return Err(CodeCacheError::OpenKey { path: path.to_owned() });
    }
    let mut key = Vec::new();
    file.take(KEY_BYTES as u64 + 1).read_to_end(&mut key).map_err(failed)?;
    key.try_into().map_err(|_| CodeCacheError::BadKey { path: path.to_owned() })
}

/// A file has its name only when it is whole.
fn write_then_name(
    folder: &Path,
    path: &Path,
    parts: &[&[u8]],
    name: impl FnOnce(&Path, &Path) -> io::Result<()>,
) -> io::Result<()> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let temporary = folder.join(format!("{}.new", hex(&random)));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_all()?;
        name(&temporary, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// The rules that an engine compiles by, as wasmtime knows them.
pub(crate) fn config_digest(engine: &wasmtime::Engine) -> [u8; 32] {
    use std::hash::Hash as _;
    let mut digest = Digesting(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut digest);
    digest.0.finalize().into()
}

/// Takes what is hashed into a digest that nobody can find a second input for, and that is the same in each process.
struct Digesting(Sha256);

impl std::hash::Hasher for Digesting {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        // Nobody asks: the digest is taken as a whole.
        0
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const ID: CodeId = CodeId { component: [1; 32], config: [2; 32] };

    fn cache(folder: &Path) -> CodeCache {
        CodeCache::open(folder, 1 << 20).unwrap()
    }

    fn code(cache: &CodeCache, id: &CodeId) -> Option<Vec<u8>> {
        cache.get(id).map(|sealed| sealed.bytes())
    }

    #[test]
    fn keeps_code_over_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        cache(folder.path()).put(&ID, b"code");
        assert_eq!(code(&cache(folder.path()), &ID).unwrap(), b"code");
    }

    #[test]
    fn code_of_another_component_or_by_other_rules_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        cache.put(&ID, b"code");
        for other in [CodeId { component: [3; 32], ..ID }, CodeId { config: [3; 32], ..ID }] {
            assert_eq!(code(&cache, &other), None);
            // Not even under the other's name.
            fs::copy(cache.path(&ID), cache.path(&other)).unwrap();
            assert_eq!(code(&cache, &other), None);
            assert!(!cache.path(&other).exists());
        }
        assert_eq!(code(&cache, &ID).unwrap(), b"code");
    }

    #[test]
    fn every_changed_byte_is_found_and_the_file_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        let path = cache.path(&ID);
        cache.put(&ID, b"code");
        let good = fs::read(&path).unwrap();
        for index in 0..good.len() {
            let mut bad = good.clone();
            bad[index] ^= 1;
            fs::write(&path, &bad).unwrap();
            assert_eq!(code(&cache, &ID), None, "{index}");
            assert!(!path.exists(), "{index}");
        }
        for bad in [&good[..good.len() - 1], &good[..TAG_BYTES - 1], &[good.as_slice(), b"x"].concat(), b""] {
            fs::write(&path, bad).unwrap();
            assert_eq!(code(&cache, &ID), None);
            assert!(!path.exists());
        }
    }

    #[test]
    fn code_by_another_key_is_refused() {
        let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (ours, theirs) = (cache(ours.path()), cache(theirs.path()));
        theirs.put(&ID, b"code");
        fs::copy(theirs.path(&ID), ours.path(&ID)).unwrap();
        assert_eq!(code(&ours, &ID), None);
    }

    #[test]
    fn the_key_is_the_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        drop(cache(folder.path()));
        let key = folder.path().join("key");
        assert_eq!(fs::metadata(&key).unwrap().mode() & 0o777, 0o600);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        let error = CodeCache::open(folder.path(), 1).unwrap_err();
        assert!(matches!(error, CodeCacheError::OpenKey { .. }), "{error}");
    }

    #[test]
    fn a_short_or_long_key_is_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        for length in [0, KEY_BYTES - 1, KEY_BYTES + 1] {
            fs::write(&key, vec![7; length]).unwrap();
            fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
            let error = CodeCache::open(folder.path(), 1).unwrap_err();
            assert!(matches!(error, CodeCacheError::BadKey { .. }), "{error}");
        }
    }

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CodeCache::open(folder.path(), 2 * (TAG_BYTES as u64 + 4)).unwrap();
        let ids = [1, 2, 3].map(|byte| CodeId { component: [byte; 32], ..ID });
        let [first, second, third] = &ids;
        cache.put(first, b"code");
        cache.put(second, b"code");
        let long_ago = SystemTime::UNIX_EPOCH;
        File::open(cache.path(second)).unwrap().set_modified(long_ago).unwrap();
        assert!(cache.get(first).is_some());
        cache.put(third, b"code");
        assert_eq!(ids.map(|id| cache.path(&id).exists()), [true, false, true]);
    }

    #[test]
    fn nothing_half_written_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        cache.put(&ID, b"code");
        let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.filter(|name| name.to_string_lossy().ends_with(".new")).count(), 0);
    }

    #[test]
    fn the_version_is_that_of_the_lock_file() {
        let lock = include_str!("../../Cargo.lock");
        assert!(lock.contains(&format!("name = \"wasmtime\"\nversion = \"{WASMTIME_VERSION}\"")));
    }
}

//! What files hold, read again when they change.

use std::{
    fmt, fs,
    hash::{BuildHasher as _, RandomState},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::anyhow;
use parking_lot::Mutex;
use tokio::{sync::watch, time::MissedTickBehavior};

/// As for certificates: contents are compared and not times, because a mounted Secret changes by a symbolic link.
const CHECK_EVERY: Duration = Duration::from_secs(2);

/// A folder of keys has a few small files. More is another folder, and is not read into memory.
const MOST_FILES: usize = 64;
const LARGEST_FILE: u64 = 64 << 10;

/// By name and content.
type Contents = Vec<(String, Vec<u8>)>;
type Parse<T> = Box<dyn Fn(&Contents) -> Result<T, String> + Send + Sync>;

/// What a few files hold together, parsed. What cannot be read or parsed leaves the former in place, and is told. Cheap to clone.
pub struct Followed<T>(Arc<Inner<T>>);

struct Inner<T> {
    name: &'static str,
    source: Source,
    parse: Parse<T>,
    hasher: RandomState,
    held: watch::Sender<Arc<T>>,
    seen: Mutex<Seen>,
    /// Of two checks, the one that has read the former files must not have the last word.
    checking: tokio::sync::Mutex<()>,
}

enum Source {
    Files(Vec<PathBuf>),
    Folder(PathBuf),
}

struct Seen {
    /// Of what is held.
    fingerprint: u64,
    refused: Option<String>,
}

impl<T> Clone for Followed<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Send + Sync + 'static> Followed<T> {
    /// Reads and parses the files; `name` is what they hold, for messages. Without files, it is what `parse` makes of nothing, for
    /// ever. An error of `parse` must not quote a secret.
    ///
    /// # Errors
    /// A file cannot be read, or `parse` refuses what they hold.
    pub fn load(
        name: &'static str,
        files: Vec<PathBuf>,
        parse: impl Fn(&[Vec<u8>]) -> Result<T, String> + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let parse = move |contents: &Contents| {
            parse(&contents.iter().map(|(_, content)| content.clone()).collect::<Vec<_>>())
        };
        Self::of(name, Source::Files(files), Box::new(parse))
    }

    /// Reads and parses all files of a folder, each by its name and content, in the order of their names. What begins with a dot is left
    /// out: of a mounted Secret, that is what the names lead to. An error of `parse` must not quote a secret.
    ///
    /// # Errors
    /// A file cannot be read or has more than 64 KiB, there are more than 64, or `parse` refuses what they hold.
    pub fn load_folder(
        name: &'static str,
        folder: PathBuf,
        parse: impl Fn(&[(String, Vec<u8>)]) -> Result<T, String> + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        Self::of(name, Source::Folder(folder), Box::new(move |contents: &Contents| parse(contents)))
    }

    fn of(name: &'static str, source: Source, parse: Parse<T>) -> anyhow::Result<Self> {
        let hasher = RandomState::new();
        let contents = source.read().map_err(|error| anyhow!("{name}: {error}"))?;
        let parsed = parse(&contents).map_err(|error| anyhow!("{name}: {error}"))?;
        let seen = Seen { fingerprint: hasher.hash_one(&contents), refused: None };
        Ok(Self(Arc::new(Inner {
            name,
            source,
            parse,
            hasher,
            held: watch::Sender::new(Arc::new(parsed)),
            seen: Mutex::new(seen),
            checking: tokio::sync::Mutex::default(),
        })))
    }

    /// What they hold.
    #[must_use]
    pub fn get(&self) -> Arc<T> {
        self.0.held.borrow().clone()
    }

    /// Tells when that changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<T>> {
        self.0.held.subscribe()
    }

    /// Looks at the files every two seconds, for ever.
    pub async fn follow(&self) {
        if matches!(&self.0.source, Source::Files(files) if files.is_empty()) {
            return std::future::pending().await;
        }
        let mut ticks = tokio::time::interval(CHECK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.check().await;
        }
    }

    /// Looks at the files now, and takes over what changed.
    pub async fn check(&self) {
        let _one_at_a_time = self.0.checking.lock().await;
        let reader = self.0.clone();
        // A disk that hangs must not hold up a thread that answers requests; and parsing may take its time, too.
        let _ = tokio::task::spawn_blocking(move || reader.look()).await;
    }

    /// What an operator has to know, if anything.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        let refused = self.0.seen.lock().refused.clone()?;
        Some(format!("{}: {refused}; what it was before is kept", self.0.name))
    }
}

impl<T> Inner<T> {
    fn look(&self) {
        let contents = match self.source.read() {
            Ok(contents) => contents,
            Err(error) => return self.refuse(error),
        };
        let fingerprint = self.hasher.hash_one(&contents);
        {
            let mut seen = self.seen.lock();
            if seen.fingerprint == fingerprint {
                // Something else was there for a while, or nothing that could be read.
                seen.refused = None;
                return;
            }
        }
        // What is refused is looked at each time: a key may only not be valid yet.
        match (self.parse)(&contents) {
            Ok(parsed) => {
                *self.seen.lock() = Seen { fingerprint, refused: None };
                self.held.send_replace(Arc::new(parsed));
                tracing::info!("{} has changed, and holds from now on", self.name);
            }
            Err(error) => self.refuse(error),
        }
    }

    fn refuse(&self, error: String) {
        let mut seen = self.seen.lock();
        if seen.refused.as_ref() != Some(&error) {
            tracing::warn!(error, "{}: what it was before is kept", self.name);
        }
        seen.refused = Some(error);
    }
}

impl Source {
    fn read(&self) -> Result<Contents, String> {
        match self {
            Self::Files(files) => files.iter().map(|path| Ok((String::new(), read(path)?))).collect(),
            Self::Folder(folder) => read_folder(folder),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("cannot be read: {}: {error}", path.display())
}

fn read_folder(folder: &Path) -> Result<Contents, String> {
    let failed = |error: io::Error| unreadable(folder, &error);
    let mut contents = Contents::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // What is no text becomes a name that is refused as one.
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        // Of what the name leads to: in a mounted Secret it is a symbolic link.
        let metadata = fs::metadata(&path).map_err(|error| unreadable(&path, &error))?;
        if name.starts_with('.') || metadata.is_dir() {
            continue;
        }
        if metadata.len() > LARGEST_FILE || contents.len() >= MOST_FILES {
            return Err(format!(
                "{} has more than {MOST_FILES} files, or one of more than {LARGEST_FILE} bytes",
                folder.display()
            ));
        }
        contents.push((name, read(&path)?));
    }
    contents.sort();
    Ok(contents)
}

// By hand: what is in there may be a secret.
impl<T> fmt::Debug for Followed<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Followed").field("name", &self.0.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(contents: &[Vec<u8>]) -> Result<i32, String> {
        let text = String::from_utf8_lossy(contents.first().map_or(&[][..], Vec::as_slice)).into_owned();
        if text.is_empty() { Ok(0) } else { text.parse().map_err(|_| "is no number".to_owned()) }
    }

    #[tokio::test]
    async fn what_changes_is_taken_and_what_is_wrong_is_told_and_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("number");
        assert!(Followed::load("the number", vec![file.clone()], number).is_err(), "it is not there");
        fs::write(&file, "1").unwrap();
        let followed = Followed::load("the number", vec![file.clone()], number).unwrap();
        let mut changes = followed.subscribe();
        assert_eq!(*followed.get(), 1);
        for (content, expected, note) in [
            ("2", 2, None),
            ("x", 2, Some("the number: is no number; what it was before is kept")),
            ("x", 2, Some("the number: is no number; what it was before is kept")),
            ("2", 2, None),
            ("3", 3, None),
        ] {
            fs::write(&file, content).unwrap();
            followed.check().await;
            assert_eq!((*followed.get(), followed.note().as_deref()), (expected, note), "{content}");
        }
        assert!(changes.has_changed().unwrap() && **changes.borrow_and_update() == 3);
        fs::remove_file(&file).unwrap();
        followed.check().await;
        assert!(followed.note().unwrap().contains("cannot be read"));
        fs::write(&file, "3").unwrap();
        followed.check().await;
        assert_eq!((*followed.get(), followed.note()), (3, None));
        assert!(!changes.has_changed().unwrap(), "the same again is no change");
    }

    #[tokio::test]
    async fn without_files_it_is_what_nothing_is() {
        let followed = Followed::load("the number", Vec::new(), number).unwrap();
        followed.check().await;
        assert_eq!((*followed.get(), followed.note()), (0, None));
    }

    #[tokio::test]
    async fn a_folder_is_followed_as_a_mounted_secret_changes() {
        use std::os::unix::fs::symlink;

        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let names = |contents: &[(String, Vec<u8>)]| {
            let shown = |(name, content): &(String, Vec<u8>)| format!("{name}={}", content.escape_ascii());
            if contents.is_empty() {
                return Err("there is nothing in it".to_owned());
            }
            Ok(contents.iter().map(shown).collect::<Vec<_>>().join(" "))
        };
        assert!(Followed::load_folder("the keys", folder.path().into(), names).is_err(), "it is empty");
        for (version, content) in [("..1", "one"), ("..2", "two")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("b"), content).unwrap();
            fs::write(at(version).join("a"), "same").unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        for name in ["b", "a"] {
            symlink(format!("..data/{name}"), at(name)).unwrap();
        }
        let followed = Followed::load_folder("the keys", folder.path().into(), names).unwrap();
        assert_eq!(*followed.get(), "a=same b=one");
        symlink("..2", at("..next")).unwrap();
        fs::rename(at("..next"), at("..data")).unwrap();
        followed.check().await;
        assert_eq!((followed.get().as_str(), followed.note()), ("a=same b=two", None));
        fs::write(at("large"), vec![b'x'; 65 << 10]).unwrap();
        followed.check().await;
        assert_eq!(*followed.get(), "a=same b=two");
        assert!(followed.note().unwrap().contains("more than"));
    }
}

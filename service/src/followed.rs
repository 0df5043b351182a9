//! What files hold, read again when they change.

use std::{
    fmt, fs,
    hash::{BuildHasher as _, RandomState},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::anyhow;
use parking_lot::Mutex;
use tokio::{sync::watch, time::MissedTickBehavior};

/// As for certificates: contents are compared and not times, because a mounted Secret changes by a symbolic link.
const CHECK_EVERY: Duration = Duration::from_secs(2);

type Parse<T> = Box<dyn Fn(&[Vec<u8>]) -> Result<T, String> + Send + Sync>;

/// What a few files hold together, parsed. What cannot be read or parsed leaves the former in place, and is told. Cheap to clone.
pub struct Followed<T>(Arc<Inner<T>>);

struct Inner<T> {
    name: &'static str,
    files: Vec<PathBuf>,
    parse: Parse<T>,
    hasher: RandomState,
    held: watch::Sender<Arc<T>>,
    seen: Mutex<Seen>,
    /// Of two checks, the one that has read the former files must not have the last word.
    checking: tokio::sync::Mutex<()>,
}

struct Seen {
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
        let hasher = RandomState::new();
        let contents = read(&files).map_err(|error| anyhow!("{name}: {error}"))?;
        let parsed = parse(&contents).map_err(|error| anyhow!("{name}: {error}"))?;
        let seen = Seen { fingerprint: hasher.hash_one(&contents), refused: None };
        Ok(Self(Arc::new(Inner {
            name,
            files,
            parse: Box::new(parse),
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
        if self.0.files.is_empty() {
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
        let contents = match read(&self.files) {
            Ok(contents) => contents,
            Err(error) => return self.refuse(None, error),
        };
        let fingerprint = self.hasher.hash_one(&contents);
        {
            let mut seen = self.seen.lock();
            // Also where a refused content was read a second time; one that could not be read has no fingerprint.
            if seen.fingerprint == fingerprint {
                if seen.refused.as_deref().is_some_and(|refused| refused.starts_with(UNREADABLE)) {
                    seen.refused = None;
                }
                return;
            }
        }
        match (self.parse)(&contents) {
            Ok(parsed) => {
                *self.seen.lock() = Seen { fingerprint, refused: None };
                self.held.send_replace(Arc::new(parsed));
                tracing::info!("{} has changed, and holds from now on", self.name);
            }
            Err(error) => self.refuse(Some(fingerprint), error),
        }
    }

    fn refuse(&self, fingerprint: Option<u64>, error: String) {
        let mut seen = self.seen.lock();
        if seen.refused.as_ref() != Some(&error) {
            tracing::warn!(error, "{}: what it was before is kept", self.name);
        }
        if let Some(fingerprint) = fingerprint {
            seen.fingerprint = fingerprint;
        }
        seen.refused = Some(error);
    }
}

const UNREADABLE: &str = "cannot be read: ";

fn read(files: &[PathBuf]) -> Result<Vec<Vec<u8>>, String> {
    let read =
        |path: &PathBuf| fs::read(path).map_err(|error| format!("{UNREADABLE}{}: {error}", path.display()));
    files.iter().map(read).collect()
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
}

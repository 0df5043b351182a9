//! When a project changes.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::snapshot::{Changes, Project, Snapshot};

/// An editor writes a file in several steps, and a tool several files.
const QUIET: Duration = Duration::from_millis(100);
/// So long what goes on and on is waited for.
const AT_MOST: Duration = Duration::from_secs(1);

/// Looks at a project whenever the system says that something happened there.
pub struct Watch {
    project: Project,
    watcher: RecommendedWatcher,
    watched: BTreeSet<PathBuf>,
    woken: mpsc::Receiver<()>,
    seen: Snapshot,
}

impl Watch {
    /// Begins to watch. What the project is now is what changes are compared with.
    ///
    /// # Errors
    /// The system watches no files, or not that many.
    pub fn start(project: Project) -> notify::Result<Self> {
        // One place: who is woken looks at everything.
        let (wake, woken) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // That a file was read is told, too, and would make each look the cause of the next.
            if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
                // An error means that it is going to look anyway, or that nobody watches any more.
                let _ = wake.try_send(());
            }
        })?;
        let mut watch = Self { project, watcher, watched: BTreeSet::new(), woken, seen: Snapshot::default() };
        watch.look()?;
        Ok(watch)
    }

    /// Waits until something has changed since the last look, and for a moment in which nothing does.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn changed(&mut self) -> notify::Result<Changes> {
        loop {
            // The sender is the watcher's, which is here.
            let _ = self.woken.recv().await;
            let end = Instant::now() + AT_MOST;
            while timeout_at(end.min(Instant::now() + QUIET), self.woken.recv()).await.is_ok()
                && Instant::now() < end
            {}
            let changes = self.look()?;
            if !changes.is_empty() {
                return Ok(changes);
            }
        }
    }

    /// What has changed since the last look.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn look(&mut self) -> notify::Result<Changes> {
        let mut now = Snapshot::take(&self.project, &self.seen);
        while self.follow(&now)? {
            // What appeared in a new folder before it was watched.
            now = Snapshot::take(&self.project, &now);
        }
        let changes = now.changes_since(&self.seen);
        self.seen = now;
        Ok(changes)
    }

    /// Watches the folders that there are now. Says whether one was not watched before.
    fn follow(&mut self, now: &Snapshot) -> notify::Result<bool> {
        for gone in self.watched.difference(&now.folders) {
            // Most systems have noticed it by themselves.
            let _ = self.watcher.unwatch(gone);
        }
        let mut is_new = false;
        for folder in &now.folders {
            let is_known = self.watched.contains(folder);
            // Linux watches the folder and not the name: what was removed and made anew is another one.
            if is_known && !cfg!(target_os = "linux") {
                continue;
            }
            match self.watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => is_new |= !is_known,
                // It went in this moment.
                Err(_) if !folder.exists() => {}
                Err(error) => return Err(error),
            }
        }
        self.watched.clone_from(&now.folders);
        Ok(is_new)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Far more than a look takes on a busy machine.
    const SOON: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn files_in_folders_that_are_new_or_made_anew_are_noticed() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().canonicalize().unwrap();
        let project = Project { dir: dir.clone(), sources: None, inputs: vec![], excluded: vec![] };
        let mut watch = Watch::start(project).unwrap();
        let mut write = async |path: &str, text: &str| {
            fs::create_dir_all(dir.join(path).parent().unwrap()).unwrap();
            fs::write(dir.join(path), text).unwrap();
            let changes = tokio::time::timeout(SOON, watch.changed()).await.expect("it is noticed").unwrap();
            assert!(changes.inputs.contains(&dir.join(path)), "{changes:?}");
        };
        write("manifest.json", "{}").await;
        write("ui/a/b.html", "1").await;
        write("ui/a/b.html", "2").await;
        fs::remove_dir_all(dir.join("ui")).unwrap();
        write("ui/a/b.html", "3").await;
        write("ui/a/b.html", "4").await;
    }
}

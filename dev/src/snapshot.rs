//! What of a project matters, and what of it has changed. Contents are compared and not times: what a build writes again as it was is
//! no change.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

/// What is packed as it is, without being built.
const INPUTS: [&str; 3] = ["manifest.json", "sbom.json", "main.wasm"];
const UI: &str = "ui";
/// What builds write and package managers fetch. What begins with a dot is passed over as well.
const NO_SOURCES: [&str; 3] = ["target", "node_modules", "dist"];

/// Where the files of a project are.
#[derive(Debug, Clone)]
pub struct Project {
    /// The folder with the manifest.
    pub dir: PathBuf,
    /// The folder whose sources are built. None: nothing is.
    pub sources: Option<PathBuf>,
    /// Further files that go in as they are, such as the component that a build writes, wherever they are.
    pub inputs: Vec<PathBuf>,
    /// Folders that are nobody's sources.
    pub excluded: Vec<PathBuf>,
}

/// What has changed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Changes {
    /// What is packed as it is.
    pub inputs: BTreeSet<PathBuf>,
    /// What is built first.
    pub sources: BTreeSet<PathBuf>,
}

impl Changes {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty() && self.sources.is_empty()
    }
}

/// The files of a project at one time.
#[derive(Debug, Default, Clone)]
pub(crate) struct Snapshot {
    files: BTreeMap<PathBuf, File>,
    /// In which any of them may appear.
    pub(crate) folders: BTreeSet<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    is_source: bool,
    size: u64,
    modified: Option<SystemTime>,
    digest: [u8; 32],
}

impl Snapshot {
    /// Of now. What `former` has read already is not read again. What cannot be read just now is not there.
    pub(crate) fn take(project: &Project, former: &Self) -> Self {
        let mut taking = Taking { former, project, taken: Self::default() };
        taking.folder(&project.dir);
        for name in INPUTS {
            taking.file(&project.dir.join(name), false);
        }
        taking.walk(&project.dir.join(UI), false);
        for input in &project.inputs {
            if let Some(folder) = input.parent() {
                taking.folder(folder);
            }
            taking.file(input, false);
        }
        if let Some(sources) = &project.sources {
            taking.walk(sources, true);
        }
        taking.taken
    }

    /// What is another than it was, is new, or has gone.
    pub(crate) fn changes_since(&self, former: &Self) -> Changes {
        let mut changes = Changes::default();
        for path in self.files.keys().chain(former.files.keys()) {
            let (now, then) = (self.files.get(path), former.files.get(path));
            if now.map(|file| file.digest) != then.map(|file| file.digest) {
                let is_source = now.or(then).is_some_and(|file| file.is_source);
                let changed = if is_source { &mut changes.sources } else { &mut changes.inputs };
                changed.insert(path.clone());
            }
        }
        changes
    }
}

struct Taking<'a> {
    former: &'a Snapshot,
    project: &'a Project,
    taken: Snapshot,
}

impl Taking<'_> {
    fn folder(&mut self, path: &Path) {
        if path.is_dir() {
            self.taken.folders.insert(path.to_owned());
        }
    }

    fn walk(&mut self, folder: &Path, is_source: bool) {
        if self.project.excluded.iter().any(|excluded| excluded == folder) {
            return;
        }
        let Ok(entries) = fs::read_dir(folder) else { return };
        self.taken.folders.insert(folder.to_owned());
        for entry in entries.flatten() {
            let (name, path) = (entry.file_name(), entry.path());
            let name = name.to_string_lossy();
            if is_source
                && (name.starts_with('.') || name.ends_with('~') || NO_SOURCES.contains(&name.as_ref()))
            {
                continue;
            }
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => self.walk(&path, is_source),
                Ok(_) => self.file(&path, is_source),
                Err(_) => {}
            }
        }
    }

    fn file(&mut self, path: &Path, is_source: bool) {
        if self.taken.files.contains_key(path) {
            return;
        }
        let Ok(metadata) = fs::metadata(path) else { return };
        if !metadata.is_file() {
            return;
        }
        let (size, modified) = (metadata.len(), metadata.modified().ok());
        let known = self.former.files.get(path);
        let known =
            known.filter(|known| known.size == size && known.modified == modified && modified.is_some());
        let digest = match known {
            Some(known) => known.digest,
            None => match fs::read(path) {
                Ok(bytes) => Sha256::digest(bytes).into(),
                Err(_) => return,
            },
        };
        self.taken.files.insert(path.to_owned(), File { is_source, size, modified, digest });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            let place = Self(tempfile::tempdir().unwrap());
            for (path, text) in [
                ("manifest.json", "{}"),
                ("README.md", "a"),
                ("ui/index.html", "a"),
                ("guest/src/lib.rs", "a"),
                ("guest/target/out.wasm", "a"),
                ("guest/.git/HEAD", "a"),
                ("dist/notes.wasm", "a"),
                ("state/storage.db", "a"),
            ] {
                place.write(path, text);
            }
            place
        }

        fn at(&self, path: &str) -> PathBuf {
            self.0.path().join(path)
        }

        fn write(&self, path: &str, text: &str) {
            fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
            fs::write(self.at(path), text).unwrap();
        }

        fn project(&self, sources: Option<&str>) -> Project {
            Project {
                dir: self.at(""),
                sources: sources.map(|folder| self.at(folder)),
                inputs: vec![self.at("dist/notes.wasm")],
                excluded: vec![self.at("state")],
            }
        }

        /// What is noticed when all these are written, by the end of their paths.
        fn noticed(&self, project: &Project, written: &[&str]) -> (Vec<String>, Vec<String>) {
            let before = Snapshot::take(project, &Snapshot::default());
            for path in written {
                self.write(path, "another text");
            }
            let changes = Snapshot::take(project, &before).changes_since(&before);
            let relative = |paths: BTreeSet<PathBuf>| {
                paths
                    .iter()
                    .map(|path| path.strip_prefix(self.0.path()).unwrap().display().to_string())
                    .collect()
            };
            (relative(changes.inputs), relative(changes.sources))
        }
    }

    const ALL: [&str; 9] = [
        "manifest.json",
        "README.md",
        "ui/index.html",
        "guest/src/lib.rs",
        "guest/src/new/mod.rs",
        "guest/target/out.wasm",
        "guest/.git/HEAD",
        "dist/notes.wasm",
        "state/storage.db",
    ];

    #[test]
    fn what_is_packed_and_what_is_built_are_told_apart_and_the_rest_is_nothing() {
        let place = Place::new();
        let (inputs, sources) = place.noticed(&place.project(Some("guest")), &ALL);
        assert_eq!(inputs, ["dist/notes.wasm", "manifest.json", "ui/index.html"]);
        assert_eq!(sources, ["guest/src/lib.rs", "guest/src/new/mod.rs"]);

        let place = Place::new();
        let (inputs, sources) = place.noticed(&place.project(Some("")), &ALL);
        assert_eq!(
            (inputs.len(), sources),
            (3, vec!["README.md".into(), "guest/src/lib.rs".into(), "guest/src/new/mod.rs".into()])
        );

        let place = Place::new();
        assert_eq!(place.noticed(&place.project(None), &ALL).1, Vec::<String>::new());
    }

    #[test]
    fn what_is_new_or_gone_is_a_change_and_the_same_content_is_none() {
        let place = Place::new();
        let project = place.project(Some("guest"));
        let before = Snapshot::take(&project, &Snapshot::default());
        place.write("ui/index.html", "a");
        assert!(Snapshot::take(&project, &before).changes_since(&before).is_empty());
        place.write("ui/.hidden", "a");
        fs::remove_file(place.at("guest/src/lib.rs")).unwrap();
        let changes = Snapshot::take(&project, &before).changes_since(&before);
        assert_eq!((changes.inputs.len(), changes.sources.len()), (1, 1));
    }

    #[test]
    fn folders_are_watched_where_something_may_appear() {
        let place = Place::new();
        let folders = Snapshot::take(&place.project(Some("")), &Snapshot::default()).folders;
        for watched in ["", "ui", "guest", "guest/src", "dist"] {
            assert!(folders.contains(&place.at(watched)), "{watched}");
        }
        for passed_over in ["guest/target", "guest/.git", "state"] {
            assert!(!folders.contains(&place.at(passed_over)), "{passed_over}");
        }
    }
}

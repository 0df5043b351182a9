//! Which files of a project are the bundle's.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use annex_bundle::path::{COMPONENT, MANIFEST, SBOM};
use annex_bundle::{BundlePath, Limits};

use crate::outcome::Failure;

/// The files, by the path that they will have.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    sizes: BTreeMap<BundlePath, u64>,
    sources: BTreeMap<BundlePath, PathBuf>,
}

impl Tree {
    /// The files of `dir`, with the component from wherever it is.
    pub(crate) fn of(dir: &Path, component: &Path) -> Result<Self, Failure> {
        let mut tree = Self::default();
        tree.add_file(MANIFEST, dir.join(MANIFEST), None)?;
        // Where it is was said by a person or by cargo: a link is as good as what it leads to.
        let metadata =
            fs::metadata(component).map_err(|error| Failure::file("reading", component, &error))?;
        tree.add_file(COMPONENT, component.to_owned(), Some(metadata))?;
        let sbom = dir.join(SBOM);
        if is_there(&sbom)? {
            tree.add_file(SBOM, sbom, None)?;
        }
        let ui = dir.join("ui");
        if is_there(&ui)? {
            tree.add_folder("ui", &ui, 1)?;
        }
        Ok(tree)
    }

    /// The files' sizes, in the order in which they are packed.
    pub(crate) const fn sizes(&self) -> &BTreeMap<BundlePath, u64> {
        &self.sizes
    }

    /// Where a file is.
    pub(crate) fn source(&self, path: &BundlePath) -> &Path {
        self.sources.get(path).map_or(Path::new(""), PathBuf::as_path)
    }

    fn add_folder(&mut self, path: &str, source: &Path, depth: usize) -> Result<(), Failure> {
        let unread = |error| Failure::file("reading", source, &error);
        let metadata = fs::symlink_metadata(source).map_err(unread)?;
        if !metadata.is_dir() {
            return Err(not_regular(path, &metadata, "a folder"));
        }
        if depth > Limits::default().depth {
            return Err(Failure::refused("PathTooDeep", format!("{path} is nested too deeply")));
        }
        for entry in fs::read_dir(source).map_err(unread)? {
            let entry = entry.map_err(unread)?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                let name = name.to_string_lossy();
                return Err(Failure::refused("UnsafePath", format!("the name {name} in {path} is no UTF-8")));
            };
            let inner = format!("{path}/{name}");
            if entry.file_type().map_err(unread)?.is_dir() {
                self.add_folder(&inner, &entry.path(), depth + 1)?;
            } else {
                self.add_file(&inner, entry.path(), None)?;
            }
        }
        Ok(())
    }

    /// `metadata` where it is known already, links followed.
    fn add_file(&mut self, path: &str, source: PathBuf, metadata: Option<Metadata>) -> Result<(), Failure> {
        let metadata = match metadata {
            Some(metadata) => metadata,
            None => {
                fs::symlink_metadata(&source).map_err(|error| Failure::file("reading", &source, &error))?
            }
        };
        if !metadata.is_file() {
            return Err(not_regular(path, &metadata, "a regular file"));
        }
        let path = BundlePath::parse(path.as_bytes())
            .map_err(|error| Failure::refused("UnsafePath", format!("the path {path} {error}")))?;
        self.sizes.insert(path.clone(), metadata.len());
        self.sources.insert(path, source);
        Ok(())
    }
}

/// A link could lead to what was never meant to be published.
fn not_regular(path: &str, metadata: &Metadata, wanted: &str) -> Failure {
    let found = if metadata.is_symlink() { "a symbolic link" } else { "something else" };
    Failure::refused("NotAFile", format!("{path} is {found}, not {wanted}"))
}

fn is_there(path: &Path) -> Result<bool, Failure> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Failure::file("reading", path, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        for (path, content) in
            [("manifest.json", "{}"), ("other.txt", "x"), ("ui/a.html", "a"), ("ui/b/.c", "bc")]
        {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let component = folder.path().join("somewhere.wasm");
        fs::write(&component, "wasm").unwrap();
        (folder, component)
    }

    #[test]
    fn just_what_a_bundle_has_is_taken() {
        let (folder, component) = project();
        let tree = Tree::of(folder.path(), &component).unwrap();
        let paths: Vec<_> = tree.sizes().iter().map(|(path, size)| (path.as_str(), *size)).collect();
        assert_eq!(paths, [("main.wasm", 4), ("manifest.json", 2), ("ui/a.html", 1), ("ui/b/.c", 2)]);
        let main = BundlePath::parse(b"main.wasm").unwrap();
        assert_eq!(tree.source(&main), component);
    }

    #[test]
    #[cfg(unix)]
    fn links_are_refused_wherever_they_lead() {
        for (link, target) in
            [("ui/x", "a.html"), ("ui/x", "/etc/hostname"), ("sbom.json", "gone"), ("ui/y", ".")]
        {
            let (folder, component) = project();
            std::os::unix::fs::symlink(target, folder.path().join(link)).unwrap();
            let refusal = Tree::of(folder.path(), &component).unwrap_err();
            assert!(
                matches!(&refusal, Failure::Refused(text) if text.starts_with("NotAFile: ") && text.contains(link)),
                "{refusal:?}"
            );
        }
    }

    #[test]
    fn names_that_no_bundle_has_are_refused() {
        let (folder, component) = project();
        fs::write(folder.path().join("ui/a:b"), "").unwrap();
        let refusal = Tree::of(folder.path(), &component).unwrap_err();
        assert!(
            matches!(&refusal, Failure::Refused(text) if text.starts_with("UnsafePath: ")),
            "{refusal:?}"
        );
    }
}

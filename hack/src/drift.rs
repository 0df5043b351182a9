//! What is generated from `apis/`, and whether it is what the checkout holds.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::checkout::Checkout;
use crate::sandbox::Sandbox;

const FOLDER: &str = "manifests/provider";

/// Renders schemas, CRDs and manifests into the checkout.
pub(crate) fn generate(checkout: &Checkout) -> Result<()> {
    generate_into(checkout, Path::new(FOLDER))
}

/// Fails with the names of the files that `generate` would change.
pub(crate) fn check(checkout: &Checkout) -> Result<()> {
    let sandbox = Sandbox::create("drift")?;
    // Over a copy of what is there: the generator also removes what it no longer makes.
    let present = read_folder(&checkout.join(FOLDER))?;
    for (name, content) in &present {
        let path = sandbox.path().join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    }
    generate_into(checkout, sandbox.path())?;
    let differing = compare(&present, &read_folder(sandbox.path())?);
    if differing.is_empty() {
        return Ok(());
    }
    bail!(
        "{FOLDER} is not what apis/ says:\n  {}\n`cargo xtask generate` mends it; commit the result",
        differing.join("\n  ")
    )
}

fn generate_into(checkout: &Checkout, folder: &Path) -> Result<()> {
    let status = checkout
        .cargo()
        .args(["run", "--quiet", "--package", "annex-apis", "--bin", "annex-manifests", "--"])
        .arg(folder)
        .status()
        .context("cannot run cargo")?;
    if status.success() { Ok(()) } else { bail!("the generator failed ({status})") }
}

fn compare(present: &Files, generated: &Files) -> Vec<String> {
    let mut differing = Vec::new();
    for (name, content) in generated {
        match present.get(name) {
            Some(other) if other == content => {}
            Some(_) => differing.push(format!("{} differs", name.display())),
            None => differing.push(format!("{} is missing", name.display())),
        }
    }
    let stale = present.keys().filter(|name| !generated.contains_key(*name));
    differing.extend(stale.map(|name| format!("{} is no longer generated", name.display())));
    differing
}

type Files = BTreeMap<PathBuf, Vec<u8>>;

fn read_folder(root: &Path) -> Result<Files> {
    let mut files = Files::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", folder.display())),
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
                files.insert(path.strip_prefix(root).unwrap_or(&path).to_path_buf(), content);
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> Files {
        list.iter().map(|(name, content)| (PathBuf::from(name), content.as_bytes().to_vec())).collect()
    }

    #[test]
    fn names_every_difference() {
        let present = files(&[("same", "1"), ("changed", "1"), ("stale", "1")]);
        let generated = files(&[("same", "1"), ("changed", "2"), ("new", "1")]);
        let expected = ["changed differs", "new is missing", "stale is no longer generated"];
        assert_eq!(compare(&present, &generated), expected);
        assert!(compare(&present, &present).is_empty());
    }

    #[test]
    fn reads_folders_in_folders() {
        let sandbox = Sandbox::new("folders");
        fs::create_dir_all(sandbox.path().join("a/b")).unwrap();
        fs::write(sandbox.path().join("a/b/c"), "x").unwrap();
        assert_eq!(read_folder(sandbox.path()).unwrap(), files(&[("a/b/c", "x")]));
        assert!(read_folder(&sandbox.path().join("absent")).unwrap().is_empty());
    }
}

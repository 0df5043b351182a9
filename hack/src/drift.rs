//! What is generated from `apis/` and `bundle/` or copied, and whether it is what the checkout holds.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::binaries;
use crate::checkout::Checkout;
use crate::sandbox::Sandbox;

const FOLDER: &str = "manifests/provider";
/// What editors check an extension's manifest with.
const SCHEMA: &str = "docs/manifest.schema.json";
/// What a sample holds a copy of, so that its folder can be copied by itself: the original, and the copy.
const COPIES: [(&str, &str); 5] = [
    ("engine/wit/host.wit", "samples/capabilities/guest/wit/host.wit"),
    ("engine/wit/host.wit", "samples/hello-js/wit/deps/annex-host/host.wit"),
    ("engine/wit/host.wit", "samples/notes/guest/wit/host.wit"),
    ("engine/wit/host.wit", "samples/steps/guest/wit/host.wit"),
    ("embed/src/annex-extension.js", "samples/notes/ui/annex-extension.js"),
];

/// Renders schemas, CRDs and manifests into the checkout.
pub(crate) fn generate(checkout: &Checkout) -> Result<()> {
    generate_into(checkout, Path::new(FOLDER))?;
    for (original, copy) in COPIES {
        fs::copy(checkout.join(original), checkout.join(copy))
            .with_context(|| format!("cannot copy {original} to {copy}"))?;
    }
    fs::write(checkout.join(SCHEMA), schema(checkout)?).with_context(|| format!("cannot write {SCHEMA}"))
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
    let mut differing: Vec<_> = compare(&present, &read_folder(sandbox.path())?)
        .into_iter()
        .map(|difference| format!("{FOLDER}/{difference}"))
        .collect();
    match fs::read(checkout.join(SCHEMA)) {
        Ok(present) if present == schema(checkout)? => {}
        Ok(_) => differing.push(format!("{SCHEMA} differs")),
        Err(error) => differing.push(format!("{SCHEMA} cannot be read: {error}")),
    }
    for (original, copy) in COPIES {
        let read = |path| fs::read(checkout.join(path)).with_context(|| format!("cannot read {path}"));
        if read(original)? != read(copy)? {
            differing.push(format!("{copy} is not {original}"));
        }
    }
    if differing.is_empty() {
        return Ok(());
    }
    bail!(
        "what is generated is not what apis/ and bundle/ say:\n  {}\n`cargo xtask generate` mends it; commit the result",
        differing.join("\n  ")
    )
}

fn generate_into(checkout: &Checkout, folder: &Path) -> Result<()> {
    let generator = binaries::program(checkout, "--bin", "annex-manifests")?;
    let status = Command::new(generator).arg(folder).status().context("cannot run the generator")?;
    if status.success() { Ok(()) } else { bail!("the generator failed ({status})") }
}

/// The JSON Schema of an extension's manifest.
fn schema(checkout: &Checkout) -> Result<Vec<u8>> {
    let generator = binaries::program(checkout, "--example", "manifest-schema")?;
    let output =
        Command::new(generator).stderr(Stdio::inherit()).output().context("cannot run the generator")?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        bail!("the generator failed ({})", output.status)
    }
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

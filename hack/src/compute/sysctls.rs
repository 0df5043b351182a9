//! The machine's settings that a kubelet changes when it starts, as they were before the first one here did.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::private_file;

/// Shared by all environments of the machine, and gone when it restarts, like the settings.
const RECORD: &str = "/run/annex-sysctls.json";
const ROOT: &str = "/proc/sys";
const CHANGED: [&str; 6] = [
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
];

/// To be called before a kubelet starts.
pub(super) fn remember() -> Result<()> {
    if Path::new(RECORD).exists() {
        return Ok(());
    }
    let text = serde_json::to_vec(&read(Path::new(ROOT))).context("cannot render JSON")?;
    private_file::write(Path::new(RECORD), &text)
}

/// To be called when a cluster is gone: with the last one the settings are as they were.
pub(super) fn restore() -> Result<()> {
    let Ok(text) = fs::read(RECORD) else { return Ok(()) };
    if others_run() {
        return Ok(());
    }
    let values = serde_json::from_slice(&text).with_context(|| format!("{RECORD} is damaged: remove it"))?;
    write(Path::new(ROOT), &values)?;
    fs::remove_file(RECORD).with_context(|| format!("cannot remove {RECORD}"))
}

/// Each running cluster has a folder there.
fn others_run() -> bool {
    let entries = fs::read_dir("/run").into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.path().is_dir())
        .any(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with("annex-")))
}

fn read(root: &Path) -> BTreeMap<PathBuf, String> {
    let value = |name: &&str| fs::read_to_string(root.join(name)).map(|text| text.trim().to_owned());
    CHANGED.iter().filter_map(|name| Some((PathBuf::from(name), value(name).ok()?))).collect()
}

fn write(root: &Path, values: &BTreeMap<PathBuf, String>) -> Result<()> {
    let present = read(root);
    // Only what differs: some are read-only in a sandbox.
    for (name, value) in values.iter().filter(|(name, value)| present.get(*name) != Some(value)) {
        fs::write(root.join(name), value).with_context(|| format!("cannot set {} back", name.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Sandbox;

    #[test]
    fn what_was_changed_is_set_back() {
        let sandbox = Sandbox::new("sysctls");
        fs::create_dir_all(sandbox.path().join("kernel")).unwrap();
        let panic = sandbox.path().join("kernel/panic");
        fs::write(&panic, "0\n").unwrap();
        let before = read(sandbox.path());
        assert_eq!(before.len(), 1);
        fs::write(&panic, "10\n").unwrap();
        write(sandbox.path(), &before).unwrap();
        assert_eq!(fs::read_to_string(&panic).unwrap(), "0");
    }
}

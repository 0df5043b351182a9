//! Runs what brings environments up by itself, and leaves none of them running, however it ends.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::checkout::Checkout;
use crate::interrupt::Interrupts;
use crate::paths::Paths;
use crate::{progress, stack};

/// The variable that tells a test or a bench where to keep its environments: in this folder, or in folders inside it.
const STATE_VARIABLE: &str = "ANNEX_E2E_STATE";

/// Runs `command`. Afterwards, whether it succeeded, failed or was interrupted, ends and removes every environment
/// under its state folder; the logs of one that failed are kept in `target/e2e-logs`.
pub(crate) fn run(
    checkout: &Checkout,
    interrupts: &Interrupts,
    state: &str,
    command: &mut Command,
) -> Result<()> {
    let folder = env::var_os(STATE_VARIABLE).map_or_else(|| checkout.join(state), PathBuf::from);
    let folder = std::path::absolute(&folder).with_context(|| format!("{STATE_VARIABLE} is not a path"))?;
    // What an earlier run could not remove (a power cut) would answer on ports that this one believes free.
    sweep(&folder)?;
    command.env(STATE_VARIABLE, &folder);
    let outcome = interrupts
        .run(command)
        .and_then(|status| if status.success() { Ok(()) } else { bail!("it ended with {status}") });
    if outcome.is_err() {
        let kept = checkout.join("target/e2e-logs");
        match keep_logs(&folder, &kept) {
            Ok(0) => {}
            Ok(files) => progress::note(&format!("{files} logs are kept in {}", checkout.display(&kept))),
            // Not worth hiding why the tests failed.
            Err(error) => progress::print_error(&error),
        }
    }
    let swept = sweep(&folder);
    outcome.and(swept)
}

/// Ends and removes every environment here.
fn sweep(folder: &Path) -> Result<()> {
    for environment in environments(folder) {
        stack::down(&environment, true)
            .with_context(|| format!("cannot end what runs of {}", environment.display()))?;
    }
    // Fails when a test keeps something else in it.
    drop(fs::remove_dir(folder));
    Ok(())
}

/// Inner ones first, so that their outer folder is empty when its turn comes.
fn environments(folder: &Path) -> Vec<PathBuf> {
    let inner = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    inner.chain([folder.to_path_buf()]).filter(|path| Paths::new(path).state_file().is_file()).collect()
}

fn keep_logs(folder: &Path, kept: &Path) -> Result<usize> {
    let failed = || format!("cannot keep the logs in {}", kept.display());
    if kept.exists() {
        fs::remove_dir_all(kept).with_context(failed)?;
    }
    let mut files = 0;
    for environment in environments(folder) {
        let target = kept.join(environment.file_name().unwrap_or_default());
        files += copy_files(&Paths::new(&environment).logs(), &target).with_context(failed)?;
    }
    Ok(files)
}

/// Copies the files of a folder and of those inside it; returns how many there were.
fn copy_files(source: &Path, target: &Path) -> std::io::Result<usize> {
    let mut files = 0;
    fs::create_dir_all(target)?;
    for entry in fs::read_dir(source).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            files += copy_files(&entry.path(), &target.join(entry.file_name()))?;
        } else if fs::copy(entry.path(), target.join(entry.file_name())).is_ok() {
            // Those of pods come and go: one that has just gone is no reason to keep none.
            files += 1;
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Sandbox;
    use crate::settings::Settings;
    use crate::state;

    #[test]
    fn finds_and_sweeps_environments() {
        let sandbox = Sandbox::new("guard");
        let folder = sandbox.path().join("test");
        for name in ["", "one"] {
            let settings = Settings::new(&folder.join(name));
            state::save(&settings).unwrap();
            fs::create_dir_all(settings.state_dir.join("logs")).unwrap();
            fs::write(settings.state_dir.join("logs/kcp.log"), "x").unwrap();
        }
        let kept = sandbox.path().join("kept");
        assert_eq!(keep_logs(&folder, &kept).unwrap(), 2);
        assert!(kept.join("one/kcp.log").is_file());
        sweep(&folder).unwrap();
        assert!(!folder.exists());
    }
}

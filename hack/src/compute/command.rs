//! Programs of the system, run to their end.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Runs it and returns what it printed; an error holds what it complained about.
pub(super) fn run(program: &str, args: &[&str]) -> Result<String> {
    finish(Command::new(program).args(args), &format!("{program} {}", args.join(" ")))
}

/// Runs it for what it does, where it may well be in vain.
pub(super) fn run_quietly(program: &str, args: &[&str]) {
    drop(run(program, args));
}

/// Like [`run`] for a command with more to it; `what` is how errors name it.
pub(super) fn finish(command: &mut Command, what: &str) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {what}"))?;
    if !output.status.success() {
        bail!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

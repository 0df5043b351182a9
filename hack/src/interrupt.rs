//! Commands that clean up after themselves although a person has pressed Ctrl-C.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// From its creation on, signals that would end this process are noted instead.
pub(crate) struct Interrupts {
    seen: Arc<AtomicBool>,
}

impl Interrupts {
    pub(crate) fn catch() -> Result<Self> {
        let seen = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&seen)).context("cannot catch signals")?;
        }
        Ok(Self { seen })
    }

    /// Runs a command to its end; a signal ends it and everything that it started, and is an error.
    pub(crate) fn run(&self, command: &mut Command) -> Result<ExitStatus> {
        let program = command.get_program().to_string_lossy().into_owned();
        // A group of its own: it can be ended as a whole, whether the signal came from a terminal or from elsewhere.
        let mut child = command
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot run {program}"))?;
        loop {
            if let Some(status) = child.try_wait().with_context(|| format!("cannot wait for {program}"))? {
                return if self.seen.load(Ordering::Relaxed) { bail!("interrupted") } else { Ok(status) };
            }
            if self.seen.load(Ordering::Relaxed) {
                end_group(&mut child);
                bail!("interrupted");
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Ends a process that leads a group, and all that are in it.
pub(crate) fn end_group(child: &mut Child) {
    const GRACE: Duration = Duration::from_secs(5);
    let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else { return };
    let _ = kill_process_group(group, Signal::TERM);
    let deadline = Instant::now() + GRACE;
    while Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
        thread::sleep(Duration::from_millis(50));
    }
    // Also after the first of the group has ended: the others may not have listened.
    let _ = kill_process_group(group, Signal::KILL);
    drop(child.wait());
}

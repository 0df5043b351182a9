//! What builds an extension: programs of the author's, which end when we do.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Output, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

/// A program that runs, together with all that it starts.
#[derive(Debug)]
pub struct Child {
    running: tokio::process::Child,
    group: Group,
}

impl Child {
    /// Starts it, without an input. Its standard error is ours; so is its standard output, unless it is `kept` for [`Self::end`].
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(mut command: std::process::Command, kept: bool) -> io::Result<Self> {
        command.stdin(Stdio::null());
        if kept {
            command.stdout(Stdio::piped());
        }
        // A group of its own: what a shell or cargo has started would outlive them.
        command.process_group(0);
        let running = tokio::process::Command::from(command).kill_on_drop(true).spawn()?;
        let group = Group(running.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
        Ok(Self { running, group })
    }

    /// How it ended, with the output that was kept. When this is dropped before, it is killed with all that it has started.
    ///
    /// # Errors
    /// The system does not say.
    pub async fn end(self) -> io::Result<Output> {
        let Self { running, mut group } = self;
        let output = running.wait_with_output().await?;
        // What it left running on purpose, such as a compiler's server, is the author's.
        group.0 = None;
        Ok(output)
    }
}

/// A process group that is killed when this is dropped.
#[derive(Debug)]
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // An error means that nothing of it runs any more.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn what_it_says_is_kept() {
        let output = Child::start(shell("echo out; exit 3"), true).unwrap().end().await.unwrap();
        assert_eq!((output.stdout.as_slice(), output.status.code()), (&b"out\n"[..], Some(3)));
    }

    #[tokio::test]
    async fn who_is_not_waited_for_is_killed_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let child =
            Child::start(shell(&format!("sleep 600 & echo $! > {}; wait", pid.display())), false).unwrap();
        let grandchild = loop {
            match std::fs::read_to_string(&pid).ok().and_then(|text| text.trim().parse::<i32>().ok()) {
                Some(pid) => break pid,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        let runs = || {
            let stat = std::fs::read_to_string(format!("/proc/{grandchild}/stat")).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z ")
        };
        assert!(runs());
        drop(child);
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while runs() {
            assert!(std::time::Instant::now() < deadline, "it goes on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

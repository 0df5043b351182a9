//! Processes that are measured.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long one may take to answer first, or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that this bench has started. It ends with the value.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    /// The processes that do the work: its own, or those that it started.
    workers: Vec<u32>,
    log: PathBuf,
}

impl Process {
    /// Starts a program whose output goes to a file, and waits until `is_up` says that it answers.
    pub(super) fn start(
        program: &Path,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        log: &Path,
        is_up: impl Fn() -> bool,
    ) -> Result<Self> {
        let output = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        // What a person has set for their own programs is not measured.
        command.env_remove("RUST_LOG");
        let child = command.spawn().with_context(|| format!("starting {}", program.display()))?;
        let mut process = Self { workers: vec![child.id()], child, log: log.to_owned() };
        let started = Instant::now();
        while !is_up() {
            if process.child.try_wait()?.is_some() || started.elapsed() > PATIENCE {
                bail!("{} does not answer: {}", program.display(), process.said());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let id = process.child.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        process.workers.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        Ok(process)
    }

    /// What it has written so far.
    pub(super) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Processor time that it has used, in its own code and in the kernel's.
    pub(super) fn processor(&self) -> Result<Duration> {
        self.workers.iter().map(|pid| processor(*pid)).sum()
    }

    /// Real memory that it holds.
    pub(super) fn resident_kib(&self) -> Result<u64> {
        let pid = self.child.id();
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse()?)
    }

    /// Lets it end as it would anywhere, and waits for that: it holds locks on files that the next one wants.
    pub(super) fn end(mut self) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("no process id")?;
        kill_process(pid, Signal::TERM)?;
        let asked = Instant::now();
        while self.child.try_wait()?.is_none() {
            if asked.elapsed() > PATIENCE {
                bail!("a process does not end");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that was ended already has no id any more.
        if let (Ok(None), Some(pid)) =
            (self.child.try_wait(), i32::try_from(self.child.id()).ok().and_then(Pid::from_raw))
        {
            // nginx ends its workers at this, and would leave them at a kill.
            let _ = kill_process(pid, Signal::TERM);
            std::thread::sleep(Duration::from_millis(300));
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn processor(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name before it, in brackets, may have spaces.
    let (_, after) = stat.rsplit_once(')').context("no name in a process's stat")?;
    let ticks = after.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second())?)
}

/// A port of loopback that nobody listens on.
pub(super) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// What the machine was busy with over the last minute.
pub(super) fn load_average() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split_whitespace().next().context("no load average")?.parse()?)
}

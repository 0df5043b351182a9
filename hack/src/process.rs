//! Processes that outlive the command that started them, and are found again by the next one.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::private_file;

/// How often a process is looked at while it is waited for.
const POLL: Duration = Duration::from_millis(50);
/// How long the kernel may take to end a process that cannot object.
const KILLED: Duration = Duration::from_secs(10);

/// How to start a process.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    /// Files that the process reads only when it starts.
    pub(crate) inputs: Vec<PathBuf>,
    /// The network namespace to run in, instead of the caller's.
    pub(crate) network: Option<PathBuf>,
}

impl Launch {
    /// The same, attached to the caller.
    pub(crate) fn command(&self) -> Command {
        let mut command = match &self.network {
            None => Command::new(&self.program),
            Some(namespace) => {
                // Not `ip netns exec`: that one also mounts /sys anew, without the control groups below it.
                let mut command = Command::new("nsenter");
                command.arg(format!("--net={}", namespace.display())).arg("--").arg(&self.program);
                command
            }
        };
        command.args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Changes whenever a running process is no longer what would be started now.
    fn fingerprint(&self) -> Result<String> {
        let failed = || format!("cannot read {}", self.program.display());
        let binary = fs::metadata(&self.program).with_context(failed)?;
        let modified = binary.modified().with_context(failed)?;
        let modified = modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let mut hash = Sha256::new();
        // Debug output quotes strings, so that two lists never read the same.
        hash.update(format!("{:?} {} {modified} {:?} {:?}", self.program, binary.len(), self.args, self.env));
        if let Some(network) = &self.network {
            hash.update(network.as_os_str().as_encoded_bytes());
        }
        for input in &self.inputs {
            hash.update(fs::read(input).with_context(|| format!("cannot read {}", input.display()))?);
        }
        Ok(hex(&hash.finalize()))
    }
}

/// What is remembered about a process that was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessRecord {
    pid: i32,
    /// When the process began, as the system says it: a recycled process id has another.
    started: String,
    command: Vec<String>,
    fingerprint: String,
}

impl ProcessRecord {
    /// Starts a process in a group of its own, so that Ctrl-C does not reach it; its output is appended to `log`.
    pub(crate) fn start(launch: &Launch, log: &Path, record: &Path) -> Result<Self> {
        if let Some(folder) = log.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot open {}", log.display()))?;
        let errors = output.try_clone().with_context(|| format!("cannot open {}", log.display()))?;
        let fingerprint = launch.fingerprint()?;
        let child = launch
            .command()
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            // The log is a file: colours would be noise in it.
            .env("NO_COLOR", "1")
            .spawn()
            .with_context(|| format!("cannot start {}", launch.program.display()))?;
        let pid = i32::try_from(child.id()).context("the process id is out of range")?;
        let (_, started) =
            observe(pid).with_context(|| format!("cannot find process {pid}, just started"))?;
        let mut command = vec![launch.program.display().to_string()];
        command.extend(launch.args.iter().cloned());
        let this = Self { pid, started, command, fingerprint };
        let text = serde_json::to_vec_pretty(&this).context("cannot render a process record")?;
        private_file::write(record, &text)?;
        Ok(this)
    }

    pub(crate) fn load(path: &Path) -> Result<Option<Self>> {
        match fs::read(path) {
            Ok(text) => serde_json::from_slice(&text).map(Some).with_context(|| {
                format!("{} is damaged: end its process by hand and remove it", path.display())
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether this very process still runs. One that has ended and that nobody has waited for does not.
    pub(crate) fn is_running(&self) -> bool {
        observe(self.pid).is_some_and(|(alive, started)| alive && started == self.started)
    }

    /// Whether `launch` would start the same again.
    pub(crate) fn is(&self, launch: &Launch) -> Result<bool> {
        Ok(self.fingerprint == launch.fingerprint()?)
    }

    /// Asks the process to end, without waiting.
    pub(crate) fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Ends the process at once, as a crash would.
    pub(crate) fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)?;
        if self.wait(KILLED) { Ok(()) } else { bail!("process {} does not end even when killed", self.pid) }
    }

    /// Asks the process to end, and makes it end after `grace`.
    pub(crate) fn stop(&self, grace: Duration) -> Result<()> {
        self.terminate()?;
        if self.wait(grace) { Ok(()) } else { self.kill() }
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let Some(pid) = Pid::from_raw(self.pid).filter(|_| self.is_running()) else { return Ok(()) };
        match kill_process(pid, signal) {
            // It ended in between.
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("cannot end process {}", self.pid)),
        }
    }

    fn wait(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.is_running() {
            if Instant::now() > deadline {
                return false;
            }
            thread::sleep(POLL);
        }
        // Where this very process was the parent (tests are), the dead child has to be collected.
        if let Some(pid) = Pid::from_raw(self.pid) {
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
        true
    }
}

/// Whether a process is alive, and when it began.
#[cfg(target_os = "linux")]
fn observe(pid: i32) -> Option<(bool, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (alive, ticks) = parse_stat(&stat)?;
    // Ticks count from boot: without it, a process of the next boot could pass for ours.
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Some((alive, format!("{} {ticks}", boot.trim())))
}

#[cfg(not(target_os = "linux"))]
fn observe(pid: i32) -> Option<(bool, String)> {
    let output = Command::new("ps").args(["-o", "stat=,lstart=", "-p", &pid.to_string()]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (state, started) = text.trim().split_once(' ')?;
    Some((!state.starts_with('Z'), started.trim().to_owned()))
}

/// Whether it is alive, and its start time, from `/proc/PID/stat`. The second field is the program's name, which may
/// hold anything. A zombie with further threads is still ending: it has its ports and files until the last is gone.
#[cfg(target_os = "linux")]
fn parse_stat(stat: &str) -> Option<(bool, &str)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    let threads: u32 = fields.nth(16)?.parse().ok()?;
    let started = fields.nth(1)?;
    Some((!matches!(state, "Z" | "X") || threads > 1, started))
}

/// Whether a process of this id runs, whatever it is.
pub(crate) fn is_alive(pid: i32) -> bool {
    observe(pid).is_some_and(|(alive, _)| alive)
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Sandbox;

    fn sleeper(script: &str) -> Launch {
        Launch {
            program: "/bin/sh".into(),
            args: vec!["-c".to_owned(), script.to_owned()],
            env: vec![("A".to_owned(), "b".to_owned())],
            inputs: Vec::new(),
            network: None,
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn names_with_parentheses_do_not_confuse() {
        let stat = "42 (a) Z (b c) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 1 2 3";
        assert_eq!(parse_stat(stat), Some((true, "98765")));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_has_ended_with_its_last_thread() {
        let zombie =
            |threads| format!("42 (x) Z 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 {threads} 0 98765 1 2 3");
        assert_eq!(parse_stat(&zombie(1)), Some((false, "98765")));
        assert_eq!(parse_stat(&zombie(7)), Some((true, "98765")));
    }

    #[test]
    fn is_found_again_and_ends() {
        let sandbox = Sandbox::new("process");
        let path = sandbox.path().join("pids/x.json");
        let launch = sleeper("echo hello; exec sleep 60");
        ProcessRecord::start(&launch, &sandbox.path().join("logs/x.log"), &path).unwrap();
        let record = ProcessRecord::load(&path).unwrap().unwrap();
        assert!(record.is_running());
        assert!(record.is(&launch).unwrap());
        assert!(!record.is(&sleeper("other")).unwrap());
        record.stop(Duration::from_secs(5)).unwrap();
        assert!(!record.is_running());
        record.stop(Duration::from_secs(5)).unwrap();
    }

    #[test]
    fn a_recycled_process_id_is_left_alone() {
        let sandbox = Sandbox::new("recycled");
        let path = sandbox.path().join("x.json");
        let real =
            ProcessRecord::start(&sleeper("exec sleep 60"), &sandbox.path().join("log"), &path).unwrap();
        let other = ProcessRecord { started: "at another time".to_owned(), ..real.clone() };
        assert!(!other.is_running());
        other.stop(Duration::from_secs(5)).unwrap();
        assert!(real.is_running());
        real.kill().unwrap();
        assert!(!real.is_running());
    }

    #[test]
    fn what_does_not_listen_is_killed() {
        let sandbox = Sandbox::new("deaf");
        let launch = sleeper("trap '' TERM; echo deaf; while :; do sleep 0.1; done");
        let log = sandbox.path().join("log");
        let record = ProcessRecord::start(&launch, &log, &sandbox.path().join("x.json")).unwrap();
        while fs::read(&log).unwrap().is_empty() {
            thread::sleep(POLL);
        }
        record.stop(Duration::from_millis(200)).unwrap();
        assert!(!record.is_running());
    }

    #[test]
    fn a_changed_input_is_noticed() {
        let sandbox = Sandbox::new("inputs");
        let input = sandbox.path().join("input");
        fs::write(&input, "one").unwrap();
        let launch = Launch { inputs: vec![input.clone()], ..sleeper("true") };
        let before = launch.fingerprint().unwrap();
        assert_eq!(before, launch.fingerprint().unwrap());
        fs::write(&input, "two").unwrap();
        assert_ne!(before, launch.fingerprint().unwrap());
    }
}

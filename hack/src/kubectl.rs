//! The pinned kubectl.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// Kubectl, aimed at one kubeconfig.
#[derive(Clone, Debug)]
pub struct Kubectl {
    binary: PathBuf,
    kubeconfig: PathBuf,
    context: Option<String>,
    cache: PathBuf,
}

impl Kubectl {
    pub(crate) fn new(binary: &Path, kubeconfig: PathBuf, cache: PathBuf) -> Self {
        Self { binary: binary.to_path_buf(), kubeconfig, context: None, cache }
    }

    /// The same kubeconfig in another of its contexts.
    #[must_use]
    pub fn context(&self, name: &str) -> Self {
        Self { context: Some(name.to_owned()), ..self.clone() }
    }

    /// The command, for a caller who needs more than its output.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.env_remove("KUBECONFIG").env("KUBECACHEDIR", &self.cache);
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        if let Some(context) = &self.context {
            command.arg("--context").arg(context);
        }
        command.args(args);
        command
    }

    /// Runs it and returns what it printed.
    ///
    /// # Errors
    /// When kubectl fails; the message is kubectl's own.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        self.run_with_input(args, "")
    }

    /// Like [`Kubectl::run`], with `input` as standard input (`apply -f -`).
    ///
    /// # Errors
    /// When kubectl fails; the message is kubectl's own.
    pub fn run_with_input(&self, args: &[&str], input: &str) -> Result<String> {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", self.binary.display()))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A kubectl that refuses its arguments does not read: what it says then matters more than the broken pipe.
            drop(stdin.write_all(input.as_bytes()));
        }
        let output = child.wait_with_output().context("cannot wait for kubectl")?;
        if !output.status.success() {
            bail!("kubectl {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        String::from_utf8(output.stdout).context("kubectl's output is no text")
    }

    /// Like [`Kubectl::run`] with `-o json`.
    ///
    /// # Errors
    /// When kubectl fails, or prints something else than JSON.
    pub fn json(&self, args: &[&str]) -> Result<Value> {
        let text = self.run(&[args, &["-o", "json"]].concat())?;
        serde_json::from_str(&text).context("kubectl's output is no JSON")
    }
}

/// Repeats `attempt` until it succeeds; after `limit` the last error is what is reported.
pub(crate) fn retry<T>(limit: Duration, what: &str, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    const PAUSE: Duration = Duration::from_millis(300);
    let deadline = Instant::now() + limit;
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() > deadline => {
                return Err(error).with_context(|| format!("{what}: not within {} s", limit.as_secs()));
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

//! Compiling in a process of its own, which may take so much and no more.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::{CompileError, Compiler};
use crate::options::CodeOptions;
use crate::shown;

/// What one compilation may take.
#[derive(Debug, Clone, Copy)]
pub struct CompileLimits {
    /// Time on the clock.
    pub timeout: Duration,
    /// Time of the processor, in whole seconds. Linux only.
    pub cpu_seconds: u64,
    /// Address space, in bytes. Linux only.
    pub memory_bytes: u64,
    /// The compiled code, in bytes.
    pub code_bytes: usize,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(60),
            cpu_seconds: 60,
            memory_bytes: 2 << 30,
            code_bytes: 256 << 20,
        }
    }
}

/// Runs a program for each component: the component on its standard input, the code on its standard output. It exits with 0,
/// or with 1 and the reason on its standard error when the bytes are no component. The other side is
/// [`compile_standard_input`](super::compile_standard_input).
///
/// It gets no environment, cannot write a file, and the limits hold before it gets the first byte. When the future is dropped
/// it is killed.
#[derive(Debug, Clone)]
pub struct CompilerProcess {
    /// The program.
    pub program: PathBuf,
    /// Its arguments. `--fuel` follows them where [`CodeOptions::fuel`] is set.
    pub arguments: Vec<OsString>,
    /// What it may take.
    pub limits: CompileLimits,
}

/// How much of the reason is read.
const REASON_BYTES: u64 = 4 << 10;

#[async_trait]
impl Compiler for CompilerProcess {
    async fn compile(&self, component: Bytes, options: CodeOptions) -> Result<Vec<u8>, CompileError> {
        let mut child = self.spawn(options).map_err(CompileError::unavailable)?;
        limit(&child, &self.limits).map_err(CompileError::unavailable)?;
        let done = tokio::time::timeout(self.limits.timeout, converse(&mut child, &component, &self.limits));
        let (status, code, reason) = done.await.map_err(|_| CompileError::Timeout)??;
        match status.code() {
            Some(0) => Ok(code),
            Some(1) if !reason.is_empty() => {
                let reason = shown::line(String::from_utf8_lossy(&reason).trim());
                Err(CompileError::NotAComponent { reason })
            }
            _ => Err(CompileError::Ended { how: ended(status) }),
        }
    }
}

impl CompilerProcess {
    fn spawn(&self, options: CodeOptions) -> std::io::Result<Child> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).args(options.fuel.then_some("--fuel"));
        command.env_clear().current_dir("/").kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn()
    }
}

/// Limits a child that still waits for its input. From outside, because what runs between fork and exec must be `unsafe`.
#[cfg(target_os = "linux")]
fn limit(child: &Child, limits: &CompileLimits) -> std::io::Result<()> {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};

    let id = child.id().and_then(|id| i32::try_from(id).ok());
    // A child that has ended already says so by its status.
    let Some(pid) = id.and_then(Pid::from_raw) else { return Ok(()) };
    let most = [
        (Resource::Cpu, limits.cpu_seconds),
        (Resource::As, limits.memory_bytes),
        (Resource::Fsize, 0),
        (Resource::Core, 0),
    ];
    for (resource, most) in most {
        prlimit(Some(pid), resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}

/// Elsewhere only the clock bounds it.
#[cfg(not(target_os = "linux"))]
fn limit(_child: &Child, _limits: &CompileLimits) -> std::io::Result<()> {
    Ok(())
}

/// Writes and reads at the same time: a child that writes before it has read all would wait for us, and we for it.
async fn converse(
    child: &mut Child,
    component: &[u8],
    limits: &CompileLimits,
) -> Result<(ExitStatus, Vec<u8>, Vec<u8>), CompileError> {
    let input = child.stdin.take();
    let write = async move {
        if let Some(mut input) = input {
            // A child that does not want it all has ended or will, and its status says why.
            let _ = input.write_all(component).await;
        }
    };
    // One byte beyond what it may tells that there is more. The rest is not read, and the child fails on its write.
    let most = u64::try_from(limits.code_bytes).unwrap_or(u64::MAX).saturating_add(1);
    let (output, error) = (child.stdout.take(), child.stderr.take());
    let ((), code, reason) = tokio::join!(write, read(output, most), read(error, REASON_BYTES));
    let (code, reason) = (code?, reason?);
    if code.len() > limits.code_bytes {
        return Err(CompileError::CodeTooLarge { limit: limits.code_bytes });
    }
    let status = child.wait().await.map_err(CompileError::unavailable)?;
    Ok((status, code, reason))
}

async fn read(from: Option<impl AsyncRead + Unpin>, most: u64) -> Result<Vec<u8>, CompileError> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.take(most).read_to_end(&mut bytes).await.map_err(CompileError::unavailable)?;
    }
    Ok(bytes)
}

fn ended(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no status".to_owned(),
    }
}

//! The runner as a process, whose memory and log are its own.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use crate::support::get_from;

pub struct Process {
    child: Child,
    log: Arc<Mutex<String>>,
    pub public: SocketAddr,
    pub internal: SocketAddr,
}

impl Process {
    pub async fn start(registry: &str, args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_annex-runner"))
            .args(["--listen=127.0.0.1:0", "--internal-listen=127.0.0.1:0", "--log-format=json"])
            // A lookup of a busy machine is not what is tested here.
            .args(["--registry-base-url", registry, "--lookup-timeout-ms=20000"])
            .args(args)
            .env("RUST_LOG", "debug")
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::<Mutex<String>>::default();
        let (listening, listens) = oneshot::channel();
        let kept = log.clone();
        tokio::spawn(async move {
            let mut listening = Some(listening);
            while let Some(line) = lines.next_line().await.unwrap() {
                let said: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
                if said["message"] == "listening"
                    && let Some(listening) = listening.take()
                {
                    let address = |name: &str| said[name].as_str().unwrap().parse().unwrap();
                    let _ = listening.send((address("public"), address("internal")));
                }
                let mut kept = kept.lock().unwrap();
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        let listens: Result<(SocketAddr, SocketAddr), _> = listens.await;
        let (public, internal) =
            listens.unwrap_or_else(|_| panic!("it does not start: {}", log.lock().unwrap()));
        Self { child, log, public, internal }
    }

    /// All that it has written until now.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn forget_log(&self) {
        self.log.lock().unwrap().clear();
    }

    /// The bytes of real memory that it has now.
    pub fn memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id().unwrap())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() << 10
    }

    pub async fn metrics(&self) -> String {
        get_from(self.internal, "/metrics", "localhost").await.body
    }

    /// A counter of the metrics; 0 where there is none yet.
    pub async fn counted(&self, name: &str) -> u64 {
        let metrics = self.metrics().await;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |number| number.parse().unwrap())
    }

    /// Whether a line of the metrics is this one.
    pub async fn measures(&self, line: &str) -> bool {
        self.metrics().await.lines().any(|measured| measured == line)
    }
}

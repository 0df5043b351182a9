//! The binary: how it starts, and how it stops. The registry is a double.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the lints see tests only in the test functions themselves, not in what these share"
)]

mod support;

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use support::{Behaviour, IDENTITY, KNOWN, RegistryDouble, eventually, get_from};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

struct Process {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    public: SocketAddr,
    internal: SocketAddr,
}

fn command(registry: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_annex-runner"));
    command
        .args(["--listen=127.0.0.1:0", "--internal-listen=127.0.0.1:0", "--log-format=json"])
        .args(["--lookup-timeout-ms=60000"])
        .env("REGISTRY_BASE_URL", registry)
        .env_remove("RUST_LOG")
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

impl Process {
    async fn start(registry: &str) -> Self {
        let mut child = command(registry).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        loop {
            let line = log.next_line().await.unwrap().unwrap();
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            if line["message"] == "listening" {
                let address = |name: &str| line[name].as_str().unwrap().parse().unwrap();
                return Self { public: address("public"), internal: address("internal"), child, log };
            }
        }
    }

    async fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().await.unwrap().success());
    }

    async fn logged(&mut self, what: &str) {
        while let Some(line) = self.log.next_line().await.unwrap() {
            if line.contains(what) {
                return;
            }
        }
        panic!("never logged: {what}");
    }

    async fn ended(&mut self, within: Duration) -> bool {
        tokio::time::timeout(within, self.child.wait()).await.expect("it ends").unwrap().success()
    }
}

#[tokio::test]
async fn the_first_signal_lets_requests_end() {
    let registry = RegistryDouble::start(Behaviour::AnswersAfter(Duration::from_millis(1500))).await;
    for signal in ["TERM", "INT"] {
        let mut process = Process::start(&registry.url()).await;
        let before = registry.questions();
        let request = tokio::spawn(get_from(process.public, "/", KNOWN));
        eventually("the request is under way", async || registry.questions() > before).await;

        process.signal(signal).await;
        process.logged("asked to stop").await;
        eventually("new clients are refused", async || {
            tokio::net::TcpStream::connect(process.public).await.is_err()
        })
        .await;
        let ready = get_from(process.internal, "/readyz", "localhost").await;
        assert_eq!(ready.status, 503);
        assert!(ready.body.contains("stopping"), "{}", ready.body);

        assert_eq!(request.await.unwrap().body, IDENTITY);
        assert!(process.ended(Duration::from_secs(5)).await, "ends with success");
    }
}

#[tokio::test]
async fn the_second_signal_does_not() {
    let registry = RegistryDouble::start(Behaviour::NeverAnswers).await;
    let mut process = Process::start(&registry.url()).await;
    let request = tokio::spawn(get_from(process.public, "/", KNOWN));
    eventually("the request is under way", async || registry.questions() > 0).await;
    process.signal("TERM").await;
    process.logged("asked to stop").await;
    process.signal("TERM").await;
    assert!(!process.ended(Duration::from_secs(5)).await, "ends with failure");
    assert!(request.await.is_err(), "the request got no answer");
}

#[tokio::test]
async fn an_idle_runner_stops_at_once() {
    let registry = RegistryDouble::start(Behaviour::Answers).await;
    let mut process = Process::start(&registry.url()).await;
    let _idle = tokio::net::TcpStream::connect(process.public).await.unwrap();
    process.signal("TERM").await;
    assert!(process.ended(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let cases = [
        (vec!["--registry-base-url=ftp://r"], "neither http nor https"),
        (vec!["--listen=127.0.0.1:18080", "--internal-listen=127.0.0.1:18080"], "must not share"),
    ];
    for (arguments, message) in cases {
        let output = Command::new(env!("CARGO_BIN_EXE_annex-runner"))
            .args(&arguments)
            .env("REGISTRY_BASE_URL", "http://127.0.0.1:9")
            .output()
            .await
            .unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(message), "{said}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_annex-runner"))
        .env_remove("REGISTRY_BASE_URL")
        .output()
        .await
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("--registry-base-url"));
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_annex-runner"))
        .args(["--listen", &address, "--internal-listen=127.0.0.1:0"])
        .env("REGISTRY_BASE_URL", "http://127.0.0.1:9")
        .output()
        .await
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(&address) && said.contains("--listen"), "{said}");
}

//! The program while it runs.

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::guests::{GUEST, NOT_FOR_GUESTS, target};
use crate::http::{Answer, ask};

/// Longer than anything takes, a guest's first build on a busy machine included.
const DEADLINE: Duration = Duration::from_secs(300);

pub struct Dev {
    child: Child,
    said: Arc<Mutex<String>>,
    pub port: u16,
}

/// Waits until there is one.
pub fn eventually<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(Instant::now() < deadline, "did not happen: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub fn command(dir: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-annex"));
    command.args(["dev", "--port", "0"]).arg(dir).args(more);
    for name in NOT_FOR_GUESTS {
        command.env_remove(name);
    }
    command.env("CARGO_TARGET_DIR", target());
    // Of somebody who operates runners. What this one is set up with is not that.
    command
        .env("EXT_MEMORY_MAX_MIB", "1")
        .env("REGISTRY_CA_FILE", "/nonexistent")
        .env("EXT_STORAGE_URL", "nonsense");
    command
}

impl Dev {
    /// Started, and not waited for.
    pub fn begin(dir: &Path, more: &[&str]) -> Self {
        let mut command = command(dir, more);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::<Mutex<String>>::default();
        follow(child.stdout.take().unwrap(), said.clone());
        follow(child.stderr.take().unwrap(), said.clone());
        Self { child, said, port: 0 }
    }

    /// Started, and answering.
    pub fn start(dir: &Path, more: &[&str]) -> Self {
        let mut dev = Self::begin(dir, more);
        dev.port = dev.says_port();
        dev
    }

    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits until it has said this.
    pub fn says(&mut self, what: &str) -> String {
        let (said, child) = (self.said.clone(), &mut self.child);
        eventually(&format!("it says {what:?}"), || {
            let text = said.lock().unwrap().clone();
            let has_ended = child.try_wait().unwrap();
            assert!(has_ended.is_none() || text.contains(what), "it ended with {has_ended:?}: {text}");
            text.contains(what).then_some(text)
        })
    }

    fn says_port(&mut self) -> u16 {
        const BEFORE: &str = " answers at http://localhost:";
        let said = self.says("Ctrl-C ends it.");
        said.split_once(BEFORE).unwrap().1.split('/').next().unwrap().parse().unwrap()
    }

    pub fn get(&self, path: &str) -> Answer {
        ask(self.port, "GET", path, &[], "")
    }

    /// The obedient guest's answer.
    pub fn guest(&self, path: &str) -> Answer {
        self.get(&format!("/api/ext/{GUEST}{path}"))
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// As Ctrl-C does, to this process alone.
    pub fn interrupt(mut self) -> (ExitStatus, String) {
        let sent = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let child = &mut self.child;
        let status = eventually("it ends", || child.try_wait().unwrap());
        (status, self.said())
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // Of a test that failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.said());
        }
    }
}

fn follow(from: impl Read + Send + 'static, said: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut said = said.lock().unwrap();
            said.push_str(&line);
            said.push('\n');
        }
    });
}

//! A server of PostgreSQL of the tests' own: in a temporary folder, reached by a socket in it only, under a user who may nothing.
//!
//! For tests: whatever goes wrong is a panic, which is how a test fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "all of it is test: a panic is how a test fails"
)]

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tempfile::TempDir;
use tokio::sync::Mutex;

/// Nobody. PostgreSQL refuses to run as root.
const NOBODY: u32 = 65534;
const USER: &str = "annex";
/// The administrator's password: what must never be in a log.
pub const PASSWORD: &str = "hunter2-hunter2";

/// Ends the server when its own standard input ends: so it ends with the test, however that ends.
const GUARD: &str =
    r#""$0" "$@" & pid=$!; echo $pid; read -r _; kill -CONT $pid; kill -QUIT $pid; wait $pid"#;

/// A server, with its folder. Both go when it is dropped.
#[derive(Debug)]
pub struct Server {
    folder: TempDir,
    programs: PathBuf,
    running: Option<Running>,
    databases: AtomicU32,
}

#[derive(Debug)]
struct Running {
    guard: Child,
    pid: i32,
}

impl Server {
    /// The server of all tests that do not harm it. It ends with the last of them.
    pub async fn shared() -> Arc<Self> {
        static SHARED: Mutex<std::sync::Weak<Server>> = Mutex::const_new(std::sync::Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(server) = shared.upgrade() {
            return server;
        }
        let mut server = Self::stopped();
        server.start().await;
        let server = Arc::new(server);
        *shared = Arc::downgrade(&server);
        server
    }

    /// A server that does not run yet.
    pub fn stopped() -> Self {
        let programs = programs();
        let folder = TempDir::with_prefix("annex-postgres-").unwrap();
        fs::write(folder.path().join("password"), PASSWORD).unwrap();
        if geteuid().is_root() {
            for path in [folder.path().to_owned(), folder.path().join("password")] {
                chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let this = Self { folder, programs, running: None, databases: AtomicU32::new(0) };
        let mut command = this.command("initdb");
        command.args(["--encoding=UTF8", "--locale=C", "--auth=scram-sha-256", "--no-sync"]);
        command
            .arg(format!("--username={USER}"))
            .arg(format!("--pwfile={}", this.path("password").display()));
        command.arg(format!("--pgdata={}", this.path("data").display()));
        let made = command.output().unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        self.prepare(&mut command);
        command
    }

    fn prepare(&self, command: &mut Command) {
        // Not the tests' own folder, which the other user may not even enter.
        command.current_dir(self.folder.path()).env("LC_ALL", "C");
        if geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
    }

    /// Starts it, and waits until it answers.
    pub async fn start(&mut self) {
        assert!(self.running.is_none(), "it runs already");
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = Command::new("/bin/sh");
        self.prepare(&mut command);
        command.args(["-c", GUARD]).arg(self.programs.join("postgres"));
        command.arg("-D").arg(self.path("data")).arg("-k").arg(self.folder.path());
        for setting in ["listen_addresses=", "fsync=off", "max_connections=90", "shared_buffers=32MB"] {
            command.args(["-c", setting]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut guard = command.spawn().unwrap();
        let mut pid = String::new();
        BufReader::new(guard.stdout.take().unwrap()).read_line(&mut pid).unwrap();
        let pid = pid.trim().parse().unwrap();
        self.running = Some(Running { guard, pid });
        until("PostgreSQL answers", async || {
            if !Path::new(&format!("/proc/{pid}")).exists() {
                panic!("postgres ended: {}", fs::read_to_string(self.path("log")).unwrap_or_default());
            }
            match self.connect("postgres").await {
                Ok(connection) => connection.close().await.is_ok(),
                Err(_) => false,
            }
        })
        .await;
    }

    async fn connect(&self, database: &str) -> sqlx::Result<PgConnection> {
        let options: sqlx::postgres::PgConnectOptions = self.url(database, PASSWORD).parse()?;
        // There are passwords in them.
        options.disable_statement_logging().connect().await
    }

    /// The folder with the socket by which it is reached.
    pub fn socket_folder(&self) -> &Path {
        self.folder.path()
    }

    /// The URL of a database.
    pub fn url(&self, database: &str, password: &str) -> String {
        format!("postgres://{USER}:{password}@localhost/{database}?host={}", self.folder.path().display())
    }

    /// Makes an empty database and answers its URL.
    pub async fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.execute("postgres", format!("CREATE DATABASE {name}")).await;
        self.url(&name, PASSWORD)
    }

    /// Does something as the administrator.
    pub async fn execute(&self, database: &str, sql: String) {
        let mut connection = self.connect(database).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// All of its processes go on existing and do nothing, as on a machine that hangs.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// They go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Ends all of its processes at once, as a power cut would, and waits until they have gone.
    pub async fn crash(&mut self) {
        let pids = self.signal(Signal::KILL);
        until("PostgreSQL has gone", async || {
            pids.iter().all(|pid| state(*pid).is_none_or(|(_, state)| state == "Z"))
        })
        .await;
        drop(self.running.take());
    }

    // The parent first: it is to start no more children.
    fn signal(&self, signal: Signal) -> Vec<i32> {
        let parent = self.running.as_ref().unwrap().pid;
        send(parent, signal);
        let mut pids = vec![parent];
        for pid in children(parent) {
            send(pid, signal);
            pids.push(pid);
        }
        pids
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        self.guard.wait().unwrap();
    }
}

fn send(pid: i32, signal: Signal) {
    match kill_process(Pid::from_raw(pid).unwrap(), signal) {
        // It ended by itself.
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => panic!("cannot signal process {pid}: {error}"),
    }
}

fn children(parent: i32) -> Vec<i32> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| state(*pid).is_some_and(|(its_parent, _)| its_parent == parent)).collect()
}

/// The parent and the state of a process, from `/proc/PID/stat`; its second field may hold anything.
fn state(pid: i32) -> Option<(i32, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.to_owned();
    Some((fields.next()?.parse().ok()?, state))
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}: not within 30 seconds");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The folder with PostgreSQL's programs: where `postgres` in PATH leads to, else where Debian has them, the newest.
fn programs() -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let in_path = env::split_paths(&path)
        .filter_map(|folder| fs::canonicalize(folder.join("postgres")).ok())
        .filter_map(|file| file.parent().map(Path::to_owned));
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    versions.sort();
    let both = |folder: &PathBuf| ["postgres", "initdb"].iter().all(|program| folder.join(program).is_file());
    in_path.chain(versions.into_iter().rev()).find(both).expect(
        "these tests need a server of PostgreSQL, and there is none: `postgres` and `initdb` are neither in PATH nor in \
         /usr/lib/postgresql. Install it (Debian and Ubuntu: `apt-get install postgresql`), or run `cargo xtask test` as root, \
         which does",
    )
}

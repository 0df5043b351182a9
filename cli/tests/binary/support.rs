//! What the tests share.

use std::path::{Path, PathBuf};

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the binary with nothing of this machine's own kubeconfig in reach.
pub(crate) async fn run(arguments: &[&str]) -> Ended {
    run_in(Path::new("."), arguments).await
}

/// The same in a folder.
pub(crate) async fn run_in(folder: &Path, arguments: &[&str]) -> Ended {
    end(command(folder).env("HOME", "/nonexistent").args(arguments)).await
}

/// The binary, without what the cargo that runs the tests says to what it starts: it would be another toolchain than the project's own.
pub(crate) fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-annex"));
    command.current_dir(folder).env_remove("KUBECONFIG").env_remove("ANNEX_REGISTRY_URL");
    for name in
        ["RUSTUP_TOOLCHAIN", "CARGO", "RUSTC", "RUSTFLAGS", "CARGO_TARGET_DIR", "CARGO_ENCODED_RUSTFLAGS"]
    {
        command.env_remove(name);
    }
    command
}

pub(crate) async fn end(command: &mut Command) -> Ended {
    let output = command.output().await.unwrap();
    Ended {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Ended {
    /// It did what was asked, and this is what it said.
    pub(crate) fn done(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        self.stdout
    }

    /// It did not, with this exit code and one line that has this in it.
    pub(crate) fn refused(self, code: i32, says: &str) {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        assert!(self.stderr.starts_with("error: ") && self.stderr.contains(says), "{}", self.stderr);
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
    }
}

/// A kubeconfig for a server, with context `acme` whose namespace is `team`.
pub(crate) fn kubeconfig(name: &str, server: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.kubeconfig"));
    let content = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "t0ken"}}],
        "contexts": [{"name": "acme", "context": {"cluster": "c", "user": "u", "namespace": "team"}}],
        "current-context": "acme",
    });
    std::fs::write(&path, content.to_string()).unwrap();
    path
}

/// What an API server says where it refuses.
pub(crate) fn status(code: u16, reason: &str, message: &str, details: Value) -> Response {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "code": code, "reason": reason, "message": message, "details": details,
    });
    (StatusCode::from_u16(code).unwrap(), axum::Json(body)).into_response()
}

/// The least that is a component.
pub(crate) const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// A folder with the project `notes`, whose guest is built already, and keys.
pub(crate) struct Publisher {
    pub(crate) folder: TempDir,
}

impl Publisher {
    pub(crate) async fn new() -> Self {
        let publisher = Self { folder: tempfile::tempdir().unwrap() };
        publisher.run(&["init", "notes"]).await.done();
        publisher.write("done.wasm", COMPONENT);
        publisher
    }

    /// With an archive that is signed.
    pub(crate) async fn signed() -> Self {
        let publisher = Self::new().await;
        publisher.bundle("notes.tar.zst").await.done();
        publisher.run(&["keygen", "-o", "my.key", "--publisher", "example.com"]).await.done();
        publisher.run(&["sign", "notes.tar.zst", "--key", "my.key"]).await.done();
        publisher
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Ended {
        run_in(self.folder.path(), arguments).await
    }

    pub(crate) async fn bundle(&self, output: &str) -> Ended {
        self.run(&["bundle", "notes", "--component", "done.wasm", "-o", output]).await
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }
}

//! Components, each built once, and projects around them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};
use tempfile::TempDir;

pub const GUEST: &str = "com.example.guest";

/// The sample extension: it keeps notes.
pub fn notes() -> &'static [u8] {
    static COMPONENT: OnceLock<Vec<u8>> = OnceLock::new();
    COMPONENT.get_or_init(|| build("samples/notes/guest", "annex_sample_notes"))
}

/// The engine's guest: it does what the path of a request says.
pub fn obedient() -> &'static [u8] {
    static COMPONENT: OnceLock<Vec<u8>> = OnceLock::new();
    COMPONENT.get_or_init(|| build("engine/tests/guests", "annex_engine_guests"))
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Where guests are built, so that what they depend on is compiled once for all of them.
pub fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests")
}

/// What the cargo that runs the tests says to what it starts: it would be another toolchain than a guest's own.
pub const NOT_FOR_GUESTS: [&str; 7] = [
    "RUSTUP_TOOLCHAIN",
    "CARGO",
    "RUSTC",
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "CARGO_BUILD_TARGET",
];

fn build(folder: &str, name: &str) -> Vec<u8> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(root().join(folder)).args([
        "build",
        "--release",
        "--locked",
        "--target",
        "wasm32-wasip2",
    ]);
    cargo.arg("--target-dir").arg(target());
    for name in NOT_FOR_GUESTS {
        cargo.env_remove(name);
    }
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::read(target().join(format!("wasm32-wasip2/release/{name}.wasm"))).unwrap()
}

/// A folder with a project in it.
pub struct Project(pub TempDir);

impl Project {
    pub fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Manifest and page of the sample, and its guest, built already.
    pub fn notes() -> Self {
        let project = Self::empty();
        let sample = root().join("samples/notes");
        project.write("manifest.json", &fs::read(sample.join("manifest.json")).unwrap());
        for entry in fs::read_dir(sample.join("ui")).unwrap() {
            let entry = entry.unwrap();
            project.write(&format!("ui/{}", entry.file_name().display()), &fs::read(entry.path()).unwrap());
        }
        project.write("main.wasm", notes());
        project
    }

    /// The guest that does what it is told, with every capability.
    pub fn obedient() -> Self {
        let project = Self::empty();
        project.write("manifest.json", obedient_manifest().to_string().as_bytes());
        project.write("main.wasm", obedient());
        project
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap()
    }

    pub fn write(&self, path: &str, bytes: &[u8]) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), bytes).unwrap();
    }
}

pub fn obedient_manifest() -> Value {
    json!({
        "name": GUEST, "publisher": "example.com", "version": "1.0.0",
        "capabilities": ["storage.kv", "secrets", "log", "metrics", "context", "http.fetch"],
        "egress": ["api.example.com"],
        "endpoints": [
            { "method": "GET", "path": "/{*path}", "handler": "any" },
            { "method": "POST", "path": "/echo", "handler": "echo" },
        ],
        "parametersSchema": { "type": "object", "properties": { "colour": { "enum": ["red", "blue"] } } },
    })
}

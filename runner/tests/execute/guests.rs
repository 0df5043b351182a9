//! Components, each built once.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{LazyLock, OnceLock},
};

/// The sample extension: it keeps notes.
pub fn notes() -> &'static [u8] {
    static COMPONENT: OnceLock<Vec<u8>> = OnceLock::new();
    COMPONENT.get_or_init(|| build("samples/notes/guest", "annex_sample_notes"))
}

/// The engine's guest: it does what the path of a request says.
pub fn hostile() -> &'static [u8] {
    static COMPONENT: OnceLock<Vec<u8>> = OnceLock::new();
    COMPONENT.get_or_init(|| build("engine/tests/guests", "annex_engine_guests"))
}

/// The guide's example of each capability.
pub fn capabilities() -> &'static [u8] {
    static COMPONENT: OnceLock<Vec<u8>> = OnceLock::new();
    COMPONENT.get_or_init(|| build("samples/capabilities/guest", "annex_sample_capabilities"))
}

/// What `kubectl annex init` begins with, as a folder of its own.
pub fn new_project() -> &'static Path {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let templates = root().join("cli/templates/guest");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("new-project");
        fs::create_dir_all(folder.join("src")).unwrap();
        for file in ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml"] {
            fs::copy(templates.join(format!("{file}.template")), folder.join(file)).unwrap();
        }
        for file in ["src/lib.rs", "src/answer.rs"] {
            fs::copy(templates.join(file), folder.join(file)).unwrap();
        }
        folder
    });
    &FOLDER
}

pub fn new_projects_component() -> Vec<u8> {
    build_in(new_project(), "guest")
}

/// Runs the tests that a guest has itself, which need no host. How many passed.
pub fn own_tests(folder: &Path) -> usize {
    cargo(folder, &["test", "--locked"]).matches(" ... ok\n").count()
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn build(folder: &str, name: &str) -> Vec<u8> {
    build_in(&root().join(folder), name)
}

fn build_in(folder: &Path, name: &str) -> Vec<u8> {
    install_target(folder);
    cargo(folder, &["build", "--release", "--locked", "--target", "wasm32-wasip2"]);
    fs::read(target().join(format!("wasm32-wasip2/release/{name}.wasm"))).unwrap()
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests")
}

/// What it said on its standard output.
fn cargo(folder: &Path, arguments: &[&str]) -> String {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(folder).args(arguments).arg("--target-dir").arg(target());
    // Flags for this machine's code are none for a guest's.
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("CARGO_BUILD_TARGET");
    let output = cargo.output().unwrap();
    let [said, errors] =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert!(output.status.success(), "{said}{errors}");
    said
}

/// The folder's toolchain may lack the target. Without rustup, what is there has to do.
fn install_target(folder: &Path) {
    let mut rustup = Command::new("rustup");
    let _ = rustup.current_dir(folder).args(["target", "add", "wasm32-wasip2"]).output();
}

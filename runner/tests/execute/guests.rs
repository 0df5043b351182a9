//! Components, each built once.

use std::{path::Path, process::Command, sync::OnceLock};

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

fn build(folder: &str, name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests");
    install_target(&folder);
    let mut cargo = Command::new("cargo");
    cargo.current_dir(&folder).args(["build", "--release", "--locked", "--target", "wasm32-wasip2"]);
    cargo.arg("--target-dir").arg(&target);
    // Flags for this machine's code are none for a guest's.
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("CARGO_BUILD_TARGET");
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(target.join(format!("wasm32-wasip2/release/{name}.wasm"))).unwrap()
}

/// The folder's toolchain may lack the target. Without rustup, what is there has to do.
fn install_target(folder: &Path) {
    let mut rustup = Command::new("rustup");
    let _ = rustup.current_dir(folder).args(["target", "add", "wasm32-wasip2"]).output();
}

//! The guest of `tests/guests`, built once.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use bytes::Bytes;

/// The component. It does what the path of a request says.
pub fn component() -> Bytes {
    static COMPONENT: OnceLock<Bytes> = OnceLock::new();
    COMPONENT.get_or_init(build).clone()
}

fn build() -> Bytes {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests");
    install_target(&folder);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(&folder).args(["build", "--release", "--locked", "--target", "wasm32-wasip2"]);
    cargo.arg("--target-dir").arg(&target);
    // Flags for this machine's code are none for a guest's.
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("CARGO_BUILD_TARGET");
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(target.join("wasm32-wasip2/release/annex_engine_guests.wasm")).unwrap().into()
}

/// `rust-toolchain.toml` names the target, and rustup installs it together with the toolchain, but not into a toolchain that was
/// there before.
fn install_target(folder: &Path) {
    let mut rustup = Command::new("rustup");
    rustup.current_dir(folder).args(["target", "add", "wasm32-wasip2"]).env_remove("RUSTUP_TOOLCHAIN");
    // Without rustup the target has to be there.
    if let Ok(output) = rustup.output() {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

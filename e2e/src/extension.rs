use std::{
    path::{Path, PathBuf},
    process::Command,
};

use annex_bundle::{Limits, Unpacked, pack_files};
use anyhow::{Context as _, bail};
use serde_json::Value;
use xtask::Stack;

/// The sample extension's name.
pub const NOTES: &str = "com.example.notes";

/// Its endpoints, for an Install that lets everybody call them.
pub const NOTES_ENDPOINTS: [&str; 4] = ["GET /notes", "POST /notes", "PUT /notes/{id}", "DELETE /notes/{id}"];

/// A folder of the checkout.
#[must_use]
pub fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The component that a crate for guests makes, such as `engine/tests/guests`.
///
/// # Errors
/// It does not compile.
pub fn component(crate_folder: &str, name: &str) -> anyhow::Result<Vec<u8>> {
    let folder = folder(crate_folder);
    // A folder's toolchain is installed with the targets that it names, but not into one that was there before.
    let _ = Command::new("rustup").current_dir(&folder).args(["target", "add", "wasm32-wasip2"]).output();
    let target = std::env::temp_dir().join("annex-e2e-guests");
    let mut cargo = Command::new("cargo");
    cargo.current_dir(&folder).args(["build", "--release", "--locked", "--target", "wasm32-wasip2"]);
    cargo.arg("--target-dir").arg(&target);
    // Flags for this machine's code are none for a guest's.
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("CARGO_BUILD_TARGET");
    let output = cargo.output()?;
    if !output.status.success() {
        bail!("{crate_folder}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(std::fs::read(target.join(format!("wasm32-wasip2/release/{name}.wasm")))?)
}

/// The archive of an extension without pages, and what is in it.
///
/// # Errors
/// They make none.
pub fn packed_with(manifest: &Value, component: &[u8]) -> anyhow::Result<(Vec<u8>, Unpacked)> {
    let manifest = manifest.to_string();
    let files: [(&str, &[u8]); 2] = [("manifest.json", manifest.as_bytes()), ("main.wasm", component)];
    let mut archive = Vec::new();
    let unpacked = pack_files(files, &Limits::default(), &mut archive)?;
    Ok((archive, unpacked))
}

/// Builds, signs and publishes the sample with a page, as its README says, by a user who may publish.
///
/// # Errors
/// A command fails; the error has what it said.
pub fn publish_notes(stack: &Stack, kubeconfig: &Path) -> anyhow::Result<()> {
    publish_sample(stack, kubeconfig, "samples/notes")
}

/// The same for the folder of any sample.
///
/// # Errors
/// As there.
pub fn publish_sample(stack: &Stack, kubeconfig: &Path, sample: &str) -> anyhow::Result<()> {
    let work = tempfile::tempdir()?;
    let key = stack.paths().publisher_key().display().to_string();
    let sample = folder(sample).display().to_string();
    for args in [
        ["bundle", &sample, "-o", "sample.tar.zst"].as_slice(),
        &["sign", "sample.tar.zst", "--key", &key],
        &["publish", "sample.tar.zst"],
    ] {
        kubectl_annex(stack, kubeconfig, work.path(), args)?;
    }
    Ok(())
}

/// What a publisher types.
///
/// # Errors
/// The command fails; the error has what it said.
pub fn kubectl_annex(
    stack: &Stack,
    kubeconfig: &Path,
    folder: &Path,
    args: &[&str],
) -> anyhow::Result<String> {
    let program = stack.plugin_folder().context("the plugin is built")?.join("kubectl-annex");
    let output = Command::new(program)
        .args(args)
        .current_dir(folder)
        .env("KUBECONFIG", kubeconfig)
        .env("ANNEX_REGISTRY_URL", stack.registry_url()?)
        .output()?;
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        bail!("{args:?}: {said}");
    }
    Ok(said)
}

//! Builds a guest with cargo.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde::Deserialize;

use crate::outcome::Failure;
use crate::shell::quoted;

/// What components are built for.
const TARGET: &str = "wasm32-wasip2";

/// Builds the crate in `folder` and says where its component is. Cargo itself shows how far it is.
pub(super) fn build(folder: &Path) -> Result<PathBuf, Failure> {
    let run = |mut command: Command| command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    check_target(folder, run(target_question(folder)))?;
    component(folder, run(cargo(folder)))
}

/// What builds the crate in `folder`. What it prints is for [`component`].
pub(crate) fn cargo(folder: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(folder).args(["build", "--release", "--target", TARGET]);
    // What was committed is what is built, or the same sources would not give the same component.
    if folder.join("Cargo.lock").exists() {
        cargo.arg("--locked");
    }
    cargo.args(["--config", &without_paths(folder)]);
    // The messages say where the component is, whatever target directory a person has configured.
    cargo.arg("--message-format=json-render-diagnostics");
    cargo
}

/// Where the component is, by how [`cargo`] ended.
pub(crate) fn component(folder: &Path, ended: io::Result<Output>) -> Result<PathBuf, Failure> {
    let output = ended.map_err(|error| not_run("cargo", &error))?;
    if !output.status.success() {
        return Err(Failure::Refused(format!(
            "the guest in {} does not build: cargo ended with {}, see above",
            folder.display(),
            output.status
        )));
    }
    match components(&String::from_utf8_lossy(&output.stdout)).as_slice() {
        [component] => Ok(component.clone()),
        [] => Err(Failure::Refused(format!(
            "the guest in {} gives no component: its Cargo.toml needs crate-type = [\"cdylib\"] in [lib]",
            folder.display()
        ))),
        several => Err(Failure::Refused(format!(
            "the guest in {} gives {} components; say which is meant with --component",
            folder.display(),
            several.len()
        ))),
    }
}

/// Asks for the target's library, because Rust says of a missing target only that it can't find crate `core`.
///
/// With rustup this is also what installs the toolchain and the target that the project's rust-toolchain.toml names.
pub(crate) fn target_question(folder: &Path) -> Command {
    let mut rustc = Command::new("rustc");
    rustc.current_dir(folder).args(["--print", "target-libdir", "--target", TARGET]);
    rustc
}

/// Whether the target is there, by how [`target_question`] ended.
pub(crate) fn check_target(folder: &Path, ended: io::Result<Output>) -> Result<(), Failure> {
    let output = ended.map_err(|error| not_run("rustc", &error))?;
    let library = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if output.status.success() && library.is_dir() {
        return Ok(());
    }
    let folder = quoted(&folder.display().to_string());
    Err(Failure::Unable(if output.status.success() {
        format!(
            "the Rust toolchain in use has no target {TARGET}; install it: (cd {folder} && rustup target add {TARGET})"
        )
    } else {
        format!(
            "the Rust toolchain of {folder} cannot be used: rustc ended with {}, see above",
            output.status
        )
    }))
}

fn not_run(program: &str, error: &io::Error) -> Failure {
    Failure::Unable(if error.kind() == io::ErrorKind::NotFound {
        format!(
            "{program} is not on the PATH; install Rust with rustup (https://rustup.rs), or give a component with --component"
        )
    } else {
        format!("running {program} failed: {error}")
    })
}

/// Configuration that keeps the places of this machine out of what panics say, and so out of the component.
///
/// As configuration and not in RUSTFLAGS, because it adds to the flags that a project has in its own.
fn without_paths(folder: &Path) -> String {
    let absolute = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let cargo_home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let mut flags = vec![remap(&absolute(folder), "/guest")];
    flags.extend(cargo_home.map(|home| remap(&absolute(&home), "/cargo")));
    // A text in JSON is one in TOML.
    let flags: Vec<_> = flags.into_iter().map(|flag| serde_json::Value::from(flag).to_string()).collect();
    format!("target.{TARGET}.rustflags=[{}]", flags.join(","))
}

fn remap(from: &Path, to: &str) -> String {
    format!("--remap-path-prefix={}={to}", from.display())
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    target: Target,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

#[derive(Default, Deserialize)]
struct Target {
    #[serde(default)]
    crate_types: Vec<String>,
}

/// The components that cargo reports.
fn components(messages: &str) -> Vec<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| message.target.crate_types.iter().any(|kind| kind == "cdylib"))
        .flat_map(|message| message.filenames)
        .filter(|path| path.extension().is_some_and(|extension| extension == "wasm"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cargos_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"crate_types":["lib"]},"filenames":["/t/libwasip2.rlib"]}"#,
            "\nnot json\n",
            r#"{"reason":"compiler-artifact","target":{"crate_types":["cdylib","rlib"]},"filenames":["/t/guest.wasm","/t/libguest.rlib"]}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(components(messages), [PathBuf::from("/t/guest.wasm")]);
    }

    #[test]
    fn the_places_of_this_machine_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("a \"b\"");
        std::fs::create_dir(&odd).unwrap();
        let config = without_paths(&odd);
        assert!(config.starts_with("target.wasm32-wasip2.rustflags=[\"--remap-path-prefix=/"), "{config}");
        assert!(config.contains(r#"a \"b\"=/guest""#), "{config}");
    }
}

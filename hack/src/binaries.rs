//! Annex's own programs, built from this checkout.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::checkout::Checkout;
use crate::compute::STATIC_TARGET;
use crate::part::Part;

const PACKAGES: [&str; 6] = [
    "annex-initializer",
    "annex-controller",
    "annex-registry",
    "annex-gateway",
    "annex-runner",
    "kubectl-annex",
];

/// Lets tests have flows fail and stop where they want it. No release is built with it.
pub(crate) const FAULTS: &str = "annex-controller/fault-injection";

/// Where cargo put the programs.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    programs: BTreeMap<String, PathBuf>,
}

impl Binaries {
    /// Builds them; cargo itself shows how far it is.
    pub(crate) fn build(checkout: &Checkout, release: bool) -> Result<Self> {
        let programs = if release {
            let mut args = vec!["--bins", "--release"];
            args.extend(PACKAGES.iter().flat_map(|package| ["--package", package]));
            build(checkout, &args)
        } else {
            let mut args = vec!["--features", FAULTS];
            args.extend(PACKAGES.iter().flat_map(|program| ["--bin", program]));
            build_as_tests(checkout, &args)
        }
        .context("the services do not compile: see above")?;
        for package in PACKAGES {
            if !programs.contains_key(package) {
                bail!("package {package} has no program of that name");
            }
        }
        Ok(Self { programs })
    }

    /// The program of a service. None for kcp and the ingress, which are not ours.
    pub(crate) fn service(&self, part: Part) -> Option<&Path> {
        let name = match part {
            Part::Kcp | Part::Ingress => return None,
            Part::Runner => "annex-runner",
            Part::Initializer => "annex-initializer",
            Part::Controller => "annex-controller",
            Part::Registry => "annex-registry",
            Part::Gateway => "annex-gateway",
        };
        self.programs.get(name).map(PathBuf::as_path)
    }

    /// The folder to have in PATH for `kubectl annex`.
    pub(crate) fn plugin_folder(&self) -> Option<&Path> {
        self.programs.get("kubectl-annex").and_then(|path| path.parent())
    }
}

/// Builds an example of a package and returns its program, for a test that runs what a document shows.
///
/// # Errors
/// It does not compile, or there is none of that name.
pub fn example(package: &str, name: &str) -> Result<PathBuf> {
    program(&Checkout::find()?, "--example", name).with_context(|| format!("example {name} of {package}"))
}

/// Builds what cargo's option `kind` names, and returns its program.
pub(crate) fn program(checkout: &Checkout, kind: &str, name: &str) -> Result<PathBuf> {
    build_as_tests(checkout, &[kind, name])
        .with_context(|| format!("{name} does not compile"))?
        .remove(name)
        .with_context(|| format!("no package has a program {name}"))
}

/// An example with optimisation, for a bench.
pub(crate) fn optimised_example(checkout: &Checkout, package: &str, name: &str) -> Result<PathBuf> {
    build(checkout, &["--package", package, "--example", name, "--release"])
        .with_context(|| format!("example {name} of {package} does not compile"))?
        .remove(name)
        .with_context(|| format!("package {package} has no example {name}"))
}

/// Builds a package's program with optimisation, for a bench.
pub(crate) fn optimised(checkout: &Checkout, package: &str) -> Result<PathBuf> {
    build(checkout, &["--package", package, "--bins", "--release"])
        .with_context(|| format!("{package} does not compile"))?
        .remove(package)
        .with_context(|| format!("package {package} has no program of its name"))
}

/// Builds the component of a folder, a workspace of its own, whose library is called `name`.
pub(crate) fn guest(checkout: &Checkout, folder: &str, name: &str) -> Result<PathBuf> {
    const TARGET: &str = "wasm32-wasip2";
    let (folder, target) = (checkout.join(folder), checkout.join("target/guests"));
    add_target(&folder, TARGET)?;
    let mut cargo = checkout.cargo();
    cargo
        .current_dir(&folder)
        .args(["build", "--release", "--locked", "--target", TARGET, "--target-dir"])
        .arg(&target);
    // Flags for this machine's code are none for a guest's.
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("CARGO_BUILD_TARGET");
    let status = cargo.status().context("cannot run cargo")?;
    if !status.success() {
        bail!("the guest in {} does not compile", checkout.display(&folder));
    }
    Ok(target.join(TARGET).join("release").join(format!("{name}.wasm")))
}

/// Builds programs that need no system around them, and returns where they are.
pub(crate) fn build_static(
    checkout: &Checkout,
    packages: &[&str],
    release: bool,
) -> Result<BTreeMap<String, PathBuf>> {
    add_static_target(checkout)?;
    run(static_build(checkout, packages, release))
        .context("the programs for images do not compile: see above")
}

/// What builds them.
pub(crate) fn static_build(checkout: &Checkout, packages: &[&str], release: bool) -> Command {
    let mut args = vec!["--bins", "--target", STATIC_TARGET];
    args.extend(packages.iter().flat_map(|package| ["--package", package]));
    if release {
        args.push("--release");
    }
    let mut command = cargo_build(checkout, &args);
    // Nobody who builds for this machine waits for it, nor it for them.
    command.arg("--target-dir").arg(checkout.join("target/static"));
    command
}

/// Has rustup install what [`build_static`] builds for.
pub(crate) fn add_static_target(checkout: &Checkout) -> Result<()> {
    add_target(checkout.root(), STATIC_TARGET)
}

fn add_target(folder: &Path, target: &str) -> Result<()> {
    let mut add = Command::new("rustup");
    // Rustup installs what rust-toolchain.toml names together with the toolchain, and not when the list has grown later.
    // Who has no rustup has to have the target.
    let added = add.args(["target", "add", target]).current_dir(folder).output();
    match added {
        Ok(output) if !output.status.success() => {
            bail!("rustup target add {target}: {}", String::from_utf8_lossy(&output.stderr).trim())
        }
        _ => Ok(()),
    }
}

/// Builds with the dependencies that `cargo test --workspace` compiles: cargo gives them the features of the packages that are
/// selected, and those of tests where a test is. With another selection each of them, the sandbox's compiler too, would be
/// compiled and kept a second time.
fn build_as_tests(checkout: &Checkout, targets: &[&str]) -> Result<BTreeMap<String, PathBuf>> {
    const A_SMALL_TEST: [&str; 3] = ["--workspace", "--test", "documents"];
    build(checkout, &[&A_SMALL_TEST, targets].concat())
}

/// Names and paths of the programs that `cargo build` with these arguments makes.
fn build(checkout: &Checkout, args: &[&str]) -> Result<BTreeMap<String, PathBuf>> {
    run(cargo_build(checkout, args))
}

fn cargo_build(checkout: &Checkout, args: &[&str]) -> Command {
    let mut command = checkout.cargo();
    // The messages say where the programs are, whatever target directory a person has configured.
    command.args(["build", "--message-format=json-render-diagnostics"]).args(args);
    command
}

fn run(mut command: Command) -> Result<BTreeMap<String, PathBuf>> {
    let output = command.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("cargo build ended with {}", output.status);
    }
    Ok(executables(&String::from_utf8_lossy(&output.stdout)))
}

/// Names and paths of the programs that cargo reports.
fn executables(messages: &str) -> BTreeMap<String, PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| {
            let path = message.get("executable")?.as_str()?;
            let name = message.pointer("/target/name")?.as_str()?;
            Some((name.to_owned(), PathBuf::from(path)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cargos_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"annex_core"},"executable":null}"#,
            "\nnot json\n",
            r#"{"reason":"compiler-artifact","target":{"name":"annex-runner"},"executable":"/t/annex-runner"}"#,
        );
        let programs = executables(messages);
        assert_eq!(
            programs.into_iter().collect::<Vec<_>>(),
            [("annex-runner".to_owned(), "/t/annex-runner".into())]
        );
    }
}

//! `cargo xtask bench NAME`: figures, as ratios within one run.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use crate::binaries;
use crate::checkout::Checkout;
use crate::compute::machine;
use crate::guard;
use crate::interrupt::Interrupts;
use crate::progress::note;
use crate::tools;

/// The peer of our runner: of the same release as the wasmtime that is in it.
const WASMTIME: &str = "48.0.8";

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Bench {
    /// How much the seed adds to the time until a new workspace is ready
    Seed,
    /// How many installs get ready in a second, and what each costs
    Install,
    /// What an upgrade that changes one module of five writes and calls beside a reinstall, and how many flows end in a second
    Flows,
    /// What Annex adds to the time until a domain answers through Envoy
    Knative,
    /// What kube-kcp costs, and what a noisy workspace costs the others
    Kcp,
    /// What verifying and unpacking a bundle costs beside `zstd -d` and `sha256sum`, and what a lookup costs
    Bundle,
    /// What a call costs in a runner beside `wasmtime serve`, a file beside nginx, and an honest tenant's call beside hostile ones
    Runner,
}

/// Measures; the last line of the output is JSON. Nothing stays running.
pub(crate) fn run(bench: Bench) -> Result<()> {
    let checkout = Checkout::find()?;
    let name = match bench {
        Bench::Seed => "seed",
        Bench::Install => "install",
        Bench::Flows => "flows",
        Bench::Knative => "knative",
        Bench::Kcp => "kcp",
        Bench::Bundle => "bundle",
        Bench::Runner => "runner",
    };
    let mut command = checkout.cargo();
    command.args(["run", "--release", "--quiet", "--package", "annex-e2e", "--bin", "bench", "--", name]);
    if bench == Bench::Bundle {
        // Processes of their own: their memory and their processor time are what is measured.
        for (option, package, example) in [
            ("--throughput", "annex-bundle", "bundle-throughput"),
            ("--lookups", "annex-registry", "lookups"),
        ] {
            command.arg(option).arg(binaries::optimised_example(&checkout, package, example)?);
        }
    }
    if bench == Bench::Runner {
        machine::install_for_tests(machine::PEERS)?;
        for (option, program) in [
            ("--runner", binaries::optimised(&checkout, "annex-runner")?),
            ("--hello", binaries::guest(&checkout, "e2e/guests/hello", "annex_bench_hello")?),
            ("--hostile", binaries::guest(&checkout, "engine/tests/guests", "annex_engine_guests")?),
            ("--wasmtime", wasmtime(&checkout)?),
        ] {
            command.arg(option).arg(program);
        }
    }
    guard::run(&checkout, &Interrupts::catch()?, ".annex/bench", &mut command)
}

/// `wasmtime`, built into the cache if it is not there yet. That takes many minutes, once.
fn wasmtime(checkout: &Checkout) -> Result<PathBuf> {
    let root = tools::cache()?.join(format!("wasmtime-cli-{WASMTIME}"));
    let program = root.join("bin/wasmtime");
    if !program.is_file() {
        note(&format!("wasmtime-cli {WASMTIME} is built into the cache, once"));
        let mut install = checkout.cargo();
        install.args(["install", "wasmtime-cli", "--version", WASMTIME, "--locked", "--root"]).arg(&root);
        let status = install.status().context("cannot run cargo")?;
        ensure!(status.success(), "cannot install wasmtime-cli: {status}");
    }
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peer_is_of_the_release_that_is_in_the_runner() {
        let lock = std::fs::read_to_string(Checkout::find().unwrap().join("Cargo.lock")).unwrap();
        assert!(lock.contains(&format!("name = \"wasmtime\"\nversion = \"{WASMTIME}\"")));
    }
}

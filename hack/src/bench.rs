//! `cargo xtask bench NAME`: figures, as ratios within one run.

use anyhow::Result;
use clap::ValueEnum;

use crate::binaries;
use crate::checkout::Checkout;
use crate::guard;
use crate::interrupt::Interrupts;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Bench {
    /// How much the seed adds to the time until a new workspace is ready
    Seed,
    /// How many installs get ready in a second, and what each costs
    Install,
    /// What Annex adds to the time until a domain answers through Envoy
    Knative,
    /// What kube-kcp costs, and what a noisy workspace costs the others
    Kcp,
    /// What verifying and unpacking a bundle costs beside `zstd -d` and `sha256sum`, and what a lookup costs
    Bundle,
}

/// Measures; the last line of the output is JSON. Nothing stays running.
pub(crate) fn run(bench: Bench) -> Result<()> {
    let checkout = Checkout::find()?;
    let name = match bench {
        Bench::Seed => "seed",
        Bench::Install => "install",
        Bench::Knative => "knative",
        Bench::Kcp => "kcp",
        Bench::Bundle => "bundle",
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
    guard::run(&checkout, &Interrupts::catch()?, ".annex/bench", &mut command)
}

//! `cargo xtask test`: everything that has to hold before a change is taken.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::ahead::Ahead;
use crate::checkout::Checkout;
use crate::compute::machine;
use crate::interrupt::Interrupts;
use crate::progress::{note, say, seconds};
use crate::{binaries, drift, guard, tools};

const CARGO_DENY: &str = "0.20.2";

/// One step of `cargo xtask test`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Check {
    /// The sources are formatted
    Format,
    /// No lint complains
    Clippy,
    /// Only dependencies with licences and from places that we accept
    Deny,
    /// The generated files are what apis/ and bundle/ say
    Drift,
    /// Tests that need nothing but the sources
    Unit,
    /// The documentation builds, without broken links
    Doc,
    /// Tests on a real kcp
    E2e,
    /// Tests on a real Kubernetes with Knative
    Knative,
}

impl Check {
    fn name(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Clippy => "clippy",
            Self::Deny => "deny",
            Self::Drift => "drift",
            Self::Unit => "unit",
            Self::Doc => "doc",
            Self::E2e => "e2e",
            Self::Knative => "knative",
        }
    }

    /// What this machine lacks to run it.
    fn objection(self) -> Option<String> {
        if self == Self::Knative { machine::objection() } else { None }
    }

    fn run(self, checkout: &Checkout, interrupts: &Interrupts) -> Result<()> {
        let cargo = |args: &[&str]| {
            let mut command = checkout.cargo();
            // Where panics are to tell their backtrace, an error would tell its own as well, longer than its words by far, and a
            // log that is cut would have lost the words.
            command.args(args).env("RUST_LIB_BACKTRACE", "0");
            command
        };
        let run = |mut command: Command| {
            let status = interrupts.run(&mut command)?;
            if status.success() { Ok(()) } else { bail!("it ended with {status}") }
        };
        match self {
            Self::Format => run(cargo(&["fmt", "--all", "--check"])),
            Self::Clippy => {
                let faults = ["--features", binaries::FAULTS];
                run(cargo(
                    &[
                        &["clippy", "--workspace", "--all-targets"],
                        faults.as_slice(),
                        &["--", "-D", "warnings"],
                    ]
                    .concat(),
                ))?;
                let real_parts =
                    ["--test", "browser", "--test", "e2e", "--test", "cluster", "--test", "knative"];
                run(cargo(
                    &[&["clippy", "--workspace"], real_parts.as_slice(), &["--", "-D", "warnings"]].concat(),
                ))
            }
            Self::Deny => {
                let root = tools::cache()?.join(format!("cargo-deny-{CARGO_DENY}"));
                let program = root.join("bin/cargo-deny");
                if !program.is_file() {
                    note(&format!("cargo-deny {CARGO_DENY} is built into the cache, once"));
                    // Not optimized: it runs for seconds, and optimizing it takes minutes.
                    let mut install = cargo(&["install", "cargo-deny", "--version", CARGO_DENY, "--locked"]);
                    install.args(["--debug", "--root"]);
                    install.arg(&root);
                    run(install).context("cannot install cargo-deny")?;
                }
                let mut command = Command::new(program);
                command.args(["check", "bans", "licenses", "sources"]).current_dir(checkout.root());
                run(command)
            }
            Self::Drift => drift::check(checkout),
            Self::Unit => {
                machine::install_for_tests(machine::DATABASE)?;
                machine::install_for_tests(machine::NODE)?;
                run(cargo(&["test", "--workspace"]))
            }
            Self::Doc => {
                let mut command = cargo(&["doc", "--workspace", "--no-deps"]);
                command.env("RUSTDOCFLAGS", "-D warnings");
                run(command)
            }
            Self::E2e => {
                machine::install_for_tests(machine::BROWSER)?;
                let mut command = cargo(&["test", "--workspace", "--test", "browser", "--test", "e2e"]);
                guard::run(checkout, interrupts, ".annex/test", &mut command)
            }
            Self::Knative => {
                machine::install_for_tests(machine::CLOCKS)?;
                guard::run(
                    checkout,
                    interrupts,
                    ".annex/knative",
                    &mut cargo(&["test", "--workspace", "--test", "cluster", "--test", "knative"]),
                )
            }
        }
    }
}

/// Runs the steps in order, up to the first that fails. `only` none: all; `skip` is left out; where one of `require` cannot run
/// on this machine that is a failure, too.
pub(crate) fn run(only: &[Check], skip: &[Check], require: &[Check]) -> Result<()> {
    let checkout = Checkout::find()?;
    let interrupts = Interrupts::catch()?;
    let chosen = |check: &Check| (only.is_empty() || only.contains(check)) && !skip.contains(check);
    let mut times: Vec<(Check, Duration)> = Vec::new();
    let needs_images = chosen(&Check::Knative) && Check::Knative.objection().is_none();
    let mut ahead = None;
    let mut skipped = Vec::new();
    for check in Check::value_variants().iter().copied().filter(chosen) {
        if let Some(needs) = check.objection() {
            if require.contains(&check) {
                bail!("check {} is required, and needs {needs}", check.name());
            }
            skipped.push((check, needs));
            continue;
        }
        say(&format!("\n== {}", check.name()));
        let started = Instant::now();
        match check {
            Check::E2e if needs_images => ahead = Ahead::images(&checkout).ok(),
            Check::Knative => drop(ahead.take().map(Ahead::wait)),
            _ => {}
        }
        let outcome = check.run(&checkout, &interrupts);
        if let Err(error) = outcome {
            print_times(&times);
            say(&format!("{:>8}  {} failed", seconds(started.elapsed()), check.name()));
            let again = format!("to repeat just this: `cargo xtask test --only {}`", check.name());
            return Err(error.context(format!("check {} failed; {again}", check.name())));
        }
        times.push((check, started.elapsed()));
    }
    print_times(&times);
    say(&format!("{:>8}  in all", seconds(times.iter().map(|(_, time)| *time).sum())));
    for (check, needs) in &skipped {
        say(&format!(" skipped  {}: needs {needs}", check.name()));
    }
    if only.is_empty() && skip.is_empty() && skipped.is_empty() {
        say("all checks passed");
    } else if !skipped.is_empty() {
        say("the checks that can run on this machine passed");
    } else {
        say("the chosen checks passed");
    }
    Ok(())
}

fn print_times(times: &[(Check, Duration)]) {
    say("");
    for (check, time) in times {
        say(&format!("{:>8}  {}", seconds(*time), check.name()));
    }
}

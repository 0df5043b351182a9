//! `kubectl-annex`: the kubectl plugin. `kubectl annex --help` says what it does.

mod args;
mod domain;
mod explain;
mod outcome;

use clap::Parser;

use crate::args::{Arguments, Command};

fn main() -> std::process::ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Domain(arguments) => domain::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
    };
    outcome.report()
}

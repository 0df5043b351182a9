//! `kubectl-annex`: the kubectl plugin. `kubectl annex --help` says what it does.

mod args;
mod bundle;
mod catalog;
mod domain;
mod explain;
mod files;
mod format;
mod init;
mod keygen;
mod mark;
mod outcome;
mod printable;
mod publish;
mod server;
mod shell;
mod sign;
mod verify;

use clap::Parser;

use crate::args::{Arguments, Command};

fn main() -> std::process::ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Domain(arguments) => domain::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Catalog(arguments) => catalog::run(&arguments).into(),
        Command::Init(arguments) => init::run(&arguments).into(),
        Command::Bundle(arguments) => bundle::run(&arguments).into(),
        Command::Keygen(arguments) => keygen::run(&arguments).into(),
        Command::Sign(arguments) => sign::run(&arguments).into(),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Publish(arguments) => publish::run(&arguments).into(),
        Command::Deprecate(arguments) => mark::deprecate(&arguments).into(),
        Command::Yank(arguments) => mark::yank(&arguments).into(),
    };
    outcome.report()
}

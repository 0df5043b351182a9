//! `kubectl-annex`: the kubectl plugin. `kubectl annex --help` says what it does.

mod args;
mod bundle;
mod catalog;
mod dev;
mod domain;
mod explain;
mod files;
mod flow;
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
    let mut given = std::env::args_os().skip(1);
    // The runner that `dev` has in it compiles guests in a process of this very program. Before anything else is set up: what is
    // compiled may be anybody's, and finds as little as there can be.
    if given.next().is_some_and(|argument| argument == annex_dev::COMPILE) {
        return annex_dev::compile(given);
    }
    let outcome = match Arguments::parse().command {
        Command::Domain(arguments) => domain::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Catalog(arguments) => catalog::run(&arguments).into(),
        Command::Plan(arguments) => flow::plan(&arguments),
        Command::History(arguments) => flow::history(&arguments).into(),
        Command::Retry(arguments) => flow::retry(&arguments).into(),
        Command::Rollback(arguments) => flow::rollback(&arguments).into(),
        Command::Init(arguments) => init::run(&arguments).into(),
        Command::Bundle(arguments) => bundle::run(&arguments).into(),
        Command::Dev(arguments) => dev::run(&arguments).into(),
        Command::Keygen(arguments) => keygen::run(&arguments).into(),
        Command::Sign(arguments) => sign::run(&arguments).into(),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Publish(arguments) => publish::run(&arguments).into(),
        Command::Deprecate(arguments) => mark::deprecate(&arguments).into(),
        Command::Yank(arguments) => mark::yank(&arguments).into(),
    };
    outcome.report()
}

//! `annex-runner`: serves an extension on its own domain, and runs it.

use std::process::ExitCode;

use annex_runner::Config;
use clap::Parser;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    // Before anything else is set up: what is compiled is hostile, and finds as little as there can be.
    if arguments.next().is_some_and(|argument| argument == annex_runner::COMPILE) {
        return annex_runner::compile(arguments);
    }
    let config = Config::parse();
    annex_service::init_logging(config.log_format);
    annex_service::install_tls_provider();
    match annex_runner::run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // In the log like all else, so that what collects it sees why the process ended.
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

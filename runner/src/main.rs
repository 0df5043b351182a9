//! `annex-runner`: serves an extension on its own domain.

use std::process::ExitCode;

use annex_runner::Config;
use clap::Parser;

fn main() -> ExitCode {
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

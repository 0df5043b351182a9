//! `cargo xtask`: Annex's development environment, checks and code generation.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match xtask::cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            xtask::progress::print_error(&error);
            ExitCode::FAILURE
        }
    }
}

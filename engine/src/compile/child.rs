//! The other side of a [`CompilerProcess`](super::CompilerProcess).

use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;

use super::{CompileError, precompile};
use crate::options::CodeOptions;

/// What a program does that is run as a [`CompilerProcess`](super::CompilerProcess): compiles what comes on its standard input,
/// writes the code to its standard output, and exits with what this gives. It is all that such a program does.
pub fn compile_standard_input(options: CodeOptions) -> ExitCode {
    match compile(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Whoever started it may be gone. Then nobody reads the exit code either.
            let _ = writeln!(io::stderr(), "{error}");
            match error {
                Failure::NotAComponent(_) => ExitCode::from(1),
                Failure::Other(_) => ExitCode::from(2),
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    NotAComponent(String),
    #[error("{0}")]
    Other(String),
}

fn compile(options: CodeOptions) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::Other(error.to_string());
    let mut component = Vec::new();
    io::stdin().read_to_end(&mut component).map_err(failed)?;
    let code = precompile(&component, options).map_err(|error| match error {
        CompileError::NotAComponent { reason } => Failure::NotAComponent(reason),
        error => Failure::Other(error.to_string()),
    })?;
    io::stdout().write_all(&code).and_then(|()| io::stdout().flush()).map_err(failed)
}

//! How a command ends: what it prints and with which exit code.

use std::io::Write;
use std::process::ExitCode;

use crate::printable::one_line;

/// The end of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Asked and answered: exit code 0, the text on standard output.
    Done(String),
    /// The object is there and not Ready: exit code 1, the text on standard output.
    NotReady(String),
    /// It did not come to what was asked for: the text on standard error.
    Failed(Failure),
    /// The same, for programs also on standard output.
    FailedWith {
        /// What programs read.
        printed: String,
        /// What people read.
        failure: Failure,
    },
}

/// Why a command did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// What was given is not accepted, and will not be if it is given again: exit code 1.
    Refused(String),
    /// What was asked makes no sense: exit code 2, as clap's own.
    Usage(String),
    /// Something could not be read, written, run or reached: exit code 3. It may do another time.
    Unable(String),
}

impl Failure {
    /// A refusal that has a code, which programs and people look up.
    pub(crate) fn refused(code: &str, message: impl std::fmt::Display) -> Self {
        Self::Refused(format!("{code}: {message}"))
    }

    /// Something was to be done with a file or folder and failed.
    pub(crate) fn file(doing: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::Unable(format!("{doing} {} failed: {error}", path.display()))
    }

    /// What went wrong, for people.
    pub(crate) fn message(&self) -> &str {
        match self {
            Self::Refused(message) | Self::Usage(message) | Self::Unable(message) => message,
        }
    }

    fn code(&self) -> u8 {
        match self {
            Self::Refused(_) => 1,
            Self::Usage(_) => 2,
            Self::Unable(_) => 3,
        }
    }
}

impl From<Result<String, Failure>> for Outcome {
    fn from(result: Result<String, Failure>) -> Self {
        result.map_or_else(Self::Failed, Self::Done)
    }
}

impl Outcome {
    /// Prints it and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let code = match &self {
            Self::Done(_) => 0,
            Self::NotReady(_) => 1,
            Self::Failed(failure) | Self::FailedWith { failure, .. } => failure.code(),
        };
        // A reader that closed the pipe, such as head, has what it wanted.
        let _ = match self {
            Self::Done(text) | Self::NotReady(text) => print(&text),
            Self::Failed(failure) => complain(&failure),
            Self::FailedWith { printed, failure } => print(&printed).and_then(|()| complain(&failure)),
        };
        ExitCode::from(code)
    }
}

fn print(text: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{}", text.trim_end())
}

/// Messages hold what servers, archives and file names say, and those may be anyone's.
fn complain(failure: &Failure) -> std::io::Result<()> {
    writeln!(std::io::stderr(), "error: {}", one_line(failure.message()))
}

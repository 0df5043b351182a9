//! How a command ends: what it prints and with which exit code.

use std::io::Write;
use std::process::ExitCode;

/// The end of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Asked and answered: exit code 0, the text on standard output.
    Done(String),
    /// The object is there and not Ready: exit code 1, the text on standard output.
    NotReady(String),
    /// What was asked makes no sense: exit code 2, as clap's own, the text on standard error.
    Usage(String),
    /// The object could not be read: exit code 3, the text on standard error.
    Unreadable(String),
}

impl Outcome {
    /// Prints it and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let code = self.code();
        // A reader that closed the pipe, such as head, has what it wanted.
        let _ = match self {
            Self::Done(text) | Self::NotReady(text) => writeln!(std::io::stdout(), "{}", text.trim_end()),
            Self::Usage(text) | Self::Unreadable(text) => writeln!(std::io::stderr(), "error: {text}"),
        };
        ExitCode::from(code)
    }

    fn code(&self) -> u8 {
        match self {
            Self::Done(_) => 0,
            Self::NotReady(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreadable(_) => 3,
        }
    }
}

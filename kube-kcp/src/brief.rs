use std::fmt;

use kube::runtime::{wait, watcher};

/// An error of kube in one line for a log, a note or an event: what the API server said and its code. kube's own text ends in
/// the whole Status object, in Debug form.
pub struct Brief<'a, E>(pub &'a E);

impl fmt::Display for Brief<'_, kube::Error> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            kube::Error::Api(status) => write!(f, "{} ({})", status.message.trim(), status.code),
            error => {
                write!(f, "{error}")?;
                let mut source = std::error::Error::source(error);
                while let Some(error) = source {
                    write!(f, ": {error}")?;
                    source = error.source();
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Brief<'_, watcher::Error> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            watcher::Error::InitialListFailed(error)
            | watcher::Error::WatchStartFailed(error)
            | watcher::Error::WatchFailed(error) => Brief(error).fmt(f),
            watcher::Error::WatchError(status) => write!(f, "{} ({})", status.message.trim(), status.code),
            error => error.fmt(f),
        }
    }
}

impl fmt::Display for Brief<'_, wait::Error> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            wait::Error::ProbeFailed(error) => Brief(error).fmt(f),
        }
    }
}

//! Why an operation fails.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use annex_core::KvError;
use sqlx::migrate::MigrateError;

/// Why an operation fails, for the log and for deciding whether to try again. No text of it has the URL or a value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// It would be more than the quota.
    #[error("the extension has stored as much as it may")]
    QuotaExceeded,
    /// The time of the operation is over.
    #[error("it does not answer in time")]
    Late,
    /// The database says so, or the way to it. Nothing was written.
    #[error("{}", plain(.0))]
    Database(#[source] sqlx::Error),
    /// The connection was lost while a transaction was committed. It may or may not be written.
    #[error("the connection was lost at the end of a transaction: {}", plain(.0))]
    Commit(#[source] sqlx::Error),
    /// The tables could not be made or brought up to date.
    #[error("its tables cannot be brought up to date: {0}")]
    Schema(#[source] MigrateError),
    /// The file could not be made.
    #[error("{} cannot be opened: {}", .0.display(), .1)]
    File(PathBuf, #[source] io::Error),
    /// The same, of an attempt that others waited for too.
    #[error("{0}")]
    Shared(Arc<Failure>),
    /// Somebody else has written what is no text.
    #[error("it holds a key that is not UTF-8")]
    ForeignKey,
    /// The process ends.
    #[error("the process is about to end")]
    Stopped,
}

/// What who runs a database understands: not the line of the server's source, and what waiting for a connection in vain means.
fn plain(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => {
            format!("{} ({})", error.message(), error.code().as_deref().unwrap_or("no code"))
        }
        sqlx::Error::PoolTimedOut => {
            "there is no connection in time: it refuses them, does not answer, or all are in use".to_owned()
        }
        other => other.to_string(),
    }
}

/// Codes after which the same may succeed at once. PostgreSQL: serialization failure, deadlock. SQLite: busy, in its variants,
/// and locked.
const TRANSIENT: [&str; 6] = ["40001", "40P01", "5", "261", "517", "6"];
/// PostgreSQL: the server ends, has crashed, is not there yet; nobody will answer on this connection.
const ENDED: [&str; 5] = ["57P01", "57P02", "57P03", "57P05", "25P03"];

impl Failure {
    /// Whether trying again at once, on another connection if need be, may help, and cannot do twice what was to be done once.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Database(error) => has_code(error, &TRANSIENT) || is_lost(error),
            _ => false,
        }
    }

    /// Whether the connection can be used for something else.
    pub(crate) fn leaves_connection_usable(&self) -> bool {
        match self {
            Self::QuotaExceeded | Self::ForeignKey => true,
            Self::Database(error) => !is_lost(error),
            _ => false,
        }
    }

    /// This, or why it took so long: the failure of an earlier attempt.
    pub(crate) fn or_why_late(self, earlier: Option<Self>) -> Self {
        match (self, earlier) {
            (Self::Late, Some(earlier)) => earlier,
            (this, _) => this,
        }
    }

    /// What a commit's error means: an answer of the database says that nothing was written.
    pub(crate) fn of_commit(error: sqlx::Error) -> Self {
        if is_lost(&error) { Self::Commit(error) } else { Self::Database(error) }
    }
}

fn has_code(error: &sqlx::Error, codes: &[&str]) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| codes.contains(&&*code))
}

fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::Tls(_) | sqlx::Error::WorkerCrashed => {
            true
        }
        sqlx::Error::BeginFailed => true,
        error => has_code(error, &ENDED),
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<Arc<Failure>> for Failure {
    fn from(failure: Arc<Failure>) -> Self {
        Self::Shared(failure)
    }
}

impl From<&Failure> for KvError {
    fn from(failure: &Failure) -> Self {
        match failure {
            Failure::QuotaExceeded => Self::QuotaExceeded,
            _ => Self::Unavailable,
        }
    }
}

/// Why a store cannot be used, for who runs it. The text has neither the URL nor a password.
#[derive(Debug, thiserror::Error)]
#[error("the store cannot be used: {reason}")]
pub struct StoreError {
    reason: String,
}

impl From<&Failure> for StoreError {
    fn from(failure: &Failure) -> Self {
        Self { reason: failure.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> sqlx::Error {
        std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()
    }

    #[test]
    fn a_write_that_may_have_happened_is_not_repeated() {
        assert!(Failure::from(lost()).is_transient());
        assert!(!Failure::of_commit(lost()).is_transient());
        assert!(!Failure::Late.is_transient());
        assert!(!Failure::QuotaExceeded.is_transient());
    }

    #[test]
    fn a_connection_in_an_unknown_state_is_not_used_again() {
        assert!(Failure::QuotaExceeded.leaves_connection_usable());
        assert!(Failure::Database(sqlx::Error::RowNotFound).leaves_connection_usable());
        for failure in [Failure::Late, Failure::from(lost()), Failure::of_commit(lost())] {
            assert!(!failure.leaves_connection_usable(), "{failure}");
        }
    }

    #[test]
    fn guests_hear_of_the_quota_and_of_nothing_else() {
        assert_eq!(KvError::from(&Failure::QuotaExceeded), KvError::QuotaExceeded);
        assert_eq!(KvError::from(&Failure::from(lost())), KvError::Unavailable);
    }
}

use std::time::Duration;

use kube::core::Status;
use tower::BoxError;

use crate::Brief;

/// Why a watch is interrupted. It begins again by itself.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The server said no.
    #[error("{message} ({code})")]
    Refused {
        /// The HTTP status.
        code: u16,
        /// What it said.
        message: String,
        /// How long it asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// What comes after the version that was seen last is not known any more; everything is listed anew.
    #[error("the server has forgotten what comes after the version that was seen last")]
    Expired,
    /// No answer.
    #[error("{}", Brief(.0))]
    Request(#[from] kube::Error),
    /// The answer breaks off.
    #[error("the answer breaks off: {0}")]
    Broken(BoxError),
    /// The answer is not what it should be.
    #[error("the answer cannot be read: {0}")]
    Malformed(String),
    /// A line that does not end.
    #[error("a line of the answer has more than {0} bytes")]
    LineTooLong(usize),
    /// A connection that is open and says nothing, not even a bookmark.
    #[error("the server has said nothing for {} s", .0.as_secs())]
    Silent(Duration),
    /// The server ended a watch as soon as it began.
    #[error("the server ended the watch at once")]
    EndedAtOnce,
    /// A streaming list that does not say where it ends. It is listed the other way from now on.
    #[error("the server does not say where a streaming list ends")]
    EndNotTold,
}

impl WatchError {
    /// In one word, of a fixed few: for a metric.
    #[must_use]
    pub fn category(&self) -> &'static str {
        match self {
            Self::Refused { code: 429, .. } => "throttled",
            Self::Refused { code: 401 | 403, .. } => "denied",
            Self::Refused { .. } => "refused",
            Self::Expired => "expired",
            Self::Request(_) => "request",
            Self::Broken(_) => "broken",
            Self::Malformed(_) | Self::LineTooLong(_) => "malformed",
            Self::Silent(_) => "silent",
            Self::EndedAtOnce => "ended",
            Self::EndNotTold => "end_not_told",
        }
    }

    pub(super) fn of_status(status: Status, header: Option<Duration>) -> Self {
        if status.code == 410 {
            return Self::Expired;
        }
        let body = status.details.map_or(0, |details| details.retry_after_seconds);
        let body = (body > 0).then(|| Duration::from_secs(body.into()));
        Self::Refused {
            code: status.code,
            message: status.message.trim().to_owned(),
            retry_after: header.or(body),
        }
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

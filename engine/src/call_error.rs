//! Why a call has no answer.

use std::time::Duration;

use crate::answer::BadAnswer;

/// Whose calls there are too many of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The engine's, over all tenants.
    Engine,
    /// The tenant's.
    Tenant,
    /// The install's.
    Install,
}

impl std::fmt::Display for Scope {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Engine => "the platform",
            Self::Tenant => "the tenant",
            Self::Install => "the install",
        })
    }
}

/// Why a call has no answer. Nothing of it was chosen by the guest, so that it may be shown, logged and counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// Too many at one time. The guest was not started.
    #[error("{scope} has as many calls at one time as it may")]
    Busy {
        /// Of whom.
        scope: Scope,
    },
    /// The request cannot be handed to a guest. It was not started.
    #[error("the request cannot be handed to the extension")]
    BadRequest,
    /// The call has a limit of fuel, and the engine does not count. The guest was not started.
    #[error("this engine does not count fuel")]
    FuelNotCounted,
    /// It ran, or waited, longer than it may.
    #[error("the extension did not answer within {} ms", limit.as_millis())]
    Timeout {
        /// How long it may.
        limit: Duration,
    },
    /// It ended because it was refused memory.
    #[error("the extension needs more than {limit} bytes of memory")]
    MemoryLimit {
        /// How much it may have.
        limit: usize,
    },
    /// It ended because it was refused a larger table.
    #[error("the extension needs more than {limit} elements of tables")]
    TableLimit {
        /// How many it may have.
        limit: usize,
    },
    /// It executed more than it may.
    #[error("the extension used up its fuel")]
    OutOfFuel,
    /// It opened more resources at one time than it may.
    #[error("the extension opened more than {limit} resources")]
    TooManyResources {
        /// How many it may open.
        limit: usize,
    },
    /// It made headers larger than any may be, whether or not they were for its answer.
    #[error("the extension made headers of more than {limit} bytes")]
    HeadersTooLarge {
        /// How large they may be.
        limit: usize,
    },
    /// It failed: unreachable code, recursion without an end, an access outside its memory, an exit.
    #[error("the extension failed: {reason}")]
    Trap {
        /// One of a fixed few.
        reason: &'static str,
    },
    /// The body of its answer is larger than it may be.
    #[error("the body of the answer is larger than {limit} bytes")]
    ResponseTooLarge {
        /// How large it may be.
        limit: usize,
    },
    /// It gave no answer, or one that is none in HTTP.
    #[error("the extension gave no valid answer: {0}")]
    BadResponse(BadAnswer),
}

impl CallError {
    /// Every code, in the order of the variants.
    pub const CODES: [&str; 12] = [
        "Busy",
        "BadRequest",
        "FuelNotCounted",
        "Timeout",
        "MemoryLimit",
        "TableLimit",
        "OutOfFuel",
        "TooManyResources",
        "HeadersTooLarge",
        "Trap",
        "ResponseTooLarge",
        "BadResponse",
    ];

    /// The word that a program knows it by, and a metric's label. It never changes, the message may.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Busy { .. } => "Busy",
            Self::BadRequest => "BadRequest",
            Self::FuelNotCounted => "FuelNotCounted",
            Self::Timeout { .. } => "Timeout",
            Self::MemoryLimit { .. } => "MemoryLimit",
            Self::TableLimit { .. } => "TableLimit",
            Self::OutOfFuel => "OutOfFuel",
            Self::TooManyResources { .. } => "TooManyResources",
            Self::HeadersTooLarge { .. } => "HeadersTooLarge",
            Self::Trap { .. } => "Trap",
            Self::ResponseTooLarge { .. } => "ResponseTooLarge",
            Self::BadResponse(_) => "BadResponse",
        }
    }
}

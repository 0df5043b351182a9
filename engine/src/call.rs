//! A call, and how it ends.

use std::time::Duration;

pub use annex_core::CallContext;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};

use crate::call_error::CallError;
use crate::host::Host;
use crate::limits::CallLimits;

/// A call.
#[derive(Clone)]
pub struct Call {
    /// Whose it is.
    pub context: CallContext,
    /// What it may use.
    pub limits: CallLimits,
    /// What stands behind the granted imports.
    pub host: Host,
    /// The request. A guest sees `https`, and as authority the URI's, else the header `host`, else `extension.invalid`.
    pub request: Request<Bytes>,
}

/// The answer of a guest that has ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// 200 to 599.
    pub status: StatusCode,
    /// Without hop-by-hop headers, cookies and a length.
    pub headers: HeaderMap,
    /// All of it.
    pub body: Bytes,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Outcome {
    /// The answer, or why there is none.
    pub answer: Result<Answer, CallError>,
    /// What it used, whichever of both it is. Nothing, where the guest was not started.
    pub usage: Usage,
}

/// What a call used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// From when it came to the end of the guest.
    pub duration: Duration,
    /// The most linear memory that it had, in bytes.
    pub memory_bytes: usize,
    /// Fuel, if the engine counts. Of a guest that was interrupted, what it has used since it last entered or left a function
    /// is missing: it was in a register.
    pub fuel: Option<u64>,
    /// Requests to the outside.
    pub egress_requests: u32,
    /// Bytes of their bodies.
    pub egress_sent_bytes: u64,
    /// Bytes of the bodies of their answers, as far as the guest has read them.
    pub egress_received_bytes: u64,
    /// Bytes of the log that were left out because there were too many.
    pub log_bytes_dropped: usize,
}

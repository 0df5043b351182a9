//! What requests to the outside may use.

use std::time::Duration;

use annex_engine::Patience;

/// What requests to the outside may use. A guest can ask for less time, never for more of anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EgressLimits {
    /// The body of a request, in bytes.
    pub request_bytes: u64,
    /// The body of an answer, in bytes.
    pub response_bytes: u64,
    /// Everything that the requests of one call send and receive inside TLS, heads included, in bytes.
    pub call_bytes: u64,
    /// The head of a request and that of an answer, each, in bytes. What may come before the answer's head, such as interim answers,
    /// is a small multiple of it.
    pub head_bytes: usize,
    /// The lines of a head.
    pub header_count: usize,
    /// Until there is a connection: looking up the name, TCP and TLS together.
    pub connect: Duration,
    /// From then until the head of the answer is there. The guest sends its body meanwhile.
    pub first_byte: Duration,
    /// While the next part of the answer is waited for.
    pub between_bytes: Duration,
    /// All of a request, to the last byte of the answer.
    pub total: Duration,
    /// Requests at one time.
    pub requests: usize,
    /// Requests of a tenant at one time.
    pub requests_per_tenant: usize,
}

impl Default for EgressLimits {
    fn default() -> Self {
        Self {
            request_bytes: 6 << 20,
            response_bytes: 6 << 20,
            call_bytes: 32 << 20,
            head_bytes: 32 << 10,
            header_count: 64,
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(15),
            between_bytes: Duration::from_secs(10),
            total: Duration::from_secs(30),
            requests: 512,
            requests_per_tenant: 16,
        }
    }
}

/// The times of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) connect: Duration,
    pub(crate) first_byte: Duration,
    pub(crate) between_bytes: Duration,
}

impl EgressLimits {
    /// The lesser of what is given and what the guest wants.
    pub(crate) fn times(&self, patience: Patience) -> Times {
        let lesser =
            |given: Duration, wanted: Option<Duration>| wanted.map_or(given, |wanted| given.min(wanted));
        Times {
            connect: lesser(self.connect, patience.connect),
            first_byte: lesser(self.first_byte, patience.first_byte),
            between_bytes: lesser(self.between_bytes, patience.between_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_asks_for_less_time_and_never_gets_more() {
        let limits = EgressLimits::default();
        let (less, more) = (Duration::from_millis(5), Duration::from_secs(3600));
        let times =
            limits.times(Patience { connect: Some(less), first_byte: Some(more), between_bytes: None });
        let expected =
            Times { connect: less, first_byte: limits.first_byte, between_bytes: limits.between_bytes };
        assert_eq!(times, expected);
    }
}

//! What is counted.

use annex_engine::EgressError;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Registry, Unit};

/// Metrics of the way out. A label is one of [`code`]'s words and never what a guest brought, such as a host. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct EgressMetrics {
    requests: Family<Outcome, Counter>,
    sent: Counter,
    received: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

impl EgressMetrics {
    /// Adds them to a registry, under `egress_…`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "egress_requests",
            "Requests of extensions to the outside, by how they ended; a request whose head was answered and whose body broke off counts twice",
            self.requests.clone(),
        );
        registry.register_with_unit(
            "egress_sent",
            "Bytes that extensions sent to the outside, inside TLS",
            Unit::Bytes,
            self.sent.clone(),
        );
        registry.register_with_unit(
            "egress_received",
            "Bytes that extensions received from the outside, inside TLS",
            Unit::Bytes,
            self.received.clone(),
        );
    }

    /// Requests that ended so: `answered`, or one of [`code`]'s words.
    #[must_use]
    pub fn requests(&self, outcome: &'static str) -> u64 {
        self.requests.get_or_create(&Outcome { outcome }).get()
    }

    /// Bytes that were sent, heads included, TLS not.
    #[must_use]
    pub fn sent_bytes(&self) -> u64 {
        self.sent.get()
    }

    /// Bytes that were received, heads included, TLS not.
    #[must_use]
    pub fn received_bytes(&self) -> u64 {
        self.received.get()
    }

    pub(crate) fn answered(&self) {
        self.requests.get_or_create(&Outcome { outcome: "answered" }).inc();
    }

    pub(crate) fn failed(&self, error: EgressError) {
        self.requests.get_or_create(&Outcome { outcome: code(error) }).inc();
    }

    pub(crate) fn sent(&self, bytes: u64) {
        self.sent.inc_by(bytes);
    }

    pub(crate) fn received(&self, bytes: u64) {
        self.received.inc_by(bytes);
    }
}

/// The word that stands for an error in metrics. It does not change.
#[must_use]
pub fn code(error: EgressError) -> &'static str {
    match error {
        EgressError::Denied => "denied",
        EgressError::AddressDenied => "address_denied",
        EgressError::TooManyRequests => "too_many_requests",
        EgressError::NameUnknown => "name_unknown",
        EgressError::Unreachable => "unreachable",
        EgressError::Timeout => "timeout",
        EgressError::Tls => "tls",
        EgressError::TooLarge => "too_large",
        EgressError::Protocol => "protocol",
        _ => "other",
    }
}

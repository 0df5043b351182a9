use std::{fmt, sync::Arc};

use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{MetricType, counter::Counter, family::Family, gauge::ConstGauge},
    registry::Registry,
};

use super::Claim;

/// The metrics of one [`Lease`](crate::Lease).
#[derive(Clone, Debug)]
pub struct LeaseMetrics {
    transitions: Family<To, Counter>,
    failures: Family<Reason, Counter>,
    claim: Arc<Mutex<Option<Claim>>>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct To {
    to: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

impl LeaseMetrics {
    /// Registers all of them. Call it once per registry and lease.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics =
            Self { transitions: Family::default(), failures: Family::default(), claim: Arc::default() };
        let kcp = registry.sub_registry_with_prefix("kube_kcp");
        kcp.register(
            "lease_transitions",
            "Leaderships of this process that began (to=\"held\") and ended (to=\"lost\" or \"released\")",
            metrics.transitions.clone(),
        );
        kcp.register(
            "lease_renew_failures",
            "Renewals of this process's leadership that failed",
            metrics.failures.clone(),
        );
        kcp.register_collector(Box::new(Now(metrics.claim.clone())));
        metrics
    }

    pub(super) fn held(&self, claim: &Claim) {
        *self.claim.lock() = Some(claim.clone());
        self.transitions.get_or_create(&To { to: "held" }).inc();
    }

    pub(super) fn ended(&self, to: &'static str) {
        self.transitions.get_or_create(&To { to }).inc();
    }

    pub(super) fn renew_failed(&self, reason: &'static str) {
        self.failures.get_or_create(&Reason { reason }).inc();
    }
}

/// What the claim says when it is asked for: a gauge that a task sets would say what was so when the task last ran.
#[derive(Debug)]
struct Now(Arc<Mutex<Option<Claim>>>);

impl Collector for Now {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let since_renewal = self.0.lock().as_ref().and_then(Claim::since_renewal);
        let held = ConstGauge::new(i64::from(since_renewal.is_some()));
        held.encode(encoder.encode_descriptor(
            "lease_held",
            "Whether this process leads",
            None,
            MetricType::Gauge,
        )?)?;
        if let Some(since) = since_renewal {
            ConstGauge::new(since.as_secs_f64()).encode(encoder.encode_descriptor(
                "lease_since_renewal_seconds",
                "How long ago the last successful renewal was sent, while this process leads",
                None,
                MetricType::Gauge,
            )?)?;
        }
        Ok(())
    }
}

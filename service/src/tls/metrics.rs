use std::time::SystemTime;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Labels are listeners and outcomes, of which there are a few: never who connects.
#[derive(Clone, Debug, Default)]
pub(super) struct Metrics {
    not_after: Family<Listener, Gauge>,
    refused: Family<Listener, Gauge>,
    reloads: Family<Listener, Counter>,
    handshakes: Family<Handshake, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Listener {
    listener: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Handshake {
    listener: &'static str,
    result: &'static str,
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "tls_not_after_seconds",
            "When the certificate that is served ends, in seconds since 1970",
            metrics.not_after.clone(),
        );
        registry.register(
            "tls_key_pair_refused",
            "1 while the files hold what cannot be served, and the former certificate is",
            metrics.refused.clone(),
        );
        registry.register("tls_reloads", "Certificates taken over while running", metrics.reloads.clone());
        registry.register("tls_handshakes", "Handshakes, by how they ended", metrics.handshakes.clone());
        metrics
    }

    pub(super) fn served(&self, listener: &'static str, not_after: Option<SystemTime>) {
        let seconds = not_after
            .and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok())
            .and_then(|since| i64::try_from(since.as_secs()).ok());
        match seconds {
            Some(seconds) => {
                self.not_after.get_or_create(&Listener { listener }).set(seconds);
            }
            // The former certificate's date would be a lie.
            None => {
                self.not_after.remove(&Listener { listener });
            }
        }
    }

    pub(super) fn reloaded(&self, listener: &'static str) {
        self.reloads.get_or_create(&Listener { listener }).inc();
    }

    pub(super) fn refused(&self, listener: &'static str, refused: bool) {
        self.refused.get_or_create(&Listener { listener }).set(i64::from(refused));
    }

    pub(super) fn handshake(&self, listener: &'static str, result: &'static str) {
        self.handshakes.get_or_create(&Handshake { listener, result }).inc();
    }
}

//! What stands behind a guest's imports.

use std::sync::Arc;

use annex_bundle::Manifest;
use annex_egress::{ManifestList, WayOut};
use annex_engine::{Host, Kv, Log, Metrics, Secrets};
use annex_grant::RunnerErrorCode;

use super::broker::{Broker, NoSecrets};
use super::refusal::Refusal;

/// What stands behind the imports of every call.
pub(crate) struct Behind {
    pub(super) kv: Arc<dyn Kv>,
    pub(super) log: Arc<dyn Log>,
    pub(super) metrics: Arc<dyn Metrics>,
    pub(super) way_out: WayOut,
    /// None: no secrets are given.
    pub(super) broker: Option<Broker>,
}

impl Behind {
    /// For one call. `token` is what it brought for the broker.
    pub(super) fn host(&self, egress: &Arc<ManifestList>, token: Option<&str>) -> Host {
        let secrets: Arc<dyn Secrets> = match (&self.broker, token) {
            (Some(broker), Some(token)) => Arc::new(broker.for_call(token)),
            _ => Arc::new(NoSecrets),
        };
        Host {
            kv: Arc::clone(&self.kv),
            secrets,
            log: Arc::clone(&self.log),
            metrics: Arc::clone(&self.metrics),
            egress: self.way_out.for_call(Arc::clone(egress)),
        }
    }
}

/// Where an extension wants to send requests to.
pub(super) fn manifest_egress(manifest: &Manifest) -> Result<Arc<ManifestList>, Refusal> {
    let parsed = ManifestList::parse(manifest.egress.iter().map(|rule| rule.as_str()));
    // A bundle with such a list is not published.
    parsed.map(Arc::new).map_err(|error| Refusal::new(RunnerErrorCode::GuestFailed, &error.to_string()))
}

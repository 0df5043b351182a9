//! What stands behind a guest's imports.

use std::sync::Arc;

use annex_bundle::Manifest;
use annex_egress::{ManifestList, WayOut};
use annex_engine::{Host, Kv, Log, Metrics, Secrets};
use annex_grant::RunnerErrorCode;
use annex_storage::Store;

use super::broker::{Broker, BrokerToken};
use super::refusal::Refusal;
use super::secrets::{CallSecrets, NoSecrets};
use super::stored::{CallKv, NoStorage, Outage};

/// What stands behind the imports of every call.
pub(crate) struct Behind {
    pub(super) storage: Storage,
    pub(super) log: Arc<dyn Log>,
    pub(super) metrics: Arc<dyn Metrics>,
    pub(super) way_out: WayOut,
    /// None: no secrets are given.
    pub(super) broker: Option<Broker>,
}

/// Where what guests store is kept.
pub(crate) enum Storage {
    /// In a database of the runner's own.
    Own {
        /// As guests see it.
        kv: Arc<dyn Kv>,
        store: Store,
    },
    /// Where the broker keeps it.
    OfBroker(Arc<Outage>),
    /// Nowhere.
    None,
}

impl Behind {
    /// For one call. `token` is what it brought for the broker.
    pub(super) fn host(&self, egress: &Arc<ManifestList>, token: Option<&str>) -> Host {
        let broker = self.broker.clone().zip(token.map(BrokerToken::new));
        let kv: Arc<dyn Kv> = match (&self.storage, &broker) {
            (Storage::Own { kv, .. }, _) => Arc::clone(kv),
            (Storage::OfBroker(outage), Some((broker, token))) => {
                Arc::new(CallKv::new(broker.clone(), token.clone(), Arc::clone(outage)))
            }
            (Storage::OfBroker(_) | Storage::None, _) => Arc::new(NoStorage),
        };
        let secrets: Arc<dyn Secrets> = match broker {
            Some((broker, token)) => Arc::new(CallSecrets::new(broker, token)),
            None => Arc::new(NoSecrets),
        };
        Host {
            kv,
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

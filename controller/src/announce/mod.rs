//! Tells whoever wants to know of flows: as CloudEvents over HTTP, to the sink that `K_SINK` names, such as a broker of Knative Eventing.
//!
//! At least once. What there is to tell is read from statuses, which outlive this process: a replica that begins to lead tells the flows of the
//! last day again, with the ids that they had, by which receivers know what they have. What cannot be delivered is tried again for ever, for
//! each Install in its order; nobody's flow waits for it, but that of an Install which goes, and that for [`LAST_WORDS`].

mod args;
mod event;
mod sink;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use annex_apis::Install;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use kube_kcp::{Backoff, ObjectKey, Outcome, WorkQueue};
use parking_lot::Mutex;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

pub(crate) use args::AnnounceArgs;
use event::{CloudEvent, Whose, events};
use sink::{NotTold, Sink};

use crate::context::Context;

/// What a new leader tells again.
const AGAIN: SignedDuration = SignedDuration::from_hours(24);
/// How long an Install that goes waits for its last flow to be told: after it nobody knows of it any more.
const LAST_WORDS: SignedDuration = SignedDuration::from_mins(10);

/// Who tells.
pub(crate) struct Announcer {
    sink: Option<Sink>,
    pub(crate) queue: Arc<WorkQueue<ObjectKey>>,
    /// The ids that were told of each Install, by its uid: as many as its status has.
    told: Mutex<HashMap<String, HashSet<String>>>,
    counted: Family<Label, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Label {
    result: &'static str,
}

impl Announcer {
    pub(crate) fn new(args: &AnnounceArgs) -> anyhow::Result<Self> {
        Ok(Self {
            sink: args.sink()?,
            queue: Arc::new(WorkQueue::new(Backoff::default(), 1)),
            told: Mutex::default(),
            counted: Family::default(),
        })
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("cloud_events", "CloudEvents, by whether the sink took them", self.counted.clone());
    }

    /// The status of an Install may have something to tell.
    pub(crate) fn note(&self, key: &ObjectKey) {
        if self.sink.is_some() {
            self.queue.add(key.clone());
        }
    }

    /// Another has led: what it has told is not known.
    pub(crate) fn begin(&self) {
        self.told.lock().clear();
    }

    /// Tells what the Install's status has and was not told yet. False: not all of it could be.
    async fn tell(&self, whose: &Whose<'_>, install: &Install, since: Timestamp) -> bool {
        let Some(sink) = &self.sink else { return true };
        let uid = install.uid().unwrap_or_default();
        let events = events(whose, install, since);
        for event in &events {
            if self.told.lock().get(&uid).is_some_and(|told| told.contains(&event.id)) {
                continue;
            }
            let result = match sink.tell(event).await {
                Ok(()) => "ok",
                Err(NotTold::Refused(status)) => {
                    tracing::warn!(install = %whose.key, event = event.id, %status, "the sink does not want an event");
                    "refused"
                }
                Err(NotTold::Away(why)) => {
                    tracing::debug!(install = %whose.key, event = event.id, %why, "an event is told again later");
                    self.counted.get_or_create(&Label { result: "error" }).inc();
                    return false;
                }
            };
            self.counted.get_or_create(&Label { result }).inc();
            self.told.lock().entry(uid.clone()).or_default().insert(event.id.clone());
        }
        // No more than can still be asked for.
        let ids: HashSet<&String> = events.iter().map(|event: &CloudEvent| &event.id).collect();
        if let Some(told) = self.told.lock().get_mut(&uid) {
            told.retain(|id| ids.contains(id));
        }
        true
    }

    /// Tells the last flow of an Install that is about to go. False: it has to wait.
    pub(crate) async fn tell_last(&self, context: &Context, key: &ObjectKey, install: &Install) -> bool {
        if self.sink.is_none() {
            return true;
        }
        let now = Timestamp::now();
        let began = install.status.as_ref().and_then(|status| Some(status.flow.as_ref()?.started_at.0));
        let since = now - AGAIN;
        let told = self.tell(&whose(context, key), install, since).await;
        let forgets = told || began.is_some_and(|began| now.duration_since(began) > LAST_WORDS);
        if forgets {
            if !told {
                tracing::warn!(install = %key, "it goes, and its last flow could not be told to the sink");
            }
            self.told.lock().remove(&install.uid().unwrap_or_default());
        }
        forgets
    }
}

fn whose<'a>(context: &Context, key: &'a ObjectKey) -> Whose<'a> {
    let tenant = context.catalog.tenants.named(key.cluster.as_str());
    let id = tenant.map_or_else(
        || key.cluster.to_string(),
        |tenant| annex_apis::tenant_id(&tenant, &key.cluster).to_owned(),
    );
    Whose { key, tenant: id }
}

/// Tells of one Install.
pub(crate) async fn announce(context: Arc<Context>, key: ObjectKey) -> Outcome {
    let Some(install) = context.tenants.installs.get(&key) else { return Outcome::Done };
    let since = Timestamp::now() - AGAIN;
    match context.announcer.tell(&whose(&context, &key), &install, since).await {
        true => Outcome::Done,
        false => Outcome::Failed,
    }
}

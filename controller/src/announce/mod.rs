//! Tells whoever wants to know of flows: as CloudEvents over HTTP, to the sink that `K_SINK` names, such as a broker of Knative Eventing.
//!
//! At least once. What there is to tell is read from each status that is written, and kept until the sink has it, also when the status says
//! something else by then. Statuses outlive this process: a replica that begins to lead tells the flows of the
//! last day again, with the ids that they had, by which receivers know what they have. What cannot be delivered is tried again for ever, for
//! each Install in its order; nobody's flow waits for it, but that of an Install which goes, and that for [`LAST_WORDS`]. What is lost: of more than
//! [`MOST_WAITING`] events of an Install the first, and what no status says any more when this process ends while the sink is away.

mod args;
mod event;
mod sink;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use annex_apis::Install;
use jiff::{SignedDuration, Timestamp};
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

/// So many events of an Install wait for the sink.
const MOST_WAITING: usize = 256;

/// Who tells.
pub(crate) struct Announcer {
    sink: Option<Sink>,
    pub(crate) queue: Arc<WorkQueue<ObjectKey>>,
    of: Mutex<HashMap<ObjectKey, OfInstall>>,
    counted: Family<Label, Counter>,
}

/// What there is to tell of an Install.
#[derive(Debug, Default)]
struct OfInstall {
    /// What the sink has not got yet, the oldest first.
    waiting: VecDeque<CloudEvent>,
    /// The ids of what it has: as many as the status has.
    told: HashSet<String>,
    /// When it was first tried to tell the last of it.
    last_since: Option<Timestamp>,
}

impl OfInstall {
    /// The status has these events. Returns how many are given up, because too many wait.
    fn has(&mut self, events: Vec<CloudEvent>) -> usize {
        let ids: HashSet<String> = events.iter().map(|event| event.id.clone()).collect();
        self.told.retain(|id| ids.contains(id));
        for event in events {
            let is_known =
                self.told.contains(&event.id) || self.waiting.iter().any(|waits| waits.id == event.id);
            if !is_known {
                self.waiting.push_back(event);
            }
        }
        let too_many = self.waiting.len().saturating_sub(MOST_WAITING);
        self.told.extend(self.waiting.drain(..too_many).map(|event| event.id));
        too_many
    }

    /// The sink has this one, or does not want it.
    fn is_told(&mut self, id: &str) {
        self.waiting.retain(|event| event.id != id);
        self.told.insert(id.to_owned());
    }
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
            of: Mutex::default(),
            counted: Family::default(),
        })
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("cloud_events", "CloudEvents, by whether the sink took them", self.counted.clone());
    }

    /// The status of an Install may have something to tell.
    pub(crate) fn note(&self, context: &Context, key: &ObjectKey, install: &Install) {
        if self.sink.is_some() {
            self.keep(context, key, install);
            self.queue.add(key.clone());
        }
    }

    fn keep(&self, context: &Context, key: &ObjectKey, install: &Install) {
        let events = events(&whose(context, key), install, Timestamp::now() - AGAIN);
        let given_up = self.of.lock().entry(key.clone()).or_default().has(events);
        if given_up > 0 {
            tracing::warn!(install = %key, given_up, "events wait for the sink, and the oldest are given up");
            self.counted.get_or_create(&Label { result: "given_up" }).inc_by(given_up as u64);
        }
    }

    /// Another has led: what it has told is not known.
    pub(crate) fn begin(&self) {
        self.of.lock().clear();
    }

    /// Tells what waits of an Install. False: not all of it could be.
    async fn tell(&self, key: &ObjectKey) -> bool {
        let Some(sink) = &self.sink else { return true };
        loop {
            let next = self.of.lock().get(key).and_then(|of| of.waiting.front().cloned());
            let Some(event) = next else { return true };
            let result = match sink.tell(&event).await {
                Ok(()) => "ok",
                Err(NotTold::Refused(status)) => {
                    tracing::warn!(install = %key, event = event.id, %status, "the sink does not want an event");
                    "refused"
                }
                Err(NotTold::Away(why)) => {
                    tracing::debug!(install = %key, event = event.id, %why, "an event is told again later");
                    self.counted.get_or_create(&Label { result: "error" }).inc();
                    return false;
                }
            };
            self.counted.get_or_create(&Label { result }).inc();
            if let Some(of) = self.of.lock().get_mut(key) {
                of.is_told(&event.id);
            }
        }
    }

    /// Tells the last flow of an Install that is about to go. False: it has to wait.
    pub(crate) async fn tell_last(&self, context: &Context, key: &ObjectKey, install: &Install) -> bool {
        if self.sink.is_none() {
            return true;
        }
        let now = Timestamp::now();
        self.keep(context, key, install);
        let tried = self.of.lock().get_mut(key).and_then(|of| {
            let tried = of.last_since;
            of.last_since = tried.or(Some(now));
            tried
        });
        // Once at once; after that those tell who keep no other Install waiting.
        let told = match tried {
            None => self.tell(key).await,
            Some(_) => {
                self.queue.add(key.clone());
                self.of.lock().get(key).is_none_or(|of| of.waiting.is_empty())
            }
        };
        let forgets = told || tried.is_some_and(|first| now.duration_since(first) > LAST_WORDS);
        if forgets {
            if !told {
                tracing::warn!(install = %key, "it goes, and its last flow could not be told to the sink");
            }
            self.of.lock().remove(key);
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

/// Tells of one Install. Of one that is gone nobody waits for what could not be told.
pub(crate) async fn announce(context: Arc<Context>, key: ObjectKey) -> Outcome {
    let told = context.announcer.tell(&key).await;
    let is_there = context.tenants.installs.get(&key).is_some();
    if !is_there {
        context.announcer.of.lock().remove(&key);
    }
    if told || !is_there { Outcome::Done } else { Outcome::Failed }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn install(id: &str, ended: bool) -> Install {
        let finished = ended.then_some("2026-01-01T00:00:05Z");
        let (action, from) = ("Upgrade", "1.0.0");
        let status = if ended { "FINISHED" } else { "IN_PROGRESS" };
        let record = json!({ "id": id, "action": action, "status": status, "from": from, "to": "1.1.0",
            "startedAt": "2026-01-01T00:00:00Z", "finishedAt": finished });
        let mut flow = record.clone();
        flow["stages"] = json!([{ "name": "Lifecycle/store", "status": status, "finishedAt": finished }]);
        let history = if ended { json!([record]) } else { json!([]) };
        serde_json::from_value(json!({
            "apiVersion": "annex.sh/v1alpha1", "kind": "Install", "metadata": { "name": "hello", "uid": "u" },
            "spec": { "extension": "com.example.hello" }, "status": { "flow": flow, "history": history },
        }))
        .unwrap()
    }

    fn has(of: &mut OfInstall, install: &Install) -> usize {
        let key = ObjectKey {
            cluster: "acme".parse().unwrap(),
            namespace: "default".to_owned(),
            name: "hello".to_owned(),
        };
        let since = "2025-12-31T00:00:00Z".parse().unwrap();
        of.has(events(&Whose { key: &key, tenant: "acme".to_owned() }, install, since))
    }

    #[test]
    fn what_no_status_says_any_more_is_told_all_the_same() {
        let mut of = OfInstall::default();
        let ids = |of: &OfInstall| of.waiting.iter().map(|event| event.id.clone()).collect::<Vec<_>>();
        has(&mut of, &install("one", false));
        has(&mut of, &install("one", true));
        // With a history of one.
        has(&mut of, &install("two", false));
        assert_eq!(ids(&of), ["one.started", "one.module.store", "one.ended", "two.started"]);
        for id in ids(&of) {
            of.is_told(&id);
        }
        has(&mut of, &install("two", false));
        assert_eq!(ids(&of), Vec::<String>::new());
        has(&mut of, &install("two", true));
        assert_eq!(ids(&of), ["two.module.store", "two.ended"]);

        let given_up: usize =
            (0..MOST_WAITING).map(|number| has(&mut of, &install(&number.to_string(), false))).sum();
        assert_eq!((given_up, of.waiting.len()), (2, MOST_WAITING));
    }
}

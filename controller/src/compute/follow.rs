//! Following a cluster: what it serves, whether it answers, what changes there.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use annex_apis::MANAGED_LABEL;
use annex_core::HostName;
use kube::{Api, ResourceExt as _, core::DynamicObject, runtime::watcher};
use kube_kcp::Brief;
use tokio::{sync::mpsc, task::JoinSet, time::Instant};

use super::{
    desired::TLS_SECRET,
    kind::{Kind, SERVING},
    observed::{Condition, condition, is_false, made_for, short},
    place::{About, Layout, Notice, Place, State},
};
use crate::store::{self, Store, Told};

const HEALTH_EVERY: Duration = Duration::from_secs(2);
/// How often a tenant's own cluster is asked. There may be many, and an outage of one is that tenant's alone.
const HEALTH_EVERY_ELSEWHERE: Duration = Duration::from_secs(15);
/// A first list that has not ended after this is not on its way any more.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many objects of a kind are taken in from a tenant's own cluster, which may answer with any number.
pub(super) const MOST_ELSEWHERE: usize = 500;
/// About how much memory the objects of a tenant's own cluster may take, of all kinds together.
pub(super) const MOST_BYTES_ELSEWHERE: usize = 2 * 1024 * 1024;
/// How many objects of a tenant's own cluster are asked for at a time.
const PAGE_ELSEWHERE: u32 = 50;
/// What the source of the certificates' copies is called where its watch fails.
const CERTIFICATE: &str = "the domains' certificate";
/// A single lost answer, of a server that restarts or a machine that stalls, must not turn every Install over.
const MISSES: u32 = 3;
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

impl Place {
    /// Follows the cluster for ever, and tells what changed.
    pub(crate) async fn follow(self: Arc<Self>, notices: mpsc::UnboundedSender<Notice>) {
        let mut followers = JoinSet::new();
        let (mut misses, mut asked, mut began) = (0, None::<Instant>, Instant::now());
        let every = if self.is_elsewhere() { HEALTH_EVERY_ELSEWHERE } else { HEALTH_EVERY };
        let mut ticks = tokio::time::interval(HEALTH_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            if self.changed.swap(false, Ordering::AcqRel) {
                self.send(&notices, About::Everything);
            }
            if asked.is_some_and(|asked| asked.elapsed() < every) {
                if followers.is_empty() {
                    continue;
                }
                self.enter(self.judge(began), &notices);
                continue;
            }
            asked = Some(Instant::now());
            let answer = tokio::time::timeout(HEALTH_TIMEOUT, self.discover()).await;
            if let Ok(Ok(Some(version))) = answer {
                if std::mem::take(&mut misses) >= MISSES {
                    self.failing.forget();
                    began = Instant::now();
                }
                if self.mappings.write().replace(version) != Some(version) {
                    // What was followed under another version is followed anew under this one.
                    followers.abort_all();
                    began = Instant::now();
                    self.start(&mut followers, version, &notices);
                }
                self.enter(self.judge(began), &notices);
                continue;
            }
            // One lost answer, or one of a load balancer before a server that starts, says nothing.
            misses += 1;
            if misses < MISSES {
                asked = None;
                continue;
            }
            self.enter(
                match answer {
                    Ok(Ok(_)) => State::NoKnative,
                    Ok(Err(error)) => State::Unreachable(short(&Brief(&error).to_string())),
                    Err(_) => State::Unreachable(format!("no answer within {} s", HEALTH_TIMEOUT.as_secs())),
                },
                &notices,
            );
        }
    }

    fn start(
        self: &Arc<Self>,
        followers: &mut JoinSet<()>,
        version: &'static str,
        notices: &mpsc::UnboundedSender<Notice>,
    ) {
        for (kind, store) in self.stores.clone() {
            followers.spawn(self.clone().follow_kind(kind, store, version, notices.clone()));
        }
        if self.copies_certificate() {
            followers.spawn(self.clone().follow_certificate(notices.clone()));
        }
    }

    /// How a cluster that answers is, by its watches.
    fn judge(&self, began: Instant) -> State {
        match self.failing.believed() {
            Some(why) => State::Refused(short(&why)),
            None if self.is_synced() => State::Known,
            None if began.elapsed() > PATIENCE => State::Refused("a list does not end".to_owned()),
            // A place that was known is not unknown again for a list that is made anew.
            None => State::Listing,
        }
    }

    fn enter(&self, now: State, notices: &mpsc::UnboundedSender<Notice>) {
        let before = std::mem::replace(&mut *self.state.write(), now.clone());
        // Its words change from try to try, what it means does not.
        if std::mem::discriminant(&before) != std::mem::discriminant(&now) {
            tracing::info!(place = ?self.id, state = ?now, "the compute cluster");
            self.send(notices, About::Everything);
        }
    }

    /// What a tenant's own cluster says is about that tenant's Installs there, whatever it names, and is told at the pace of the
    /// health checks, however fast it speaks.
    fn tell(&self, notices: &mpsc::UnboundedSender<Notice>, about: About) {
        if self.is_elsewhere() {
            self.changed.store(true, Ordering::Release);
        } else {
            self.send(notices, about);
        }
    }

    fn send(&self, notices: &mpsc::UnboundedSender<Notice>, about: About) {
        // Who listened has ended only when the process does.
        let _ = notices.send(Notice { place: self.id.clone(), about });
    }

    /// The version that serves DomainMappings. None: there is no Knative Serving.
    async fn discover(&self) -> Result<Option<&'static str>, kube::Error> {
        for version in ["v1", "v1beta1"] {
            match self.client.list_api_group_resources(&format!("{SERVING}/{version}")).await {
                Ok(list) if list.resources.iter().any(|resource| resource.name == "domainmappings") => {
                    return Ok(Some(version));
                }
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    async fn follow_kind(
        self: Arc<Self>,
        kind: Kind,
        store: Arc<Store<DynamicObject>>,
        version: &'static str,
        notices: mpsc::UnboundedSender<Notice>,
    ) {
        let resource = kind.resource(version);
        let ours = format!("{MANAGED_LABEL}=true");
        let mut config = watcher::Config::default();
        // Of Annex's own cluster the mappings and claims of others are seen too: one of them may have a host that is asked for, and
        // when it goes that is to be noticed. The shared runner is the operator's.
        let others = match kind {
            Kind::DomainMapping | Kind::ClusterDomainClaim => !self.is_elsewhere(),
            Kind::Service => matches!(self.layout, Layout::Shared { .. }),
            _ => false,
        };
        if kind == Kind::Secret {
            // By name, which is all that the identity may read.
            config = config.fields(&format!("metadata.name={TLS_SECRET}"));
        } else if !others {
            config = config.labels(&ours);
        }
        if self.is_elsewhere() {
            config = config.page_size(PAGE_ELSEWHERE);
        }
        let api = match &self.layout {
            Layout::Within { namespace } | Layout::Shared { namespace, .. } if kind.is_namespaced() => {
                Api::namespaced_with(self.client.clone(), namespace, &resource)
            }
            _ => Api::all_with(self.client.clone(), &resource),
        };
        let told = |told: Told<'_, DynamicObject>| match told {
            Told::Heard => self.failing.heard(kind.name()),
            Told::Synced => {
                self.failing.heard(kind.name());
                if self.is_synced() && *self.state.read() == State::Listing {
                    self.enter(State::Known, &notices);
                }
            }
            Told::Failed(why) => self.failing.failed(kind.name(), why),
            Told::Full => {
                let most = MOST_BYTES_ELSEWHERE / 1024 / 1024;
                let why =
                    format!("there are more than {MOST_ELSEWHERE} objects, or more than {most} MiB of them");
                self.failing.ended(kind.name(), why);
            }
            Told::Changed(object) => {
                let named = matches!(kind, Kind::DomainMapping | Kind::ClusterDomainClaim);
                if let Some(host) = named.then(|| object.name_any().parse::<HostName>().ok()).flatten() {
                    self.tell(&notices, About::Host(host));
                }
                if let Some(cluster) = made_for(object) {
                    self.tell(&notices, About::Workspace(cluster));
                } else if self.is_shared_runner(kind, object) {
                    if let Condition::Not { reason, message } = condition(object, "Ready")
                        && is_false(object, "Ready")
                    {
                        tracing::warn!(%reason, message, "the shared runner does not start");
                    }
                    self.tell(&notices, About::Everything);
                }
            }
        };
        store::follow(api, config, store, kind.name(), told).await;
    }

    fn is_shared_runner(&self, kind: Kind, object: &DynamicObject) -> bool {
        kind == Kind::Service
            && matches!(&self.layout, Layout::Shared { kservice, .. } if *kservice == object.name_any())
    }

    /// The certificate that the copies are made of.
    async fn follow_certificate(self: Arc<Self>, notices: mpsc::UnboundedSender<Notice>) {
        let Some((namespace, name)) = &self.tls_secret else { return };
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let api = Api::namespaced_with(self.client.clone(), namespace, &Kind::Secret.resource(""));
        let told = |told: Told<'_, DynamicObject>| match told {
            Told::Changed(_) => self.tell(&notices, About::Everything),
            Told::Heard | Told::Synced => self.failing.heard(CERTIFICATE),
            Told::Failed(why) => self.failing.failed(CERTIFICATE, why),
            Told::Full => {}
        };
        store::follow(api, config, self.certificate.clone(), CERTIFICATE, told).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use serde_json::json;

    use super::*;
    use crate::{
        compute::{PlaceId, Setup},
        scripted::{self, Answer, Asked},
    };

    fn place(answer: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> Arc<Place> {
        Arc::new(Place::new(scripted::platform(scripted::cluster(answer))))
    }

    /// What the place is said to be, each second of two minutes.
    async fn states(place: &Arc<Place>) -> Vec<State> {
        let (notices, _heard) = mpsc::unbounded_channel();
        let follower = tokio::spawn(place.clone().follow(notices));
        let mut states = Vec::new();
        for _ in 0..120 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            states.push(place.state());
        }
        follower.abort();
        states
    }

    /// kube's watcher begins such a watch again where it was, and of namespaces in which nothing changes no event tells that.
    #[tokio::test(start_paused = true)]
    async fn a_broken_watch_that_begins_again_keeps_nobody_from_running() {
        let watches = AtomicUsize::new(0);
        let place = place(move |asked| {
            let namespaces = asked.what == "GET /api/v1/namespaces" && asked.is_watch();
            (namespaces && watches.fetch_add(1, Ordering::Relaxed) < 3)
                .then(|| scripted::breaks_after(Duration::ZERO))
        });
        let states = states(&place).await;
        let first = states.iter().position(|state| *state == State::Known).unwrap();
        assert!(states.iter().skip(first).all(|state| *state == State::Known), "{states:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_stays_broken_is_a_refusal() {
        let place = place(|asked| {
            let namespaces = asked.what == "GET /api/v1/namespaces" && asked.is_watch();
            namespaces.then(|| scripted::refusal(403, "namespaces is forbidden"))
        });
        let states = states(&place).await;
        let refused = State::Refused("Namespace: namespaces is forbidden (403)".to_owned());
        let first = states.iter().position(|state| *state == refused).unwrap();
        assert!((20..40).contains(&first), "{states:?}");
        assert!(states.iter().skip(first).all(|state| *state == refused), "{states:?}");
    }

    /// As one does of which so much comes that an answer has no room for it.
    #[tokio::test(start_paused = true)]
    async fn a_watch_that_breaks_again_and_again_and_brings_something_each_time_works() {
        let place = place(|asked| {
            let namespaces = asked.what == "GET /api/v1/namespaces" && asked.is_watch();
            let added = json!({ "type": "ADDED", "object": { "apiVersion": "v1", "kind": "Namespace",
                "metadata": { "name": "annex-acme", "uid": "n", "resourceVersion": "2" } } });
            namespaces.then(|| scripted::breaks_after_saying(&added, Duration::from_secs(3)))
        });
        let states = states(&place).await;
        assert!(states.iter().skip(3).all(|state| *state == State::Known), "{states:?}");
    }

    /// Everything failed while nothing was answered.
    #[tokio::test(start_paused = true)]
    async fn a_cluster_that_is_back_is_known_at_once() {
        let began = Instant::now();
        let place = place(move |asked| match began.elapsed().as_secs() {
            20..80 => Some(scripted::refusal(503, "not now")),
            ..20 if asked.is_watch() => Some(scripted::breaks_after(Duration::from_secs(20))),
            _ => None,
        });
        let states = states(&place).await;
        let last = states.iter().rposition(|state| matches!(state, State::Unreachable(_))).unwrap();
        assert!(last >= 79, "{states:?}");
        assert!(states.iter().skip(last + 1).all(|state| *state == State::Known), "{states:?}");
    }

    /// A hundred objects of almost a megabyte, each in an answer of its own.
    #[tokio::test(start_paused = true)]
    async fn a_tenants_cluster_that_has_too_much_is_let_go_and_looked_at_again() {
        let (began, lists) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
        let counted = lists.clone();
        let cluster = scripted::cluster(move |asked| {
            let services = asked.what.ends_with("/services") && !asked.is_watch();
            if !services || began.elapsed() > Duration::from_secs(55) {
                return None;
            }
            let page = counted.fetch_add(1, Ordering::Relaxed);
            let service = json!({ "apiVersion": "serving.knative.dev/v1", "kind": "Service",
                "metadata": { "name": format!("s{page}"), "namespace": "n" }, "spec": { "heap": "x".repeat(900_000) } });
            let more = json!({ "resourceVersion": "1", "continue": "more" });
            Some(scripted::object(json!({ "metadata": more, "items": [service] })))
        });
        let id = PlaceId::Environment(kube_kcp::ObjectKey {
            cluster: "acme".parse().unwrap(),
            namespace: "default".to_owned(),
            name: "mine".to_owned(),
        });
        let place = Arc::new(Place::new(Setup { id, ..scripted::platform(cluster) }));
        let states = states(&place).await;
        let says = |state: &State| matches!(state, State::Refused(why) if why.contains("more than 2 MiB"));
        assert!(states.iter().skip(3).take(50).all(says), "{states:?}");
        assert_eq!(states.last(), Some(&State::Known));
        assert_eq!(
            lists.load(Ordering::Relaxed),
            3,
            "two fit, and nothing more is asked for once the third does not"
        );
        assert!(place.stores[&Kind::Service].filter(|_| true).is_empty());
    }
}

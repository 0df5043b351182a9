//! Following a cluster: what it serves, whether it answers, what changes there.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use annex_apis::MANAGED_LABEL;
use annex_core::HostName;
use kube::{Api, ResourceExt as _, core::DynamicObject, runtime::watcher};
use kube_kcp::Brief;
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    desired::TLS_SECRET,
    kind::{Kind, SERVING},
    observed::{made_for, short},
    place::{About, Layout, Notice, Place, State},
};
use crate::store::{self, Store, Told};

const HEALTH_EVERY: Duration = Duration::from_secs(2);
/// How often a tenant's own cluster is asked. There may be many, and an outage of one is that tenant's alone.
const HEALTH_EVERY_ELSEWHERE: Duration = Duration::from_secs(15);
/// A list that has not ended, or a watch that fails, for this long is not on its way any more.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many objects of a kind are taken in from a tenant's own cluster, which may answer with any number.
pub(super) const MOST_ELSEWHERE: usize = 500;
/// How many objects of a tenant's own cluster are asked for at a time.
const PAGE_ELSEWHERE: u32 = 50;
/// A single lost answer, of a server that restarts or a machine that stalls, must not turn every Install over.
const MISSES: u32 = 3;
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

impl Place {
    /// Follows the cluster for ever, and tells what changed.
    pub(crate) async fn follow(self: Arc<Self>, notices: mpsc::UnboundedSender<Notice>) {
        let mut followers = JoinSet::new();
        let (mut misses, mut asked, began) = (0, None::<Instant>, Instant::now());
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
                misses = 0;
                if self.mappings.write().replace(version) != Some(version) {
                    // What was followed under another version is followed anew under this one.
                    followers.abort_all();
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
        let failing = self.failing.lock();
        let why = failing.iter().find(|(_, (since, _))| since.elapsed() > PATIENCE);
        match why {
            Some((kind, (_, why))) => State::Refused(short(&format!("{}: {why}", kind.name()))),
            None if self.is_synced() => State::Known,
            None if began.elapsed() > PATIENCE * 3 => State::Refused("a list does not end".to_owned()),
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
            Told::Synced => {
                self.failing.lock().remove(&kind);
                if self.is_synced() && *self.state.read() == State::Listing {
                    self.enter(State::Known, &notices);
                }
            }
            Told::Failed(why) => self.fails(kind, why),
            Told::Full => {
                let long_ago = Instant::now().checked_sub(PATIENCE * 2).unwrap_or_else(Instant::now);
                let why = format!("there are more than {MOST_ELSEWHERE} objects");
                self.failing.lock().insert(kind, (long_ago, why));
            }
            Told::Changed(object) => {
                self.failing.lock().remove(&kind);
                let named = matches!(kind, Kind::DomainMapping | Kind::ClusterDomainClaim);
                if let Some(host) = named.then(|| object.name_any().parse::<HostName>().ok()).flatten() {
                    self.tell(&notices, About::Host(host));
                }
                if let Some(cluster) = made_for(object) {
                    self.tell(&notices, About::Workspace(cluster));
                } else if self.is_shared_runner(kind, object) {
                    self.tell(&notices, About::Everything);
                }
            }
        };
        store::follow(api, config, store, kind.name(), told).await;
    }

    fn fails(&self, kind: Kind, why: String) {
        let mut failing = self.failing.lock();
        let since = failing.get(&kind).map_or_else(Instant::now, |(since, _)| *since);
        failing.insert(kind, (since, why));
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
            Told::Synced => {
                self.certificate_failing(None);
            }
            Told::Failed(why) => self.certificate_failing(Some(why)),
            Told::Full => {}
        };
        store::follow(api, config, self.certificate.clone(), "the domains' certificate", told).await;
    }

    fn certificate_failing(&self, why: Option<String>) {
        match why {
            Some(why) => self.fails(Kind::Secret, why),
            None => drop(self.failing.lock().remove(&Kind::Secret)),
        }
    }
}

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use annex_apis::MANAGED_LABEL;
use annex_core::HostName;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions},
    core::DynamicObject,
    runtime::watcher,
};
use kube_kcp::{Brief, ClusterName, ObjectKey};
use parking_lot::{Mutex, RwLock};
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    desired::{Desired, TLS_SECRET},
    kind::{Kind, SERVING},
    observed::{made_for, short},
    options::Options,
};
use crate::{
    api_writes::{ApiWrites, TIMEOUT, WriteError},
    store::{self, Name, Store, Told},
};

/// What owns the fields that Annex sets on a cluster.
const FIELD_MANAGER: &str = "annex-controller";
const HEALTH_EVERY: Duration = Duration::from_secs(2);
/// How often a tenant's own cluster is asked. There may be many, and an outage of one is that tenant's alone.
const HEALTH_EVERY_ELSEWHERE: Duration = Duration::from_secs(15);
/// A list that has not ended, or a watch that fails, for this long is not on its way any more.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long one request to a tenant's own cluster may take: it keeps a worker busy.
const REQUEST_ELSEWHERE: Duration = Duration::from_secs(5);
/// How many objects of a kind are taken in from a tenant's own cluster, which may answer with any number.
const MOST_ELSEWHERE: usize = 500;
/// How many objects of a tenant's own cluster are asked for at a time.
const PAGE_ELSEWHERE: u32 = 50;
/// How many objects are removed in one pass.
pub(super) const REMOVED_AT_A_TIME: u32 = 20;
/// A single lost answer, of a server that restarts or a machine that stalls, must not turn every Install over.
const MISSES: u32 = 3;
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// Which cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PlaceId {
    /// The platform's own.
    Platform,
    /// The one that a ManagedEnvironment opens.
    Environment(ObjectKey),
}

/// How runners are laid out in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// A namespace of its own for each workspace.
    NamespacePerWorkspace,
    /// Runners of their own in a namespace that is somebody else's.
    Within {
        /// That namespace.
        namespace: String,
    },
    /// One runner for all, which somebody else made.
    Shared {
        /// Its namespace, where the mappings are made too.
        namespace: String,
        /// Its name.
        kservice: String,
    },
}

/// A cluster with Knative, and what is known of it.
pub(crate) struct Place {
    pub(super) id: PlaceId,
    /// What everything that is made through it is labelled with.
    pub(super) label: String,
    pub(super) layout: Layout,
    /// Whether ClusterDomainClaims are made here. Otherwise they are not even read: there may be no right to.
    pub(super) claims: bool,
    /// Namespace and name of the certificate that is copied to each workspace's namespace.
    pub(super) tls_secret: Option<(String, String)>,
    pub(super) options: Option<Options>,
    pub(super) writes: ApiWrites,
    client: Client,
    stores: BTreeMap<Kind, Arc<Store<DynamicObject>>>,
    certificate: Arc<Store<DynamicObject>>,
    mappings: RwLock<Option<&'static str>>,
    state: RwLock<State>,
    /// The kinds whose watch fails, since when and why.
    failing: Mutex<HashMap<Kind, (Instant, String)>>,
    /// Something has changed on a tenant's cluster that has not been told yet.
    changed: AtomicBool,
    /// One at a time makes the runners of a workspace: two would write everything twice.
    turns: Mutex<HashMap<ClusterName, Arc<tokio::sync::Mutex<()>>>>,
}

/// Whether anything can be decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Not everything has been listed.
    Listing,
    /// Everything that is watched is known.
    Known,
    /// There is no Knative Serving.
    NoKnative,
    /// It answers, but does not let Annex see what it has to see. Why, in one line.
    Refused(String),
    /// Nothing is answered. Why, in one line.
    Unreachable(String),
}

impl State {
    /// For the operator.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Listing => "is being listed".to_owned(),
            Self::Known => "answers".to_owned(),
            Self::NoKnative => "has no Knative Serving".to_owned(),
            Self::Refused(why) => format!("does not show what is asked for: {why}"),
            Self::Unreachable(why) => format!("does not answer: {why}"),
        }
    }
}

/// What has changed on a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    pub(crate) place: PlaceId,
    pub(crate) about: About,
}

/// What a notice is about.
#[derive(Clone, Debug)]
pub(crate) enum About {
    /// Something that was made for this workspace.
    Workspace(ClusterName),
    /// Something named like this host, which somebody else may have made.
    Host(HostName),
    /// Everything: the place came to be known, was lost, or something changed that all share.
    Everything,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place").field("id", &self.id).field("layout", &self.layout).finish_non_exhaustive()
    }
}

/// Everything that a place is set up with.
pub(crate) struct Setup {
    pub(crate) id: PlaceId,
    /// What everything that is made through it is labelled with: a label's value.
    pub(crate) label: String,
    pub(crate) client: Client,
    pub(crate) layout: Layout,
    pub(crate) claims: bool,
    pub(crate) tls_secret: Option<(String, String)>,
    pub(crate) options: Option<Options>,
    pub(crate) writes: ApiWrites,
}

impl Place {
    pub(crate) fn new(setup: Setup) -> Self {
        let Setup { id, label, client, layout, claims, tls_secret, options, writes } = setup;
        let mut kinds = vec![Kind::Service, Kind::DomainMapping];
        if layout == Layout::NamespacePerWorkspace {
            kinds.extend([Kind::Namespace, Kind::ResourceQuota, Kind::NetworkPolicy]);
            if tls_secret.is_some() {
                kinds.push(Kind::Secret);
            }
        }
        if claims {
            kinds.push(Kind::ClusterDomainClaim);
        }
        let capacity = match &id {
            PlaceId::Platform => usize::MAX,
            PlaceId::Environment(_) => MOST_ELSEWHERE,
        };
        let stores = kinds.into_iter().map(|kind| (kind, Arc::new(Store::holding(capacity)))).collect();
        Self {
            id,
            label,
            layout,
            claims,
            tls_secret,
            options,
            writes,
            client,
            stores,
            certificate: Arc::default(),
            mappings: RwLock::new(None),
            state: RwLock::new(State::Listing),
            failing: Mutex::default(),
            changed: AtomicBool::new(false),
            turns: Mutex::default(),
        }
    }

    /// What a tenant may read of where it is.
    pub(crate) fn describe(&self) -> String {
        match &self.id {
            PlaceId::Platform => "the platform's compute cluster".to_owned(),
            PlaceId::Environment(key) => format!("the environment {}", key.name),
        }
    }

    /// The name of the environment that opens it. None: it is the platform's own.
    pub(crate) fn environment(&self) -> Option<&ObjectKey> {
        match &self.id {
            PlaceId::Platform => None,
            PlaceId::Environment(key) => Some(key),
        }
    }

    /// How it is. What is not [`State::Known`] decides nothing.
    pub(crate) fn state(&self) -> State {
        self.state.read().clone()
    }

    fn is_elsewhere(&self) -> bool {
        matches!(self.id, PlaceId::Environment(_))
    }

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

    fn is_synced(&self) -> bool {
        self.stores.values().all(|store| store.is_synced())
            && (!self.copies_certificate() || self.certificate.is_synced())
    }

    /// Whether the domains here have a certificate.
    pub(crate) fn has_certificate(&self) -> bool {
        self.tls_secret.is_some()
    }

    /// Whether each workspace's namespace gets the domains' certificate.
    pub(super) fn copies_certificate(&self) -> bool {
        self.stores.contains_key(&Kind::Secret)
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

    /// The certificate that the copies are made of, where there are copies and it is there.
    pub(super) fn certificate(&self) -> Option<Arc<DynamicObject>> {
        let (namespace, name) = self.tls_secret.as_ref()?;
        self.certificate.get(&Name::within(namespace, name))
    }

    /// What is there.
    pub(super) fn get(&self, kind: Kind, name: &Name) -> Option<Arc<DynamicObject>> {
        self.stores.get(&kind)?.get(name)
    }

    /// All of a kind that satisfy `keep`.
    pub(super) fn filter(
        &self,
        kind: Kind,
        keep: impl Fn(&DynamicObject) -> bool,
    ) -> Vec<Arc<DynamicObject>> {
        self.stores.get(&kind).map(|store| store.filter(keep)).unwrap_or_default()
    }

    /// Waits for the turn to make the runners of a workspace.
    pub(super) async fn turn(&self, cluster: &ClusterName) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = self.turns.lock().entry(cluster.clone()).or_default().clone();
        turn.lock_owned().await
    }

    /// Nothing of the workspace is here any more.
    pub(super) fn forget_turn(&self, cluster: &ClusterName) {
        self.turns.lock().remove(cluster);
    }

    fn api(&self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        let resource = kind.resource(self.mappings.read().unwrap_or("v1beta1"));
        if kind.is_namespaced() {
            Api::namespaced_with(self.client.clone(), namespace, &resource)
        } else {
            Api::all_with(self.client.clone(), &resource)
        }
    }

    fn body(&self, desired: &Desired) -> Value {
        let resource = desired.kind.resource(self.mappings.read().unwrap_or("v1beta1"));
        let mut body = desired.body.clone();
        if let Some(body) = body.as_object_mut() {
            body.insert("apiVersion".to_owned(), json!(resource.api_version));
        }
        body
    }

    fn wrote(&self, kind: Kind, object: DynamicObject) -> Arc<DynamicObject> {
        let name = Name::of(&object);
        match self.stores.get(&kind) {
            Some(store) => {
                store.wrote(object.clone());
                store.get(&name).unwrap_or_else(|| Arc::new(object))
            }
            None => Arc::new(object),
        }
    }

    async fn write<T>(
        &self,
        kind: Kind,
        write: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, WriteError> {
        let limit = if self.is_elsewhere() { REQUEST_ELSEWHERE } else { TIMEOUT };
        self.writes.count_within(limit, kind.name(), write).await
    }

    async fn read<T>(
        &self,
        kind: Kind,
        read: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, WriteError> {
        let limit = if self.is_elsewhere() { REQUEST_ELSEWHERE } else { TIMEOUT };
        tokio::time::timeout(limit, read)
            .await
            .map_err(|_| WriteError::Timeout(kind.name()))?
            .map_err(|error| WriteError::Unread { what: kind.name(), error: Box::new(error) })
    }

    /// The object as the cluster has it now, whatever the watch has brought.
    pub(super) async fn ask(&self, kind: Kind, name: &Name) -> Result<Option<DynamicObject>, WriteError> {
        self.read(kind, self.api(kind, &name.namespace).get_opt(&name.name)).await
    }

    /// The first objects with these labels that the cluster has now. None where the kind or the namespace is not there.
    pub(super) async fn list(
        &self,
        kind: Kind,
        namespace: &str,
        labels: &str,
    ) -> Result<Vec<DynamicObject>, WriteError> {
        let params = ListParams::default().labels(labels).limit(REMOVED_AT_A_TIME);
        let api = self.api(kind, namespace);
        match self.read(kind, async { api.list(&params).await }).await {
            Ok(list) => Ok(list.items),
            Err(error) if error.is_gone() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Makes what must not be taken from anybody. 409: it is there already.
    pub(super) async fn create(&self, desired: &Desired) -> Result<Arc<DynamicObject>, WriteError> {
        let object: DynamicObject = serde_json::from_value(self.body(desired))
            .map_err(|error| refused(desired.kind, kube::Error::SerdeError(error)))?;
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let api = self.api(desired.kind, &desired.name.namespace);
        let made = self.write(desired.kind, api.create(&params, &object)).await?;
        Ok(self.wrote(desired.kind, made))
    }

    /// Makes or repairs what can only be ours, in a namespace or by a name that is.
    pub(super) async fn apply(&self, desired: &Desired) -> Result<Arc<DynamicObject>, WriteError> {
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(self.body(desired));
        let api = self.api(desired.kind, &desired.name.namespace);
        let made =
            self.writes.count(desired.kind.name(), api.patch(&desired.name.name, &params, &patch)).await?;
        Ok(self.wrote(desired.kind, made))
    }

    /// Repairs what [`Place::create`] made, unless it has changed since it was seen.
    pub(super) async fn repair(
        &self,
        desired: &Desired,
        seen: &DynamicObject,
    ) -> Result<Arc<DynamicObject>, WriteError> {
        let mut body = self.body(desired);
        if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("resourceVersion".to_owned(), json!(seen.resource_version()));
        }
        // What is not asked for any more goes: a merge keeps what it is not told of.
        for (key, value) in seen.data.get("spec").and_then(Value::as_object).into_iter().flatten() {
            if let Some(Value::Object(spec)) = body.get_mut("spec")
                && !spec.contains_key(key)
                && !value.is_null()
            {
                spec.insert(key.clone(), Value::Null);
            }
        }
        let api = self.api(desired.kind, &desired.name.namespace);
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let made =
            self.write(desired.kind, api.patch(&desired.name.name, &params, &Patch::Merge(body))).await?;
        Ok(self.wrote(desired.kind, made))
    }

    /// Asks for the deletion of an object as it was seen. That it is gone already is no error.
    pub(super) async fn delete(&self, kind: Kind, seen: &DynamicObject) -> Result<(), WriteError> {
        let name = Name::of(seen);
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: seen.uid(), resource_version: None }),
            ..DeleteParams::background()
        };
        let api = self.api(kind, &name.namespace);
        match self.write(kind, api.delete(&name.name, &params)).await {
            // Another of the same name is not ours to delete.
            Err(error) if error.is_gone() || error.is_conflict() => Ok(()),
            result => result.map(drop),
        }
    }
}

fn refused(kind: Kind, error: kube::Error) -> WriteError {
    WriteError::Refused { what: kind.name(), error: Box::new(error) }
}

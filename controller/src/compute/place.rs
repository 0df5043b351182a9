use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use annex_apis::MANAGED_LABEL;
use annex_core::HostName;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
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
    api_writes::{ApiWrites, WriteError},
    store::{self, Name, Store, Told},
};

/// What owns the fields that Annex sets on a cluster.
const FIELD_MANAGER: &str = "annex-controller";
const HEALTH_EVERY: Duration = Duration::from_secs(2);
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
    pub(crate) client: Client,
    pub(crate) layout: Layout,
    pub(crate) claims: bool,
    pub(crate) tls_secret: Option<(String, String)>,
    pub(crate) options: Option<Options>,
    pub(crate) writes: ApiWrites,
}

impl Place {
    pub(crate) fn new(setup: Setup) -> Self {
        let Setup { id, client, layout, claims, tls_secret, options, writes } = setup;
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
        let stores = kinds.into_iter().map(|kind| (kind, Arc::default())).collect();
        Self {
            id,
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

    /// Follows the cluster for ever, and tells what changed.
    pub(crate) async fn follow(self: Arc<Self>, notices: mpsc::UnboundedSender<Notice>) {
        let mut followers = JoinSet::new();
        let mut misses = 0;
        let mut ticks = tokio::time::interval(HEALTH_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            let asked = tokio::time::timeout(HEALTH_TIMEOUT, self.discover()).await;
            let now = match asked {
                Ok(Ok(Some(version))) => {
                    misses = 0;
                    *self.mappings.write() = Some(version);
                    if followers.is_empty() {
                        for (kind, store) in self.stores.clone() {
                            followers.spawn(self.clone().follow_kind(kind, store, version, notices.clone()));
                        }
                        if self.copies_certificate() {
                            followers.spawn(self.clone().follow_certificate(notices.clone()));
                        }
                    }
                    if self.is_synced() { State::Known } else { State::Listing }
                }
                Ok(Ok(None)) => State::NoKnative,
                failed => {
                    misses += 1;
                    if misses < MISSES && self.state() != State::NoKnative {
                        continue;
                    }
                    State::Unreachable(match failed {
                        Ok(Err(error)) => short(&Brief(&error).to_string()),
                        _ => format!("no answer within {} s", HEALTH_TIMEOUT.as_secs()),
                    })
                }
            };
            self.enter(now, &notices);
        }
    }

    fn enter(&self, now: State, notices: &mpsc::UnboundedSender<Notice>) {
        let before = std::mem::replace(&mut *self.state.write(), now.clone());
        // Its words change from try to try, what it means does not.
        if std::mem::discriminant(&before) != std::mem::discriminant(&now) {
            tracing::info!(place = ?self.id, state = ?now, "the compute cluster");
            self.tell(notices, About::Everything);
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

    fn tell(&self, notices: &mpsc::UnboundedSender<Notice>, about: About) {
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
        let mut config = watcher::Config::default();
        let api = match (&self.layout, kind) {
            (_, Kind::ClusterDomainClaim) => Api::all_with(self.client.clone(), &resource),
            (Layout::NamespacePerWorkspace, Kind::Secret) => {
                // By name, which is all that the identity may read.
                config = config.fields(&format!("metadata.name={TLS_SECRET}"));
                Api::all_with(self.client.clone(), &resource)
            }
            (Layout::NamespacePerWorkspace, _) => {
                // Mappings of others too: one of them may have a host that is asked for.
                if kind != Kind::DomainMapping {
                    config = config.labels(&format!("{MANAGED_LABEL}=true"));
                }
                Api::all_with(self.client.clone(), &resource)
            }
            (Layout::Within { namespace } | Layout::Shared { namespace, .. }, _) => {
                Api::namespaced_with(self.client.clone(), namespace, &resource)
            }
        };
        let told = |told: Told<'_, DynamicObject>| match told {
            Told::Synced => {
                if self.is_synced() {
                    self.enter(State::Known, &notices);
                }
            }
            Told::Changed(object) => {
                let host = (matches!(kind, Kind::DomainMapping | Kind::ClusterDomainClaim))
                    .then(|| object.name_any().parse::<HostName>().ok())
                    .flatten();
                if let Some(host) = host {
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

    fn is_shared_runner(&self, kind: Kind, object: &DynamicObject) -> bool {
        kind == Kind::Service
            && matches!(&self.layout, Layout::Shared { kservice, .. } if *kservice == object.name_any())
    }

    /// The certificate that the copies are made of.
    async fn follow_certificate(self: Arc<Self>, notices: mpsc::UnboundedSender<Notice>) {
        let Some((namespace, name)) = &self.tls_secret else { return };
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let api = Api::namespaced_with(self.client.clone(), namespace, &Kind::Secret.resource(""));
        let told = |_: Told<'_, DynamicObject>| self.tell(&notices, About::Everything);
        store::follow(api, config, self.certificate.clone(), "the domains' certificate", told).await;
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

    /// Makes what must not be taken from anybody. 409: it is there already.
    pub(super) async fn create(&self, desired: &Desired) -> Result<Arc<DynamicObject>, WriteError> {
        let object: DynamicObject = serde_json::from_value(self.body(desired))
            .map_err(|error| refused(desired.kind, kube::Error::SerdeError(error)))?;
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let api = self.api(desired.kind, &desired.name.namespace);
        let made = self.writes.count(desired.kind.name(), api.create(&params, &object)).await?;
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
        let made = self
            .writes
            .count(desired.kind.name(), api.patch(&desired.name.name, &params, &Patch::Merge(body)))
            .await?;
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
        match self.writes.count(kind.name(), api.delete(&name.name, &params)).await {
            // Another of the same name is not ours to delete.
            Err(error) if error.is_gone() || error.is_conflict() => Ok(()),
            result => result.map(drop),
        }
    }
}

fn refused(kind: Kind, error: kube::Error) -> WriteError {
    WriteError::Refused { what: kind.name(), error: Box::new(error) }
}

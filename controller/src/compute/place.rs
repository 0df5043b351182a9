//! A cluster, and what is known of it. How that comes to be known is in `follow`, what is written there in `requests`.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::AtomicBool},
};

use annex_core::HostName;
use kube::{Client, core::DynamicObject};
use kube_kcp::{ClusterName, ObjectKey};
use parking_lot::{Mutex, RwLock};

use super::{
    failing::Failing,
    follow::{MOST_BYTES_ELSEWHERE, MOST_ELSEWHERE},
    kept::{prune, weight},
    kind::Kind,
    options::Options,
};
use crate::{
    api_writes::ApiWrites,
    store::{Limits, Name, Room, Store},
};

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
    pub(super) client: Client,
    pub(super) stores: BTreeMap<Kind, Arc<Store<DynamicObject>>>,
    pub(super) certificate: Arc<Store<DynamicObject>>,
    pub(super) mappings: RwLock<Option<&'static str>>,
    pub(super) state: RwLock<State>,
    /// The watches that fail.
    pub(super) failing: Failing,
    /// Something has changed on a tenant's cluster that has not been told yet.
    pub(super) changed: AtomicBool,
    /// One at a time makes the runners of a workspace: two would write everything twice.
    pub(super) turns: Mutex<HashMap<ClusterName, Arc<tokio::sync::Mutex<()>>>>,
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
        let room = Arc::new(Room::of(MOST_BYTES_ELSEWHERE));
        let store = || match &id {
            PlaceId::Platform => Store::default(),
            PlaceId::Environment(_) => {
                Store::within(Limits { objects: MOST_ELSEWHERE, room: room.clone(), prune, weight })
            }
        };
        let stores = kinds.into_iter().map(|kind| (kind, Arc::new(store()))).collect();
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
            failing: Failing::default(),
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

    pub(super) fn is_elsewhere(&self) -> bool {
        matches!(self.id, PlaceId::Environment(_))
    }

    pub(super) fn is_synced(&self) -> bool {
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

    /// Nothing of the workspace is here any more. Whoever waits for the turn keeps it: who comes next has to wait for them.
    pub(super) fn forget_turn(&self, cluster: &ClusterName) {
        let mut turns = self.turns.lock();
        if turns.get(cluster).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            turns.remove(cluster);
        }
    }
}

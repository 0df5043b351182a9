use std::{collections::HashMap, sync::Arc};

use kube::Client;
use kube_kcp::ObjectKey;
use parking_lot::Mutex;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    options::Options,
    place::{Layout, Notice, Place, PlaceId, Setup},
};
use crate::api_writes::ApiWrites;

/// The clusters where runners run: the platform's, and those that tenants' environments open and some Install names.
pub(crate) struct Places {
    platform: Option<Arc<Place>>,
    opened: Mutex<HashMap<ObjectKey, Opened>>,
    options: Option<Options>,
    writes: ApiWrites,
    notices: mpsc::UnboundedSender<Notice>,
}

struct Opened {
    place: Arc<Place>,
    fingerprint: String,
    follower: JoinHandle<()>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

/// How a tenant's cluster may be used.
#[derive(Clone)]
pub(crate) struct Access {
    /// Speaks with the tenant's credentials, and nothing else.
    pub(crate) client: Client,
    /// Changes with the credentials.
    pub(crate) fingerprint: String,
    /// The namespaces that may be used; empty: every one.
    pub(crate) namespaces: Vec<String>,
    /// Whether objects without a namespace may be written.
    pub(crate) cluster_resources: bool,
}

impl Places {
    /// `platform`: the platform's own cluster, where it has one. What changes is told through `notices`.
    pub(crate) fn new(
        platform: Option<Setup>,
        options: Option<Options>,
        writes: ApiWrites,
        notices: mpsc::UnboundedSender<Notice>,
    ) -> Self {
        let platform = platform.map(|setup| Arc::new(Place::new(setup)));
        Self { platform, opened: Mutex::default(), options, writes, notices }
    }

    /// The platform's own cluster. None: domains are direct.
    pub(crate) fn platform(&self) -> Option<&Arc<Place>> {
        self.platform.as_ref()
    }

    /// Follows the platform's own cluster for ever.
    pub(crate) async fn follow_platform(&self) {
        if let Some(platform) = &self.platform {
            platform.clone().follow(self.notices.clone()).await;
        }
    }

    /// The cluster of an environment that is open already.
    pub(crate) fn opened(&self, environment: &ObjectKey) -> Option<Arc<Place>> {
        self.opened.lock().get(environment).map(|opened| opened.place.clone())
    }

    /// The cluster of an environment, opened now or with the same credentials before. None: the environment names no namespace and
    /// does not allow one to be made.
    pub(crate) fn open(&self, environment: &ObjectKey, access: &Access) -> Option<Arc<Place>> {
        let layout = match access.namespaces.first() {
            Some(namespace) => Layout::Within { namespace: namespace.clone() },
            None if access.cluster_resources => Layout::NamespacePerWorkspace,
            None => return None,
        };
        let mut opened = self.opened.lock();
        if let Some(known) = opened.get(environment)
            && known.fingerprint == access.fingerprint
        {
            return Some(known.place.clone());
        }
        let place = Arc::new(Place::new(Setup {
            id: PlaceId::Environment(environment.clone()),
            client: access.client.clone(),
            layout,
            claims: access.cluster_resources,
            tls_secret: None,
            options: self.options.clone(),
            writes: self.writes.clone(),
        }));
        let follower = tokio::spawn(place.clone().follow(self.notices.clone()));
        let entry = Opened { place: place.clone(), fingerprint: access.fingerprint.clone(), follower };
        opened.insert(environment.clone(), entry);
        Some(place)
    }

    /// No Install names the environment any more.
    pub(crate) fn close(&self, environment: &ObjectKey) {
        self.opened.lock().remove(environment);
    }
}

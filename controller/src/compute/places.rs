use std::{collections::HashMap, sync::Arc};

use kube_kcp::ObjectKey;
use parking_lot::Mutex;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    options::Options,
    place::{Layout, Notice, Place, PlaceId, Setup},
};
use crate::{api_writes::ApiWrites, environment::EnvironmentAccess};

/// The clusters where runners run: the platform's, and those that tenants' environments open and some Install names.
pub(crate) struct Places {
    platform: Option<Arc<Place>>,
    opened: Mutex<HashMap<ObjectKey, Opened>>,
    options: Option<Options>,
    writes: ApiWrites,
    notices: mpsc::UnboundedSender<Notice>,
}

/// How many clusters of its own a workspace may have followed at a time. Each costs the controller memory and connections.
const MOST_OPEN: usize = 4;

/// Why an environment's cluster is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotOpened {
    /// The environment names no namespace and does not allow one to be made.
    NoNamespace,
    /// The workspace has as many open as it may.
    TooMany,
}

struct Opened {
    place: Arc<Place>,
    access: Arc<EnvironmentAccess>,
    follower: JoinHandle<()>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.follower.abort();
    }
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

    /// The cluster of an environment, opened now, or before by the same way in. `uid` is the environment's.
    ///
    /// # Errors
    /// See [`NotOpened`].
    pub(crate) fn open(
        &self,
        environment: &ObjectKey,
        uid: &str,
        access: &Arc<EnvironmentAccess>,
    ) -> Result<Arc<Place>, NotOpened> {
        let layout = match access.namespaces.first() {
            Some(namespace) => Layout::Within { namespace: namespace.clone() },
            None if access.cluster_resources => Layout::NamespacePerWorkspace,
            None => return Err(NotOpened::NoNamespace),
        };
        let mut opened = self.opened.lock();
        if let Some(known) = opened.get(environment)
            && Arc::ptr_eq(&known.access, access)
        {
            return Ok(known.place.clone());
        }
        let others =
            opened.keys().filter(|other| other.cluster == environment.cluster && *other != environment);
        if others.count() >= MOST_OPEN {
            return Err(NotOpened::TooMany);
        }
        let place = Arc::new(Place::new(Setup {
            id: PlaceId::Environment(environment.clone()),
            label: uid.to_owned(),
            client: access.client.clone(),
            layout,
            claims: access.cluster_resources,
            tls_secret: None,
            options: self.options.clone().map(Options::elsewhere),
            writes: self.writes.clone(),
        }));
        let follower = tokio::spawn(place.clone().follow(self.notices.clone()));
        let entry = Opened { place: place.clone(), access: access.clone(), follower };
        opened.insert(environment.clone(), entry);
        Ok(place)
    }

    /// The cluster of an environment, if it is open.
    pub(crate) fn opened(&self, environment: &ObjectKey) -> Option<Arc<Place>> {
        self.opened.lock().get(environment).map(|opened| opened.place.clone())
    }

    /// Nobody may use the environment's cluster any more, or nobody does. True: it was open.
    pub(crate) fn close(&self, environment: &ObjectKey) -> bool {
        self.opened.lock().remove(environment).is_some()
    }
}

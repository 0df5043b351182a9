use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    sync::Arc,
};

use kube::Client;
use kube_kcp::{Backoff, ObjectKey, WorkQueue};
use parking_lot::Mutex;

use super::{
    probe::{DEADLINE, Knative, Opened, Prober},
    resolver,
};
use crate::{args::EnvironmentArgs, conditions::Because};

/// Environments of one workspace that are looked at at a time.
const PER_WORKSPACE: usize = 2;

/// What is known of each ManagedEnvironment: how it is used, or why it is not. Kept in memory only; after a restart every
/// environment is looked at again.
pub(crate) struct Environments {
    entries: Mutex<HashMap<ObjectKey, Entry>>,
    /// A queue of its own: a tenant's server may take ten seconds to say nothing, and no Install is to wait for that.
    pub(crate) queue: Arc<WorkQueue<ObjectKey>>,
    pub(super) prober: Prober,
    pub(super) allow_insecure_tls: bool,
}

/// The way into an environment that passed every check, with the tenant's credentials and nothing else.
///
/// Whoever holds it must let go when [`Environments::get`] no longer answers with it: credentials that were withdrawn are dropped
/// by dropping this.
pub(crate) struct EnvironmentAccess {
    /// Connects only to the addresses that were vetted. It retries nothing, waits at most 30 s for the head of an answer and takes
    /// at most 1 MiB and 20,000 JSON objects of its body, over all of a watch; the server is a tenant's, so list with a limit and
    /// bound each call by a timeout.
    pub(crate) client: Client,
    /// The namespaces that may be used. Empty: every one that the credentials allow.
    pub(crate) namespaces: Vec<String>,
    /// Whether objects without a namespace may be written.
    pub(crate) cluster_resources: bool,
    /// Whether it serves `serving.knative.dev/v1`.
    pub(crate) knative: bool,
    /// What this was made of. It differs whenever the Secret or the spec does.
    pub(crate) fingerprint: Fingerprint,
    addresses: BTreeSet<SocketAddr>,
}

/// The very state of the Secret and of the environment's spec.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint {
    pub(crate) secret_uid: String,
    pub(crate) secret_version: String,
    pub(crate) generation: i64,
}

enum Entry {
    Open(Arc<EnvironmentAccess>),
    Closed(Because),
}

impl Environments {
    pub(crate) fn new(args: &EnvironmentArgs) -> Self {
        Self {
            entries: Mutex::default(),
            queue: Arc::new(WorkQueue::new(Backoff::default(), PER_WORKSPACE)),
            prober: Prober { policy: args.policy(), resolver: resolver::system(), deadline: DEADLINE },
            allow_insecure_tls: args.allow_insecure_tls,
        }
    }

    /// The way into an environment, if it is Ready.
    pub(crate) fn get(&self, key: &ObjectKey) -> Option<Arc<EnvironmentAccess>> {
        match self.entries.lock().get(key) {
            Some(Entry::Open(access)) => Some(access.clone()),
            Some(Entry::Closed(_)) | None => None,
        }
    }

    /// Why there is no way in: the reason and message of the environment's Ready. None where there is one, and where the
    /// environment has not been looked at since this process began: then nothing is known, which is no reason to undo anything.
    pub(crate) fn reason(&self, key: &ObjectKey) -> Option<Because> {
        match self.entries.lock().get(key) {
            Some(Entry::Closed(because)) => Some(because.clone()),
            Some(Entry::Open(_)) | None => None,
        }
    }

    /// Notes what was found, and says whether that is news to the Installs that name the environment. A way in that is as it was
    /// stays the same object, with the connections that it has.
    pub(super) fn note(&self, key: &ObjectKey, found: Result<EnvironmentAccess, Because>) -> bool {
        let mut entries = self.entries.lock();
        let entry = match (entries.get(key), found) {
            (Some(Entry::Open(was)), Ok(is)) if was.is_same(&is) => return false,
            (Some(Entry::Closed(was)), Err(is)) if *was == is => return false,
            (_, Ok(is)) => Entry::Open(Arc::new(is)),
            (_, Err(is)) => Entry::Closed(is),
        };
        entries.insert(key.clone(), entry);
        true
    }

    /// The environment is gone.
    pub(super) fn forget(&self, key: &ObjectKey) -> bool {
        self.entries.lock().remove(key).is_some()
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.entries.lock().values().filter(|entry| matches!(entry, Entry::Open(_))).count()
    }
}

impl EnvironmentAccess {
    pub(super) fn new(
        opened: Opened,
        namespaces: Vec<String>,
        cluster_resources: bool,
        fingerprint: Fingerprint,
    ) -> Self {
        Self {
            client: opened.client,
            addresses: opened.addresses,
            knative: opened.knative == Knative::Served,
            namespaces,
            cluster_resources,
            fingerprint,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
            && self.addresses == other.addresses
            && self.knative == other.knative
    }
}

impl std::fmt::Debug for Environments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environments").field("open", &self.open()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use kube_kcp::{Bounds, Connection};

    use super::*;

    fn access(secret_version: &str, address: &str, knative: Knative) -> EnvironmentAccess {
        annex_service::install_tls_provider();
        let bounds = Bounds { addresses: Vec::new(), answer_bytes: 1, answer_objects: 1 };
        let mut config = kube::Config::new("https://server.test".parse().unwrap());
        config.root_cert = Some(Vec::new());
        let client = Connection::bounded(config, bounds).unwrap().home();
        let opened = Opened { client, addresses: [address.parse().unwrap()].into(), knative };
        let fingerprint =
            Fingerprint { secret_uid: "u".into(), secret_version: secret_version.into(), generation: 1 };
        EnvironmentAccess::new(opened, vec!["mine".to_owned()], false, fingerprint)
    }

    #[tokio::test]
    async fn only_what_is_new_is_news_and_what_is_closed_is_dropped() {
        let key = ObjectKey {
            shard: "https://shard".parse().unwrap(),
            cluster: "a".parse().unwrap(),
            namespace: "n".to_owned(),
            name: "e".to_owned(),
        };
        let args = EnvironmentArgs { allowed_networks: Vec::new(), allow_insecure_tls: false };
        let environments = Environments::new(&args);
        assert!(environments.get(&key).is_none() && environments.reason(&key).is_none());

        assert!(environments.note(&key, Ok(access("1", "1.1.1.1:443", Knative::Served))));
        let first = environments.get(&key).unwrap();
        assert!(first.knative && first.namespaces == ["mine"] && !first.cluster_resources);
        assert_eq!(first.client.default_namespace(), "default");
        assert!(!environments.note(&key, Ok(access("1", "1.1.1.1:443", Knative::Served))));
        assert!(Arc::ptr_eq(&first, &environments.get(&key).unwrap()));
        // Another Secret, another address, another server behind it.
        for other in [
            access("2", "1.1.1.1:443", Knative::Served),
            access("2", "1.1.1.2:443", Knative::Served),
            access("2", "1.1.1.2:443", Knative::NotServed),
        ] {
            let before = environments.get(&key).unwrap();
            assert!(environments.note(&key, Ok(other)));
            assert!(!Arc::ptr_eq(&before, &environments.get(&key).unwrap()));
        }

        let because = Because::new("Forbidden", "no");
        let last = Arc::downgrade(&environments.get(&key).unwrap());
        assert!(environments.note(&key, Err(because.clone())));
        assert!(last.upgrade().is_none(), "credentials that are not to be used are held");
        assert!(environments.get(&key).is_none());
        assert_eq!(environments.reason(&key), Some(because.clone()));
        assert!(!environments.note(&key, Err(because)));
        assert!(environments.note(&key, Err(Because::new("Unreachable", "no"))));
        assert!(environments.forget(&key) && !environments.forget(&key));
        assert!(environments.reason(&key).is_none());
    }
}

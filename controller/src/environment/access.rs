use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    sync::Arc,
};

use kube::Client;
use kube_kcp::{Backoff, Fence, ObjectKey, WorkQueue};
use parking_lot::Mutex;

use super::{
    probe::{DEADLINE, Knative, Opened, Prober},
    resolver,
};
use crate::{args::EnvironmentArgs, conditions::Because};

/// Environments of one workspace that are looked at at a time.
const PER_WORKSPACE: usize = 2;
/// How often in a row a server may fail to answer before its environment is closed. A closed environment is one whose Installs are
/// told so, and whose watches all begin anew: too much for one lost packet.
const MISSES: u32 = 3;

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
    /// What this was made of. It differs whenever the environment, its spec or the Secret does.
    pub(crate) fingerprint: Fingerprint,
    addresses: BTreeSet<SocketAddr>,
}

/// The very state of the Secret and of the environment's spec.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint {
    /// One that was deleted and made anew begins with generation 1 again, and may allow less.
    pub(crate) environment_uid: String,
    pub(crate) secret_uid: String,
    pub(crate) secret_version: String,
    pub(crate) generation: i64,
}

/// What a look at an environment found.
pub(super) enum Found {
    Open {
        access: EnvironmentAccess,
        knative: Knative,
    },
    /// The server failed to answer to what has this fingerprint.
    Missed(Fingerprint, Because),
    Refused(Because),
}

/// What became of what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Noted {
    /// Whether it is news to the Installs that name the environment.
    pub(super) news: bool,
    /// What the environment's status is to say.
    pub(super) shown: Result<Knative, Because>,
    /// The environment is open although its server just failed to answer.
    pub(super) missed: bool,
}

enum Entry {
    Open {
        access: Arc<EnvironmentAccess>,
        knative: Knative,
        /// How often in a row the server has failed to answer since.
        misses: u32,
    },
    Closed(Because),
}

impl Environments {
    /// `fence` stands before every write on a tenant's own cluster.
    pub(crate) fn new(args: &EnvironmentArgs, fence: &Fence) -> Self {
        Self {
            entries: Mutex::default(),
            queue: Arc::new(WorkQueue::new(Backoff::default(), PER_WORKSPACE)),
            prober: Prober {
                policy: args.policy(),
                resolver: resolver::system(),
                deadline: DEADLINE,
                fence: fence.clone(),
            },
            allow_insecure_tls: args.allow_insecure_tls,
        }
    }

    /// The way into an environment, if it is Ready.
    pub(crate) fn get(&self, key: &ObjectKey) -> Option<Arc<EnvironmentAccess>> {
        match self.entries.lock().get(key) {
            Some(Entry::Open { access, .. }) => Some(access.clone()),
            Some(Entry::Closed(_)) | None => None,
        }
    }

    /// Why there is no way in: the reason and message of the environment's Ready. None where there is one, and where the
    /// environment has not been looked at since this process began: then nothing is known, which is no reason to undo anything.
    pub(crate) fn reason(&self, key: &ObjectKey) -> Option<Because> {
        match self.entries.lock().get(key) {
            Some(Entry::Closed(because)) => Some(because.clone()),
            Some(Entry::Open { .. }) | None => None,
        }
    }

    /// Notes what was found. A way in that is as it was stays the same object, with the connections that it has. It also stays while
    /// its server fails to answer, but not for ever: the third time in a row closes it.
    pub(super) fn note(&self, key: &ObjectKey, found: Found) -> Noted {
        let mut entries = self.entries.lock();
        let known = entries.get_mut(key);
        let because = match (known, found) {
            (Some(Entry::Open { access: was, knative, misses }), Found::Open { access, knative: is })
                if was.is_same(&access) =>
            {
                (*knative, *misses) = (is, 0);
                return Noted { news: false, shown: Ok(is), missed: false };
            }
            (Some(Entry::Open { access, knative, misses }), Found::Missed(fingerprint, _))
                if access.fingerprint == fingerprint && *misses + 1 < MISSES =>
            {
                *misses += 1;
                return Noted { news: false, shown: Ok(*knative), missed: true };
            }
            (_, Found::Open { access, knative }) => {
                entries.insert(key.clone(), Entry::Open { access: Arc::new(access), knative, misses: 0 });
                return Noted { news: true, shown: Ok(knative), missed: false };
            }
            (_, Found::Missed(_, because) | Found::Refused(because)) => because,
        };
        let news = !matches!(entries.get(key), Some(Entry::Closed(was)) if *was == because);
        entries.insert(key.clone(), Entry::Closed(because.clone()));
        Noted { news, shown: Err(because), missed: false }
    }

    /// The environment is gone.
    pub(super) fn forget(&self, key: &ObjectKey) -> bool {
        self.entries.lock().remove(key).is_some()
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.entries.lock().values().filter(|entry| matches!(entry, Entry::Open { .. })).count()
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

    /// Whether this serves as well as `other`, which was just made. It does with some of its addresses gone: names with many
    /// addresses answer with a few of them at a time.
    fn is_same(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
            && self.namespaces == other.namespaces
            && self.cluster_resources == other.cluster_resources
            && self.knative == other.knative
            && !self.addresses.is_disjoint(&other.addresses)
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

    fn key() -> ObjectKey {
        ObjectKey { cluster: "a".parse().unwrap(), namespace: "n".to_owned(), name: "e".to_owned() }
    }

    fn environments() -> Environments {
        Environments::new(
            &EnvironmentArgs { allowed_networks: Vec::new(), allow_insecure_tls: false },
            &Fence::default(),
        )
    }

    fn fingerprint(secret_version: &str) -> Fingerprint {
        Fingerprint {
            environment_uid: "e".into(),
            secret_uid: "u".into(),
            secret_version: secret_version.into(),
            generation: 1,
        }
    }

    fn access(secret_version: &str, addresses: &[&str], knative: Knative) -> EnvironmentAccess {
        annex_service::install_tls_provider();
        let bounds = Bounds { addresses: Vec::new(), answer_bytes: 1, answer_objects: 1 };
        let mut config = kube::Config::new("https://server.test".parse().unwrap());
        config.root_cert = Some(Vec::new());
        let client = Connection::bounded(config, bounds).unwrap().home();
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let opened = Opened { client, addresses, knative };
        EnvironmentAccess::new(opened, vec!["mine".to_owned()], false, fingerprint(secret_version))
    }

    /// What a look finds whose server serves Knative.
    fn open(access: EnvironmentAccess) -> Found {
        Found::Open { access, knative: Knative::Served }
    }

    fn first() -> EnvironmentAccess {
        access("1", &["1.1.1.1:443"], Knative::Served)
    }

    fn missed(secret_version: &str) -> Found {
        Found::Missed(fingerprint(secret_version), Because::new("Unreachable", "no"))
    }

    #[tokio::test]
    async fn only_what_is_new_is_news_and_what_is_closed_is_dropped() {
        let (key, environments) = (key(), environments());
        assert!(environments.get(&key).is_none() && environments.reason(&key).is_none());

        assert!(environments.note(&key, open(first())).news);
        let opened = environments.get(&key).unwrap();
        assert!(opened.knative && opened.namespaces == ["mine"] && !opened.cluster_resources);
        assert_eq!(opened.client.default_namespace(), "default");
        assert!(!environments.note(&key, open(first())).news);
        assert!(Arc::ptr_eq(&opened, &environments.get(&key).unwrap()));

        let because = Because::new("Forbidden", "no");
        drop(opened);
        let last = Arc::downgrade(&environments.get(&key).unwrap());
        let noted = environments.note(&key, Found::Refused(because.clone()));
        assert_eq!(noted, Noted { news: true, shown: Err(because.clone()), missed: false });
        assert!(last.upgrade().is_none(), "credentials that are not to be used are held");
        assert!(environments.get(&key).is_none());
        assert_eq!(environments.reason(&key), Some(because.clone()));
        assert!(!environments.note(&key, Found::Refused(because)).news);
        assert!(environments.note(&key, Found::Refused(Because::new("Unreachable", "no"))).news);
        assert!(environments.forget(&key) && !environments.forget(&key));
        assert!(environments.reason(&key).is_none());
    }

    /// An environment that was deleted and made anew is seen as one that changed.
    #[tokio::test]
    async fn no_way_in_outlives_what_it_was_made_of() {
        let (key, environments) = (key(), environments());
        type Change = fn(&mut EnvironmentAccess);
        let changes: [Change; 8] = [
            |access| access.fingerprint.environment_uid = "another".to_owned(),
            |access| access.fingerprint.secret_uid = "another".to_owned(),
            |access| access.fingerprint.secret_version = "2".to_owned(),
            |access| access.fingerprint.generation = 2,
            |access| access.namespaces = vec!["other".to_owned()],
            |access| access.cluster_resources = true,
            |access| access.knative = false,
            |access| access.addresses = ["1.1.1.2:443".parse().unwrap()].into(),
        ];
        for (index, change) in changes.into_iter().enumerate() {
            environments.note(&key, open(first()));
            let before = environments.get(&key).unwrap();
            let mut other = first();
            change(&mut other);
            assert!(environments.note(&key, open(other)).news, "{index}");
            assert!(!Arc::ptr_eq(&before, &environments.get(&key).unwrap()), "{index}");
        }
    }

    #[tokio::test]
    async fn a_name_that_answers_with_some_of_its_addresses_changes_nothing() {
        let (key, environments) = (key(), environments());
        let at = |addresses: &[&str]| open(access("1", addresses, Knative::Served));
        environments.note(&key, at(&["1.1.1.1:443", "1.1.1.2:443"]));
        let opened = environments.get(&key).unwrap();
        assert!(!environments.note(&key, at(&["1.1.1.2:443", "1.1.1.3:443"])).news);
        assert!(Arc::ptr_eq(&opened, &environments.get(&key).unwrap()));
        // It is not connected to the third, so that one is no reason to keep it.
        assert!(environments.note(&key, at(&["1.1.1.3:443"])).news);
    }

    #[tokio::test]
    async fn a_server_may_fail_to_answer_twice_in_a_row() {
        let (key, environments) = (key(), environments());
        environments.note(&key, open(first()));
        let opened = environments.get(&key).unwrap();
        let still = Noted { news: false, shown: Ok(Knative::Served), missed: true };
        for _ in 0..2 {
            assert_eq!(environments.note(&key, missed("1")), still);
            assert_eq!(environments.note(&key, missed("1")), still);
            assert!(Arc::ptr_eq(&opened, &environments.get(&key).unwrap()));
            // An answer in between, and they count anew.
            let noted = environments.note(&key, open(first()));
            assert_eq!(noted, Noted { missed: false, ..still.clone() });
        }
        environments.note(&key, missed("1"));
        environments.note(&key, missed("1"));
        let because = Because::new("Unreachable", "no");
        let closed = Noted { news: true, shown: Err(because), missed: false };
        assert_eq!(environments.note(&key, missed("1")), closed);
        assert!(environments.get(&key).is_none());
        // Closed it stays, and that is no news.
        assert_eq!(environments.note(&key, missed("1")), Noted { news: false, ..closed });
    }

    #[tokio::test]
    async fn what_was_never_let_in_is_not_waited_for() {
        let (key, environments) = (key(), environments());
        assert!(environments.note(&key, missed("1")).shown.is_err());
        assert!(environments.get(&key).is_none());
        // Another Secret than the one that opened it.
        environments.note(&key, open(first()));
        assert!(environments.note(&key, missed("2")).news);
        assert!(environments.get(&key).is_none());
        // A server that answers, and says no.
        environments.note(&key, open(first()));
        environments.note(&key, Found::Refused(Because::new("Forbidden", "no")));
        assert!(environments.get(&key).is_none());
    }
}

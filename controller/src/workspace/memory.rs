use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use kube_kcp::ClusterName;
use parking_lot::Mutex;

/// The Secrets of a seed by name, each with what changes when it changes. A Secret's content is not held in memory, so this is
/// how a change of it is noticed.
pub(crate) type Fingerprint = BTreeMap<String, (Option<String>, Option<String>)>;

/// What need not be done or said again, by workspace. Lost with the process, which costs two reads and perhaps an Event for
/// each workspace.
#[derive(Debug, Default)]
pub(crate) struct SeedMemory {
    workspaces: Mutex<HashMap<ClusterName, Remembered>>,
}

#[derive(Debug, Default)]
struct Remembered {
    whole: bool,
    checked: Option<(Fingerprint, Timestamp)>,
    told: BTreeSet<String>,
}

impl SeedMemory {
    /// When the token is due, if these very Secrets were read and found in order.
    pub(super) fn checked(&self, cluster: &ClusterName, seen: &Fingerprint) -> Option<Timestamp> {
        self.with(cluster, |workspace| {
            workspace.checked.as_ref().filter(|(checked, _)| checked == seen).map(|(_, due)| *due)
        })
    }

    /// These Secrets are in order, and the token is due then.
    pub(super) fn remember(&self, cluster: &ClusterName, seen: Fingerprint, due: Timestamp) {
        self.with(cluster, |workspace| workspace.checked = Some((seen, due)));
    }

    /// Whether the whole seed was seen once.
    pub(super) fn was_whole(&self, cluster: &ClusterName) -> bool {
        self.with(cluster, |workspace| workspace.whole)
    }

    /// The whole seed is seen.
    pub(super) fn is_whole(&self, cluster: &ClusterName) {
        self.with(cluster, |workspace| workspace.whole = true);
    }

    /// Whether this is to be told: not if it was, and was not mended since.
    pub(super) fn tell(&self, cluster: &ClusterName, what: String) -> bool {
        self.with(cluster, |workspace| workspace.told.insert(what))
    }

    /// What was told is mended.
    pub(super) fn mended(&self, cluster: &ClusterName, what: &str) {
        self.with(cluster, |workspace| workspace.told.remove(what));
    }

    /// The workspace has no seed of ours to keep any more.
    pub(super) fn forget(&self, cluster: &ClusterName) {
        self.workspaces.lock().remove(cluster);
    }

    fn with<T>(&self, cluster: &ClusterName, act: impl FnOnce(&mut Remembered) -> T) -> T {
        act(self.workspaces.lock().entry(cluster.clone()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_checked_holds_until_something_changes() {
        let (memory, cluster) = (SeedMemory::default(), "c".parse().unwrap());
        let seen = |version: &str| {
            Fingerprint::from([("annex-token".to_owned(), (Some("u".to_owned()), Some(version.to_owned())))])
        };
        assert_eq!(memory.checked(&cluster, &seen("1")), None);
        memory.remember(&cluster, seen("1"), Timestamp::UNIX_EPOCH);
        assert_eq!(memory.checked(&cluster, &seen("1")), Some(Timestamp::UNIX_EPOCH));
        assert_eq!(memory.checked(&cluster, &seen("2")), None);
        assert_eq!(memory.checked(&cluster, &Fingerprint::new()), None);
        memory.forget(&cluster);
        assert_eq!(memory.checked(&cluster, &seen("1")), None);
    }

    #[test]
    fn a_thing_is_told_once_until_it_is_mended() {
        let (memory, cluster) = (SeedMemory::default(), "c".parse().unwrap());
        assert!(memory.tell(&cluster, "Role annex".into()));
        assert!(!memory.tell(&cluster, "Role annex".into()));
        memory.mended(&cluster, "Role annex");
        assert!(memory.tell(&cluster, "Role annex".into()));
    }

    #[test]
    fn whole_once_is_whole_for_good() {
        let (memory, cluster) = (SeedMemory::default(), "c".parse().unwrap());
        assert!(!memory.was_whole(&cluster));
        memory.is_whole(&cluster);
        memory.remember(&cluster, Fingerprint::new(), Timestamp::UNIX_EPOCH);
        assert!(memory.was_whole(&cluster));
    }
}

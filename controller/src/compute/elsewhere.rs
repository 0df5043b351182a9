use std::{collections::HashSet, sync::Arc};

use kube_kcp::ClusterName;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many reconciles may be at work on tenants' own clusters. Fewer than there are workers: a tenant whose cluster takes its time
/// over each answer must not keep those from working that everybody else's Installs need.
const AT_A_TIME: usize = 8;

/// Who may work on tenants' own clusters: a few at a time, one for each workspace.
#[derive(Debug)]
pub(crate) struct Elsewhere {
    room: Arc<Semaphore>,
    at_work: Arc<Mutex<HashSet<ClusterName>>>,
}

/// Held while at work there.
#[derive(Debug)]
pub(crate) struct Turn {
    _room: OwnedSemaphorePermit,
    at_work: Arc<Mutex<HashSet<ClusterName>>>,
    cluster: ClusterName,
}

impl Default for Elsewhere {
    fn default() -> Self {
        Self { room: Arc::new(Semaphore::new(AT_A_TIME)), at_work: Arc::default() }
    }
}

impl Elsewhere {
    /// A turn for a workspace. None: not now; whoever asks must not wait with a worker in hand.
    pub(crate) fn enter(&self, cluster: &ClusterName) -> Option<Turn> {
        let room = self.room.clone().try_acquire_owned().ok()?;
        self.at_work.lock().insert(cluster.clone()).then(|| Turn {
            _room: room,
            at_work: self.at_work.clone(),
            cluster: cluster.clone(),
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.at_work.lock().remove(&self.cluster);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_a_workspace_and_a_few_in_all() {
        let elsewhere = Elsewhere::default();
        let cluster = |number: usize| format!("c{number}").parse::<ClusterName>().unwrap();
        let first = elsewhere.enter(&cluster(0));
        assert!(first.is_some() && elsewhere.enter(&cluster(0)).is_none());
        let others: Vec<_> = (1..AT_A_TIME).filter_map(|number| elsewhere.enter(&cluster(number))).collect();
        assert_eq!(others.len(), AT_A_TIME - 1);
        assert!(elsewhere.enter(&cluster(AT_A_TIME)).is_none());
        drop(first);
        assert!(elsewhere.enter(&cluster(AT_A_TIME)).is_some() && elsewhere.enter(&cluster(1)).is_none());
    }
}

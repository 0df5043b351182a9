//! Installs, as an export's virtual workspace shows them.

use std::sync::Arc;

use annex_apis::Install;
use kube_kcp::{Gate, Index, VirtualWorkspace};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    installs::Installs,
    vanished::{Workspaces, ask_for_vanished},
};

/// The clients of the workspaces behind a virtual workspace.
#[must_use]
pub fn clients(behind: &VirtualWorkspace) -> Workspaces {
    let behind = behind.clone();
    Arc::new(move |cluster| behind.client(cluster))
}

impl Installs {
    /// None yet, of all workspaces behind a virtual workspace. What is unknown does not exist once each shard has been listed.
    #[must_use]
    pub fn of(behind: &VirtualWorkspace) -> Arc<Self> {
        let index: Arc<Index<Install>> = Arc::default();
        let synced = {
            let (behind, index) = (behind.clone(), index.clone());
            move || behind.shards().is_some_and(|shards| shards.iter().all(|shard| index.is_synced(shard)))
        };
        Arc::new(Self::new(index, synced))
    }

    /// Watches them, each after `prune`, and asks for those that no list holds any more; until the tasks are aborted. `gate` opens once they
    /// have been listed.
    pub fn follow(
        self: &Arc<Self>,
        behind: &VirtualWorkspace,
        gate: Gate,
        prune: fn(&mut Install),
    ) -> [JoinHandle<()>; 2] {
        let (vanished, asked_for) = mpsc::unbounded_channel();
        let installs = self.clone();
        let watched = behind.pruned_objects(&self.index, gate, prune, move |change| {
            if installs.changed(change) {
                // An error means that the process ends.
                let _ = vanished.send(change.key().clone());
            }
        });
        [watched, tokio::spawn(ask_for_vanished(self.clone(), clients(behind), asked_for))]
    }
}

//! Installs that a list does not hold any more, without anybody having said that they were deleted.

use std::{sync::Arc, time::Duration};

use annex_apis::Install;
use kube::{Api, Client};
use kube_kcp::{ClusterName, NoClient, ObjectKey};
use tokio::sync::mpsc;

use crate::installs::Installs;

/// Where nobody answers, it is asked again after this.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// The clients of workspaces that bind the API.
pub type Workspaces = Arc<dyn Fn(&ClusterName) -> Result<Client, NoClient> + Send + Sync>;

/// Asks for Installs that no list holds any more, until it is known what became of them. `vanished` are those for which
/// [`Installs::changed`] was true.
pub async fn ask_for_vanished(
    installs: Arc<Installs>,
    workspaces: Workspaces,
    mut vanished: mpsc::UnboundedReceiver<ObjectKey>,
) {
    while let Some(key) = vanished.recv().await {
        let (installs, workspaces) = (installs.clone(), workspaces.clone());
        // As many at a time as one list has let go of, of which the brake lets through a fifth.
        tokio::spawn(async move {
            while installs.index.get(&key).is_none() {
                match is_gone(&workspaces, &key).await {
                    // It may have come back while that was asked.
                    Some(true) if installs.index.get(&key).is_none() => return installs.gone(&key),
                    _ => tokio::time::sleep(ASK_AGAIN).await,
                }
            }
        });
    }
}

/// None: nobody says.
async fn is_gone(workspaces: &Workspaces, key: &ObjectKey) -> Option<bool> {
    let client = workspaces(&key.cluster).ok()?;
    let installs = Api::<Install>::namespaced(client, &key.namespace);
    match tokio::time::timeout(ASK_AGAIN, installs.get_metadata_opt(&key.name)).await {
        Ok(Ok(found)) => Some(found.is_none()),
        // The workspace is gone, or no longer ours to see.
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 403 | 404) => Some(true),
        _ => None,
    }
}

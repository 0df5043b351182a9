use json_patch::{Patch as JsonPatch, PatchOperation, RemoveOperation, TestOperation, jsonptr::PointerBuf};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use kube_kcp::kinds::LogicalCluster;

use super::steps::StepError;

/// How often the list of initializers may change under us before the try is given up.
const TRIES: usize = 8;

/// Takes `initializer` out of the workspace's initializers. When others leave at the same time the list shifts: the patch
/// tests what it removes, and is made anew when the test fails.
pub(super) async fn leave(client: Client, initializer: &str) -> Result<(), StepError> {
    let clusters: Api<LogicalCluster> = Api::all(client);
    for _ in 0..TRIES {
        let cluster = match clusters.get("cluster").await {
            Ok(cluster) => cluster,
            // Not shown to us any more: another replica was faster, or the workspace is gone.
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => return Ok(()),
            Err(error) => return Err(StepError::Finish(error)),
        };
        let Some(patch) = removal(&cluster, initializer) else { return Ok(()) };
        match clusters.patch_status("cluster", &PatchParams::default(), &Patch::<()>::Json(patch)).await {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if matches!(status.code, 409 | 422) => {}
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => return Ok(()),
            Err(error) => return Err(StepError::Finish(error)),
        }
    }
    Err(StepError::Contended)
}

fn removal(cluster: &LogicalCluster, initializer: &str) -> Option<JsonPatch> {
    let at = cluster.status.as_ref()?.initializers.iter().position(|name| name == initializer)?;
    let path = PointerBuf::from_tokens(["status", "initializers", &at.to_string()]);
    Some(JsonPatch(vec![
        PatchOperation::Test(TestOperation { path: path.clone(), value: initializer.into() }),
        PatchOperation::Remove(RemoveOperation { path }),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube_kcp::kinds::{LogicalClusterSpec, LogicalClusterStatus};

    #[test]
    fn the_patch_tests_what_it_removes() {
        let mut cluster = LogicalCluster::new("cluster", LogicalClusterSpec::default());
        cluster.status = Some(LogicalClusterStatus {
            initializers: vec!["system:apibindings".into(), "c:annex-tenant".into()],
            ..LogicalClusterStatus::default()
        });
        let patch = serde_json::to_value(removal(&cluster, "c:annex-tenant").unwrap()).unwrap();
        assert_eq!(
            patch,
            serde_json::json!([
                {"op": "test", "path": "/status/initializers/1", "value": "c:annex-tenant"},
                {"op": "remove", "path": "/status/initializers/1"},
            ])
        );
        assert!(removal(&cluster, "c:other").is_none());
    }
}

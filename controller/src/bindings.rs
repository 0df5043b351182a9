use kube_kcp::{
    ShardUrl,
    kinds::{APIBinding, BindingPhase},
};

/// Whether `binding` binds the export whose virtual workspace `shard` is. By the export's logical cluster, which kcp
/// resolved, because a path can be spelled in several ways.
pub(crate) fn binds(binding: &APIBinding, shard: &ShardUrl) -> bool {
    let mut parts = shard.as_str().rsplit('/');
    let (export, cluster) = (parts.next(), parts.next());
    let reference = binding.spec.reference.export.as_ref().map(|export| export.name.as_str());
    let resolved = binding.status.as_ref().map(|status| status.api_export_cluster_name.as_str());
    reference.is_some() && reference == export && resolved.is_some() && resolved == cluster
}

/// Whether the workspace is provided for: the API is served there, and is to be.
pub(crate) fn is_provided_for(binding: &APIBinding) -> bool {
    let is_bound = binding.status.as_ref().and_then(|status| status.phase) == Some(BindingPhase::Bound);
    is_bound && binding.metadata.deletion_timestamp.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube_kcp::kinds::{APIBindingSpec, APIBindingStatus, BindingReference, ExportReference};

    #[test]
    fn a_binding_is_ours_by_the_exports_cluster() {
        let shard = "https://h:1/services/apiexport/k6mp30a7/annex.sh".parse().unwrap();
        let binding = |cluster: &str, name: &str| {
            let export = Some(ExportReference { path: Some("root:other".into()), name: name.into() });
            let spec = APIBindingSpec { reference: BindingReference { export }, ..Default::default() };
            let status = APIBindingStatus { api_export_cluster_name: cluster.into(), ..Default::default() };
            APIBinding { status: Some(status), ..APIBinding::new("x", spec) }
        };
        assert!(binds(&binding("k6mp30a7", "annex.sh"), &shard));
        assert!(!binds(&binding("k6mp30a8", "annex.sh"), &shard));
        assert!(!binds(&binding("k6mp30a7", "gitops.annex.sh"), &shard));
        assert!(!binds(&APIBinding::new("x", APIBindingSpec::default()), &shard));
    }
}

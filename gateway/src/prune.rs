//! What of an Install is kept here.

use annex_apis::{Flow, FlowAction, Install, InstallSpec, InstallStatus};
use kube::ResourceExt as _;

/// Takes away what is not read here, of every Install of every tenant.
pub fn prune(install: &mut Install) {
    let spec = std::mem::take(&mut install.spec);
    install.spec = InstallSpec {
        extension: spec.extension,
        parameters: spec.parameters,
        parameters_from: spec.parameters_from,
        secrets: spec.secrets,
        granted_capabilities: spec.granted_capabilities,
        public: spec.public,
        environment_ref: spec.environment_ref,
        ..InstallSpec::default()
    };
    install.metadata.labels = None;
    install.metadata.finalizers = None;
    install.metadata.owner_references = None;
    install.annotations_mut().retain(|name, _| name.starts_with("kcp.io/"));
    if let Some(status) = &mut install.status {
        let before = std::mem::take(status);
        *status = InstallStatus {
            routes: before.routes,
            parameters: before.parameters,
            host: before.host,
            content_hash: before.content_hash,
            installed_version: before.installed_version,
            runner_ref: before.runner_ref,
            dependents: before.dependents,
            dependencies: before.dependencies,
            url: before.url,
            flow: before.flow.filter(|flow| flow.finished_at.is_none()).map(|flow| Flow {
                // While it is taken away, its own handlers are called and may store.
                stages: if flow.action == FlowAction::Revoke { flow.stages } else { Vec::new() },
                modules: None,
                retry: None,
                ..flow
            }),
            conditions: before
                .conditions
                .into_iter()
                .filter(|condition| condition.type_ == "Ready")
                .collect(),
            ..InstallStatus::default()
        };
    }
}

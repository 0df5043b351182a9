//! What of an Install is kept here.

use annex_apis::{Install, InstallSpec, InstallStatus};
use kube::ResourceExt as _;

/// Takes away what is not read here, of every Install of every tenant.
pub fn prune(install: &mut Install) {
    let extension = std::mem::take(&mut install.spec.extension);
    install.spec = InstallSpec { extension, ..InstallSpec::default() };
    install.metadata.labels = None;
    install.metadata.finalizers = None;
    install.metadata.owner_references = None;
    install.annotations_mut().retain(|name, _| name.starts_with("kcp.io/"));
    if let Some(status) = &mut install.status {
        let kept = InstallStatus {
            routes: std::mem::take(&mut status.routes),
            host: status.host.take(),
            content_hash: status.content_hash.take(),
            // Who is needed goes on though it is being deleted.
            dependents: std::mem::take(&mut status.dependents),
            conditions: status.conditions.drain(..).filter(|condition| condition.type_ == "Ready").collect(),
            ..InstallStatus::default()
        };
        *status = kept;
    }
}

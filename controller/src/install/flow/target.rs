//! What is wanted of an Install, and was, as the plan's own values.

use std::collections::BTreeMap;

use annex_apis::{
    DIRECT, EnabledModule, ExtensionVersion, FlowTarget, Install, modules_of, place_of_reference,
};
use annex_core::flow::Wanted;
use kube_kcp::ClusterName;

use crate::{
    context::Context,
    install::{resolve::Resolved, site::Site},
};

/// What a flow to it is to reach.
pub(in crate::install) fn target(resolved: &Resolved, place: &str) -> FlowTarget {
    FlowTarget {
        content_hash: resolved.identity.content_hash.to_string(),
        host: resolved.host.to_string(),
        place: place.to_owned(),
    }
}

/// The same for the plan.
pub(in crate::install) fn wanted(resolved: &Resolved, place: &str) -> Wanted {
    let modules = modules_of(&resolved.published);
    Wanted::Installed {
        place: place.to_owned(),
        host: resolved.host.clone(),
        content: resolved.identity.content_hash,
        modules: modules.iter().filter_map(|module| Some((module.name.clone(), module.parsed()?))).collect(),
    }
}

/// The modules of the version that the flow is to which the Install's status records.
pub(in crate::install) fn on_the_way(context: &Context, install: &Install) -> Vec<EnabledModule> {
    let flow = install.status.as_ref().and_then(|status| status.flow.as_ref());
    let Some(target) = flow.filter(|flow| flow.finished_at.is_none()).and_then(|flow| flow.target.as_ref())
    else {
        return Vec::new();
    };
    let is_it = |version: &ExtensionVersion| {
        version.spec.extension == install.spec.extension && version.spec.content_hash == target.content_hash
    };
    context.catalog.versions.filter(is_it).first().map(|version| modules_of(version)).unwrap_or_default()
}

/// The name of where an Install of `cluster` is to run.
pub(in crate::install) fn place_name(site: &Site, cluster: &ClusterName) -> String {
    match site {
        Site::Cluster(place, _) => place_of_reference(&place.reference(cluster)),
        Site::Direct | Site::None(_) | Site::Unknown | Site::Gone => DIRECT.to_owned(),
    }
}

/// Which of `to` are not in `from`, or are another there: what a flow from one to the other calls.
pub(super) fn changed<'a>(
    from: &'a [EnabledModule],
    to: &'a [EnabledModule],
) -> impl Iterator<Item = (Option<&'a EnabledModule>, &'a EnabledModule)> {
    let former: BTreeMap<&str, &EnabledModule> =
        from.iter().map(|module| (module.name.as_str(), module)).collect();
    to.iter().filter_map(move |module| {
        let former = former.get(module.name.as_str()).copied();
        (former.map(|former| &former.digest) != Some(&module.digest)).then_some((former, module))
    })
}

use std::sync::Arc;

use annex_apis::Install;
use kube_kcp::ObjectKey;

use crate::{
    compute::{Place, State},
    conditions::Because,
    context::Context,
};

/// Where an Install runs.
#[derive(Clone, Debug)]
pub(super) enum Site {
    /// One runner answers for every domain; there is nothing to make.
    Direct,
    /// A cluster, and how it is.
    Cluster(Arc<Place>, State),
    /// Nowhere, as things are.
    None(Because),
    /// It is not known yet; the environment is still being looked at.
    Unknown,
    /// The environment that it names is not there.
    Gone,
}

/// Where an Install is to run.
pub(super) fn site(context: &Context, key: &ObjectKey, install: &Install) -> Site {
    let named = install.spec.environment_ref.as_ref().map(|environment| environment.name.as_str());
    site_named(context, key, named)
}

/// The site of the environment with this name in the Install's namespace, or the platform's.
pub(super) fn site_named(context: &Context, key: &ObjectKey, environment: Option<&str>) -> Site {
    let Some(name) = environment else {
        return match context.places.platform() {
            Some(platform) => Site::Cluster(platform.clone(), platform.state()),
            None => Site::Direct,
        };
    };
    let at = ObjectKey { name: name.to_owned(), ..key.clone() };
    if context.tenants.environments.get(&at).is_none() {
        return Site::Gone;
    }
    let Some(access) = context.environments.get(&at) else {
        return match context.environments.reason(&at) {
            Some(because) => Site::None(Because::new(
                "EnvironmentNotReady",
                format!("the environment {name} is not ready: {}: {}", because.reason, because.message),
            )),
            None => Site::Unknown,
        };
    };
    if !access.knative {
        return Site::None(Because::new(
            "KnativeNotInstalled",
            format!("the environment {name} has no Knative Serving, which installs need to run there"),
        ));
    }
    match context.places.open(&at, &access) {
        Some(place) => {
            let state = place.state();
            Site::Cluster(place, state)
        }
        None => Site::None(Because::new(
            "NamespaceRequired",
            format!(
                "the environment {name} names no namespace to run in; list one in its spec.namespaces, or allow one to be made with \
                 spec.clusterResources"
            ),
        )),
    }
}

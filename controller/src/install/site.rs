use std::sync::Arc;

use annex_apis::Install;
use kube::ResourceExt as _;
use kube_kcp::ObjectKey;

use crate::{
    compute::{NotOpened, Place, State},
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
    // One that is being deleted is closed already, whatever keeps it.
    let found = context.tenants.environments.get(&at);
    let Some(environment) = found.filter(|environment| environment.metadata.deletion_timestamp.is_none())
    else {
        return Site::Gone;
    };
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
    match context.places.open(&at, &environment.uid().unwrap_or_default(), &access) {
        Ok(place) => {
            let state = place.state();
            Site::Cluster(place, state)
        }
        Err(NotOpened::NoNamespace) => Site::None(Because::new(
            "NamespaceRequired",
            format!(
                "the environment {name} names no namespace to run in; list one in its spec.namespaces, or allow one to be made with \
                 spec.clusterResources"
            ),
        )),
        Err(NotOpened::TooMany) => Site::None(Because::new(
            "TooManyEnvironments",
            "the installs of this workspace use as many environments as they may at a time",
        )),
    }
}

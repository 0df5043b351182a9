//! What stands on the platform's cluster for Installs that are no more: somebody took the finalizer away while nobody watched, or a
//! backup was restored.

use std::{collections::HashSet, sync::Arc};

use kube::ResourceExt as _;
use kube_kcp::ClusterName;

use crate::{
    api_writes::WriteError,
    certainty::installs_in,
    compute::{Place, State, Tenancy, Undone},
    context::Context,
    install::Runners,
};

/// No Install has this uid.
const NOBODY: &str = "";

/// What there may be to sweep of a workspace.
pub(super) struct Leftovers<'a> {
    place: &'a Arc<Place>,
    /// The uids of Installs that no list holds.
    dead: HashSet<String>,
    /// There are runners that no Install is known to use.
    runners: bool,
}

/// None: there is nothing, or nothing can be said.
pub(super) fn look<'a>(context: &'a Context, cluster: &ClusterName) -> Option<Leftovers<'a>> {
    let place = context.places.platform().filter(|place| place.state() == State::Known)?;
    let living = living(context, cluster);
    let dead: HashSet<String> = place.installs_of(cluster).difference(&living).cloned().collect();
    let reference = place.reference(cluster);
    let runners = Runners { cluster, place: &reference, environments: None };
    let runners = place.has_runners(cluster) && !runners.are_known_to_be_used(context, NOBODY);
    (runners || !dead.is_empty()).then_some(Leftovers { place, dead, runners })
}

impl Leftovers<'_> {
    /// Removes what is left of a workspace that binds the API. False: something is still being removed.
    pub(super) async fn remove(
        mut self,
        context: &Context,
        cluster: &ClusterName,
    ) -> Result<bool, WriteError> {
        // What no list holds may be there all the same.
        let Some(there) = installs_in(context, cluster).await? else { return Ok(true) };
        for install in there {
            self.dead.remove(&install.uid().unwrap_or_default());
        }
        self.remove_of_unbound(context, cluster).await
    }

    /// Removes what is left of a workspace that is gone, or binds the API no longer: nothing in it is there.
    pub(super) async fn remove_of_unbound(
        self,
        context: &Context,
        cluster: &ClusterName,
    ) -> Result<bool, WriteError> {
        let reference = self.place.reference(cluster);
        let living = living(context, cluster);
        for dead in &self.dead {
            tracing::info!(%cluster, install = dead, "what is left of an Install that is no more is removed");
            let whose = Tenancy { cluster, install: dead, others: &living };
            if self.place.remove_domains(whose, &reference.namespace, None).await? != Undone::Done {
                return Ok(false);
            }
        }
        if !self.runners {
            return Ok(true);
        }
        let runners = Runners { cluster, place: &reference, environments: None };
        let used = runners.are_used(context, NOBODY);
        Ok(self.place.remove_runners(cluster, &reference.namespace, used).await? == Undone::Done)
    }
}

fn living(context: &Context, cluster: &ClusterName) -> HashSet<String> {
    context.installs_of(cluster).iter().filter_map(|(_, install)| install.uid()).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kube_kcp::Outcome;
    use serde_json::{Value, json};

    use super::*;
    use crate::scripted::{self, Asked, Controller, Log};

    /// A cluster with the mapping of an Install of the workspace `acme`.
    async fn controller(installs: Value) -> (Controller, Log) {
        let log = Log::default();
        let seen = log.clone();
        let labels = json!({ "annex.sh/managed": "true", "annex.sh/cluster": "acme", "annex.sh/place": "platform", "annex.sh/install": "a" });
        let mapping = json!({ "apiVersion": "serving.knative.dev/v1beta1", "kind": "DomainMapping", "metadata": {
            "name": "acme--hello.apps.test", "namespace": "annex-acme", "uid": "m", "resourceVersion": "1", "labels": labels,
        } });
        let cluster = scripted::cluster(move |asked| {
            seen.add(asked);
            let list = asked.what.ends_with("/domainmappings") && !asked.is_watch();
            list.then(|| scripted::list(json!([mapping])))
        });
        let kcp = move |_: Asked| scripted::list(installs.clone());
        let mut controller = Controller::start(kcp, Some(scripted::platform(cluster))).await;
        controller.knows_the_cluster().await;
        (controller, log)
    }

    async fn swept(controller: &Controller) -> bool {
        let (context, cluster) = (&*controller.context, "acme".parse().unwrap());
        let leftovers = look(context, &cluster).unwrap();
        leftovers.remove(context, &cluster).await.unwrap()
    }

    #[tokio::test]
    async fn an_install_that_only_a_list_does_not_hold_keeps_what_it_has() {
        let install = json!({ "apiVersion": "annex.sh/v1alpha1", "kind": "Install",
            "metadata": { "name": "hello", "namespace": "default", "uid": "a" }, "spec": { "extension": "com.example.hello" } });
        let (controller, log) = controller(json!([install])).await;
        assert!(swept(&controller).await);
        assert_eq!(log.with("DELETE"), Vec::<String>::new());
    }

    #[tokio::test]
    async fn what_an_install_had_that_nobody_knows_is_removed() {
        let (controller, log) = controller(json!([])).await;
        assert!(!swept(&controller).await, "it is there until the cluster says that it is not");
        assert_eq!(log.with("DELETE").len(), 1, "{log:?}");
    }

    /// The last Install has gone with its workspace, and nobody undid it.
    #[tokio::test]
    async fn what_a_workspace_had_that_is_gone_is_removed_before_its_tenant() {
        let (controller, log) = controller(json!([])).await;
        let tenant = serde_json::from_value(json!({ "apiVersion": "annex.sh/v1alpha1", "kind": "Tenant",
            "metadata": { "name": "acme", "uid": "t", "resourceVersion": "1" }, "spec": {} }));
        controller.context.catalog.tenants.wrote(tenant.unwrap());
        let cluster = "acme".parse().unwrap();
        let outcome = crate::workspace::reconcile(&controller.context, &cluster).await;
        assert_eq!(outcome, Outcome::Again(Duration::from_secs(5)));
        assert_eq!(log.with("DELETE").len(), 1, "{log:?}");
    }
}

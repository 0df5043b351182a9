//! Who runs where: the runners of a workspace stay as long as an Install of it uses them.

use annex_apis::{FlowAction, FlowStage, INSTALL_FINALIZER, Install, PlaceReference};
use kube::{ResourceExt as _, core::DeserializeGuard};
use kube_kcp::{ClusterName, ObjectKey};

use super::{flow::is_open, undo::recorded_places};
use crate::{api_writes::WriteError, certainty::installs_in, context::Context};

/// Runners of a workspace, as its Installs name them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Runners<'a> {
    pub(crate) cluster: &'a ClusterName,
    pub(crate) place: &'a PlaceReference,
    /// Where the environment of the place is, which has its name in this namespace alone. None: it is the platform's cluster.
    pub(crate) environments: Option<&'a str>,
}

impl Runners<'_> {
    /// Whether an Install that is known uses them, the one with this uid aside.
    pub(crate) fn are_known_to_be_used(&self, context: &Context, except: &str) -> bool {
        let installs = context.installs_of(self.cluster);
        installs.iter().any(|(key, install)| {
            self.can_be_meant(&key.namespace)
                && counts(install, except)
                && !self.were_left_by(context, install)
                && (recorded_places(install).contains(self.place) || self.are_next_of(context, key, install))
        })
    }

    /// The same, but the workspace is asked too: who came a moment ago has recorded the place, and is perhaps in no list yet.
    pub(crate) async fn are_used(&self, context: &Context, except: &str) -> Result<bool, WriteError> {
        if self.are_known_to_be_used(context, except) {
            return Ok(true);
        }
        let installs = installs_in(context, self.cluster).await?.unwrap_or_default();
        Ok(installs.iter().any(|DeserializeGuard(install)| match install {
            Ok(install) => {
                self.can_be_meant(&install.namespace().unwrap_or_default())
                    && counts(install, except)
                    && !self.were_left_by(context, install)
                    && recorded_places(install).contains(self.place)
            }
            // Where it runs cannot be read.
            Err(invalid) => invalid.metadata.uid.as_deref() != Some(except),
        }))
    }

    fn can_be_meant(&self, namespace: &str) -> bool {
        self.environments.is_none_or(|environments| environments == namespace)
    }

    /// Whether the Install has left them, though its status does not say so yet: of two that leave at once the second takes them
    /// along.
    fn were_left_by(&self, context: &Context, install: &Install) -> bool {
        let left = context.left.lock();
        let places = install.uid().and_then(|uid| left.get(&uid));
        places.is_some_and(|places| places.contains(self.place))
    }

    /// Whether an Install that nobody has decided about yet would run on them. One that was refused has recorded nothing, and holds
    /// nothing.
    fn are_next_of(&self, context: &Context, key: &ObjectKey, install: &Install) -> bool {
        let observed = install.status.as_ref().and_then(|status| status.observed_generation);
        let named = install.spec.environment_ref.as_ref().map(|environment| &environment.name);
        if observed == install.metadata.generation || named != self.place.environment.as_ref() {
            return false;
        }
        let place = match named {
            None => context.places.platform().cloned(),
            Some(name) => context.places.opened(&ObjectKey { name: name.clone(), ..key.clone() }),
        };
        // Of an environment that is not open it cannot be said which namespace it will be.
        place.is_none_or(|place| place.reference(self.cluster) == *self.place)
    }
}

fn counts(install: &Install, except: &str) -> bool {
    let is_there = install.metadata.deletion_timestamp.is_none() || needs_them_to_go(install);
    is_there && install.uid().as_deref() != Some(except)
}

/// Whether an Install that is being deleted has still to be called, or to have removed what it stored, or answers because others need it:
/// without runners it could not go.
fn needs_them_to_go(install: &Install) -> bool {
    let is_held = install.finalizers().iter().any(|finalizer| finalizer == INSTALL_FINALIZER);
    let flow = install.status.as_ref().and_then(|status| status.flow.as_ref());
    let is_to_come = |stage: &FlowStage| {
        let calls = stage.name == "Purge" || stage.name.starts_with("Lifecycle/");
        calls && is_open(stage)
    };
    is_held && flow.is_none_or(|flow| flow.action != FlowAction::Revoke || flow.stages.iter().any(is_to_come))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::scripted::{self, Controller};

    fn place(environment: Option<&str>, namespace: &str) -> PlaceReference {
        PlaceReference { environment: environment.map(str::to_owned), namespace: namespace.to_owned() }
    }

    fn install(name: &str, environment: Option<&str>, metadata: Value, status: Value) -> Install {
        let mut install: Install = serde_json::from_value(json!({
            "apiVersion": "annex.sh/v1alpha1", "kind": "Install",
            "metadata": { "name": name, "namespace": "default", "uid": name, "generation": 1 },
            "spec": { "extension": "com.example.hello" }, "status": status,
        }))
        .unwrap();
        install.spec.environment_ref =
            environment.map(|name| annex_apis::NameReference { name: name.to_owned() });
        if metadata["held"] == true {
            install.metadata.finalizers = Some(vec![INSTALL_FINALIZER.to_owned()]);
        }
        if metadata["going"] == true {
            install.metadata.deletion_timestamp =
                serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        }
        install
    }

    /// Whether the runners of the platform are used when this Install is there besides the one that leaves them.
    async fn are_used(other: Install, place: &PlaceReference) -> bool {
        let cluster = scripted::cluster(|_| None);
        let kcp = |_: scripted::Asked| scripted::list(json!([]));
        let controller = Controller::start(kcp, Some(scripted::platform(cluster))).await;
        let recorded = json!({ "observedGeneration": 1, "places": [place] });
        controller.applied(&controller.key("acme", "leaves"), &install("leaves", None, json!({}), recorded));
        controller.applied(&controller.key("acme", "other"), &other);
        asked(&controller, place, "leaves").await
    }

    async fn asked(controller: &Controller, place: &PlaceReference, leaves: &str) -> bool {
        let cluster = &"acme".parse().unwrap();
        let environments = place.environment.is_some().then_some("default");
        let runners = Runners { cluster, place, environments };
        runners.are_used(&controller.context, leaves).await.unwrap()
    }

    #[tokio::test]
    async fn who_has_recorded_them_or_is_about_to_uses_them() {
        let there = place(None, "annex-acme");
        let other = |metadata, status| install("other", None, metadata, status);
        let recorded = || json!({ "observedGeneration": 1, "places": [there] });
        let refused = || json!({ "observedGeneration": 1 });
        assert!(are_used(other(json!({}), recorded()), &there).await);
        assert!(!are_used(other(json!({ "going": true }), recorded()), &there).await);
        assert!(!are_used(other(json!({}), refused()), &there).await, "it was refused, and made nothing");
        assert!(are_used(other(json!({}), json!(null)), &there).await, "nobody has looked at it yet");

        // Who goes needs them until it was called, and has nothing stored any more.
        let held = || json!({ "going": true, "held": true });
        assert!(are_used(other(held(), recorded()), &there).await, "nobody has begun to take it away");
        let revoked = |stage: &str, status: &str| {
            let stages =
                json!([{ "name": "Withdraw", "status": "FINISHED" }, { "name": stage, "status": status }]);
            json!({ "observedGeneration": 1, "places": [there],
                "flow": { "id": "i", "action": "Revoke", "status": "IN_PROGRESS", "startedAt": "2026-01-01T00:00:00Z", "stages": stages } })
        };
        for (stage, status, used) in [
            ("Lifecycle/a", "QUEUED", true),
            ("Purge", "IN_PROGRESS", true),
            ("Purge", "FINISHED", false),
            ("Lifecycle/a", "FAILED", false),
            ("RemoveRunner", "IN_PROGRESS", false),
        ] {
            assert_eq!(
                are_used(other(held(), revoked(stage, status)), &there).await,
                used,
                "{stage} {status}"
            );
        }
        assert!(
            are_used(other(json!({}), json!({ "observedGeneration": 0 })), &there).await,
            "it has changed"
        );
    }

    #[tokio::test]
    async fn another_namespace_of_a_place_is_another_place() {
        let before = place(None, "annex-before");
        let recorded = json!({ "observedGeneration": 1, "places": [place(None, "annex-acme")] });
        assert!(!are_used(install("other", None, json!({}), recorded), &before).await);
        assert!(!are_used(install("other", None, json!({}), json!(null)), &before).await);
        let mine = place(Some("mine"), "before");
        let recorded = json!({ "observedGeneration": 1, "places": [place(Some("mine"), "after")] });
        assert!(!are_used(install("other", Some("mine"), json!({}), recorded), &mine).await);
    }

    /// Each would leave them to the other.
    #[tokio::test]
    async fn of_two_that_leave_at_once_the_second_takes_them_along() {
        let controller = Controller::start(|_| scripted::list(json!([])), None).await;
        let there = place(Some("mine"), "before");
        for name in ["a", "b"] {
            let recorded = json!({ "observedGeneration": 1, "places": [there] });
            let key = controller.key("acme", name);
            controller.applied(&key, &install(name, Some("mine"), json!({}), recorded));
        }
        assert!(asked(&controller, &there, "a").await);
        controller.context.left.lock().insert("a".to_owned(), vec![there.clone()]);
        assert!(!asked(&controller, &there, "b").await);
    }

    #[tokio::test]
    async fn who_is_in_no_list_is_asked_for() {
        let there = place(None, "annex-acme");
        let recorded = json!({ "observedGeneration": 1, "places": [there] });
        let other = serde_json::to_value(install("other", None, json!({}), recorded)).unwrap();
        let controller = Controller::start(move |_| scripted::list(json!([other])), None).await;
        assert!(asked(&controller, &there, "leaves").await);
        assert!(!asked(&controller, &there, "other").await);
    }

    #[tokio::test]
    async fn who_cannot_be_read_may_use_them() {
        let later = json!({ "metadata": { "name": "later", "uid": "later" }, "spec": { "extension": 1 } });
        let controller = Controller::start(move |_| scripted::list(json!([later])), None).await;
        assert!(asked(&controller, &place(None, "annex-acme"), "leaves").await);
        assert!(!asked(&controller, &place(None, "annex-acme"), "later").await);
    }
}

//! What becomes of Installs that lists no longer hold.

use serde_json::{Value, json};

use super::*;
use crate::scripted::{self, Asked, Controller, Log};

/// An Install that is installed on the platform's cluster, with everything of it in the workspace `acme`.
fn install(uid: &str) -> Install {
    serde_json::from_value(json!({
        "apiVersion": "annex.sh/v1alpha1", "kind": "Install",
        "metadata": { "name": "hello", "namespace": "default", "uid": uid, "finalizers": ["annex.sh/install"], "generation": 1,
            "annotations": { "kcp.io/cluster": "acme" } },
        "spec": { "extension": "com.example.hello" },
        "status": { "observedGeneration": 1, "host": "acme--hello.apps.test", "places": [{ "namespace": "annex-acme" }] },
    }))
    .unwrap()
}

fn labels(uid: &str) -> Value {
    json!({ "annex.sh/managed": "true", "annex.sh/cluster": "acme", "annex.sh/place": "platform", "annex.sh/install": uid })
}

/// The mappings on the cluster.
fn mappings() -> Value {
    json!([{ "apiVersion": "serving.knative.dev/v1beta1", "kind": "DomainMapping", "metadata": {
        "name": "acme--hello.apps.test", "namespace": "annex-acme", "uid": "m", "resourceVersion": "1", "labels": labels("a"),
    } }])
}

const ASKED: &str = "GET /services/apiexport/provider/annex.sh/clusters/acme/apis/annex.sh/v1alpha1/namespaces/default/installs/hello";

/// A controller whose cluster holds what the Install `a` has, and what is asked of that cluster. `there`: its workspace says that the
/// Install is there.
async fn controller(there: bool) -> (Controller, Log) {
    let log = Log::default();
    let cluster = scripted::cluster({
        let log = log.clone();
        move |asked| {
            log.add(asked);
            let list = asked.what.ends_with("/domainmappings") && !asked.is_watch();
            list.then(|| scripted::list(mappings()))
        }
    });
    let kcp = move |asked: Asked| match asked.what.as_str() {
        ASKED if there => scripted::object(serde_json::to_value(install("a")).unwrap()),
        _ => scripted::refusal(404, "not found"),
    };
    let mut controller = Controller::start(kcp, Some(scripted::platform(cluster))).await;
    controller.knows_the_cluster().await;
    (controller, log)
}

#[tokio::test]
async fn nothing_is_removed_of_an_install_that_only_a_list_does_not_hold() {
    let (controller, log) = controller(true).await;
    let key = controller.key("acme", "hello");
    controller.applied(&key, &install("a"));
    let host = "acme--hello.apps.test".parse().unwrap();
    assert!(controller.context.host_claims.holds(&host, &key));

    controller.relisted(&[]);
    assert_eq!(reconcile(&controller.context, &key).await, Outcome::Failed);
    assert!(controller.context.host_claims.holds(&host, &key), "its host is given away");

    // It is in the index again, and that this is so has not been told yet.
    controller.context.tenants.installs.apply(key.clone(), install("a"));
    reconcile(&controller.context, &key).await;
    controller.applied(&key, &install("a"));
    reconcile(&controller.context, &key).await;
    assert!(controller.context.orphans.lock().is_empty());
    assert_eq!(log.with("DELETE"), Vec::<String>::new());
}

const MAPPING: &str =
    "DELETE /apis/serving.knative.dev/v1beta1/namespaces/annex-acme/domainmappings/acme--hello.apps.test";

#[tokio::test]
async fn everything_goes_of_an_install_that_its_workspace_does_not_hold_either() {
    let (controller, log) = controller(false).await;
    let key = controller.key("acme", "hello");
    controller.applied(&key, &install("a"));
    controller.relisted(&[]);
    reconcile(&controller.context, &key).await;
    assert_eq!(log.with("DELETE"), [MAPPING]);
}

#[tokio::test]
async fn everything_goes_of_a_former_install_of_the_name() {
    let (controller, log) = controller(true).await;
    let key = controller.key("acme", "hello");
    controller.applied(&key, &install("a"));
    controller.relisted(&[]);
    controller.applied(&key, &install("b"));
    reconcile(&controller.context, &key).await;
    assert_eq!(log.with("DELETE"), [MAPPING]);
}

/// As after a restart, or in the moment before a change is told.
#[tokio::test]
async fn nothing_is_let_go_of_an_install_that_no_list_has_ever_held() {
    let (controller, _) = controller(true).await;
    let key = controller.key("acme", "hello");
    let host = "acme--hello.apps.test".parse().unwrap();
    controller.context.host_claims.claim(&host, &key, rank(&install("a"), false));
    assert_eq!(reconcile(&controller.context, &key).await, Outcome::Failed);
    assert!(controller.context.host_claims.holds(&host, &key));
}

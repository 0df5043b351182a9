//! What becomes of Installs that lists no longer hold, and of what they leave behind.

use futures::FutureExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::*;
use crate::{
    context::Key,
    scripted::{self, Asked, Controller, Log},
};

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
    controller.context.tenants.installs.apply(&controller.shard, key.clone(), install("a"));
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

/// One that was refused has made nothing, and keeps nothing from going.
#[tokio::test]
async fn the_last_install_that_ran_takes_the_runners_along() {
    let log = Log::default();
    let seen = log.clone();
    let cluster = scripted::cluster(move |asked| {
        seen.add(asked);
        let runner = json!({ "metadata": { "name": "runner", "namespace": "annex-acme", "uid": "r", "resourceVersion": "1" } });
        let there = asked.what.ends_with("/annex-acme/services") && seen.with("DELETE").is_empty();
        let namespace = json!({ "metadata": { "name": "annex-acme", "uid": "n", "labels": labels("a") } });
        match asked.what.as_str() {
            _ if there => Some(scripted::list(json!([runner]))),
            "GET /api/v1/namespaces/annex-acme" => Some(scripted::object(namespace)),
            _ => None,
        }
    });
    let written = Log::default();
    let kcp = {
        let written = written.clone();
        move |asked: Asked| {
            written.add(&asked);
            match asked.what.ends_with("/v1alpha1/installs") {
                true => scripted::list(json!([])),
                false => scripted::object(serde_json::to_value(install("a")).unwrap()),
            }
        }
    };
    let mut controller = Controller::start(kcp, Some(scripted::platform(cluster))).await;
    controller.knows_the_cluster().await;
    let mut goes = install("a");
    goes.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    let key = controller.key("acme", "hello");
    controller.applied(&key, &goes);
    let mut refused = install("b");
    refused.status.as_mut().unwrap().places.clear();
    controller.applied(&controller.key("acme", "refused"), &refused);

    reconcile(&controller.context, &key).await;
    const SERVICE: &str = "DELETE /apis/serving.knative.dev/v1/namespaces/annex-acme/services/runner";
    assert_eq!(log.with("DELETE"), [SERVICE], "the namespace goes after what is in it");
    assert_eq!(reconcile(&controller.context, &key).await, Outcome::Done);
    assert_eq!(log.with("DELETE"), [SERVICE, "DELETE /api/v1/namespaces/annex-acme"]);
    assert!(written.with("PATCH").iter().any(|patch| patch.ends_with("/installs/hello")), "{written:?}");
}

#[tokio::test]
async fn the_workspace_of_an_install_that_went_is_looked_at() {
    let (controller, _) = controller(false).await;
    let (context, key) = (&controller.context, controller.key("acme", "hello"));
    controller.applied(&key, &install("a"));
    controller.relisted(&[]);
    let queued: Vec<Key> = std::iter::from_fn(|| context.queue.next().now_or_never()).collect();
    assert!(queued.contains(&Key::Workspace(key.cluster.clone())), "{queued:?}");
}

/// The line in which an Install waits is its workspace's, and how often it has failed is not forgotten there.
#[tokio::test]
async fn an_install_on_a_tenants_cluster_waits_in_a_line_of_its_own() {
    let (controller, _) = controller(true).await;
    let (context, elsewhere) = (&*controller.context, &controller.context.elsewhere);
    let mut mine = install("a");
    mine.spec.environment_ref = Some(annex_apis::NameReference { name: "mine".to_owned() });
    let (first, second) = (controller.key("acme", "first"), controller.key("acme", "second"));
    for key in [&first, &second, &controller.key("other", "hello")] {
        controller.applied(key, &mine);
        assert_eq!(reconcile(context, key).await, Outcome::Done);
    }
    let next = || elsewhere.queue.next().now_or_never();
    assert_eq!(next().as_ref(), Some(&first));
    assert_eq!(next(), Some(controller.key("other", "hello")), "its turn comes before the second of acme");
    assert_eq!(next(), None, "one of a workspace at a time");
    elsewhere.queue.finish(&first, Outcome::Failed);
    reconcile(context, &first).await;
    assert_eq!(elsewhere.queue.failures(&first), 1);
    assert_eq!(next(), Some(second));

    // It runs on the platform now.
    controller.applied(&first, &install("a"));
    while context.queue.next().now_or_never().is_some() {}
    assert_eq!(reconcile_elsewhere(context, &first).await, Outcome::Done);
    assert_eq!(next(), None);
}

#[tokio::test]
async fn nobody_works_on_an_install_out_of_two_queues() {
    let (controller, log) = controller(false).await;
    let (context, key) = (&*controller.context, controller.key("acme", "hello"));
    controller.applied(&key, &install("a"));
    controller.relisted(&[]);
    let at_work = context.elsewhere.begin(&key);
    assert_eq!(reconcile(context, &key).await, Outcome::Done);
    assert_eq!(log.with("DELETE"), Vec::<String>::new());
    let next = context.elsewhere.queue.next().now_or_never();
    assert_eq!(next.as_ref(), Some(&key), "who is at work looks again afterwards");
    drop(at_work);
    reconcile(context, &key).await;
    assert_eq!(log.with("DELETE"), [MAPPING]);
}

/// An undo there takes as long as anything else there.
#[tokio::test]
async fn what_is_left_on_a_tenants_cluster_is_removed_out_of_that_line() {
    let (controller, _) = controller(false).await;
    let (context, key) = (&*controller.context, controller.key("acme", "hello"));
    let mut mine = install("a");
    let places = &mut mine.status.as_mut().unwrap().places;
    places[0].environment = Some("mine".to_owned());
    controller.applied(&key, &mine);
    controller.relisted(&[]);
    assert_eq!(reconcile(context, &key).await, Outcome::Done);
    assert_eq!(context.elsewhere.queue.next().now_or_never(), Some(key));
}

#[test]
fn whose_handlers_are_called_in_the_end_is_the_same_in_each_pass() {
    let (first, second) = (format!("sha256:{}", "01".repeat(32)), format!("sha256:{}", "02".repeat(32)));
    let in_two_passes = |status: serde_json::Value| {
        let mut install: Install = serde_json::from_value(json!({
            "apiVersion": "annex.sh/v1alpha1", "kind": "Install", "metadata": { "name": "hello" },
            "spec": { "extension": "com.example.hello" }, "status": status,
        }))
        .unwrap();
        let passes = [1, 2].map(|second| {
            let mut ledger = Ledger::of(&install);
            ledger.revoke(true, Timestamp::from_second(second).unwrap());
            let contents = contents_of(&install, &ledger).iter().map(ToString::to_string).collect::<Vec<_>>();
            ledger.called("b", None);
            ledger.write(install.status.get_or_insert_default());
            contents
        });
        assert_eq!(passes[0], passes[1]);
        passes[0].clone()
    };
    let flow = |modules: serde_json::Value| {
        json!({ "id": "f", "action": "Upgrade", "status": "FAILED", "startedAt": "2026-01-01T00:00:00Z",
            "finishedAt": "2026-01-01T00:00:01Z", "modules": modules,
            "target": { "contentHash": second, "host": "h", "place": "p" } })
    };
    let called = json!([{ "name": "a", "version": "2.0.0", "digest": second }, { "name": "b", "version": "1.0.0", "digest": first }]);
    let installed = |flow: Option<serde_json::Value>| json!({ "installedVersion": "1.0.0", "contentHash": first, "host": "h", "modules": called, "flow": flow });
    assert_eq!(in_two_passes(json!({})), Vec::<String>::new());
    assert_eq!(in_two_passes(installed(None)), [first.as_str()]);
    assert_eq!(in_two_passes(installed(Some(flow(json!(null))))), [first.as_str()], "it was undone");
    assert_eq!(in_two_passes(installed(Some(flow(called.clone())))), [second.as_str(), &first]);
    assert_eq!(in_two_passes(json!({ "flow": flow(called.clone()) })), [second.as_str()]);
    assert_eq!(in_two_passes(json!({ "flow": flow(json!(null)) })), [second.as_str()]);
}

//! Whether the cluster's own pods run, as the kubelet says and as the runtime knows.

use std::collections::BTreeSet;

use serde_json::Value;

use super::manifests::{KNATIVE, LEADERS, NAMESPACES, kind};

/// What is not as it should be, one short sentence each; `list` holds Deployments, Pods and Leases of all namespaces, `running`
/// the ids of the containers that the runtime runs.
///
/// After a restart of the node the API still holds the statuses of before, which say that all is well: only a container that
/// the runtime knows counts.
pub(super) fn unready(list: &Value, running: &BTreeSet<String>) -> Vec<String> {
    let items = || list.get("items").and_then(Value::as_array).into_iter().flatten();
    let ours = |object: &&Value| NAMESPACES.contains(&text(object, "/metadata/namespace"));
    let pods: Vec<&Value> =
        items().filter(ours).filter(|object| kind(object) == "Pod").filter(|pod| !is_over(pod)).collect();
    let mut reasons = Vec::new();
    for deployment in items().filter(ours).filter(|object| kind(object) == "Deployment") {
        let (namespace, name) = (text(deployment, "/metadata/namespace"), text(deployment, "/metadata/name"));
        let wanted = deployment.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1);
        let ready = pods
            .iter()
            .filter(|pod| text(pod, "/metadata/namespace") == namespace && belongs(pod, deployment))
            .filter(|pod| runs(pod, running))
            .count();
        if (ready as u64) < wanted {
            reasons.push(format!("{namespace}/{name} has {ready} of {wanted} pods ready"));
        } else if namespace == KNATIVE && LEADERS.contains(&name) && wanted > 0 {
            let mut pods = pods.iter().filter(|pod| belongs(pod, deployment));
            let leads = |pod: &str| items().any(|lease| kind(lease) == "Lease" && is_held(lease, pod));
            if !pods.any(|pod| leads(text(pod, "/metadata/name"))) {
                reasons.push(format!("{namespace}/{name} has not become the leader yet"));
            }
        }
    }
    if reasons.is_empty() && items().filter(ours).all(|object| kind(object) != "Deployment") {
        reasons.push("there are no deployments yet".to_owned());
    }
    reasons
}

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// Knative's names of holders begin with the pod's.
fn is_held(lease: &Value, pod: &str) -> bool {
    text(lease, "/spec/holderIdentity").strip_prefix(pod).is_some_and(|rest| rest.starts_with('_'))
}

fn is_over(pod: &Value) -> bool {
    pod.pointer("/metadata/deletionTimestamp").is_some()
        || matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

fn belongs(pod: &Value, deployment: &Value) -> bool {
    let labels = |object: &Value, path: &str| {
        object.pointer(path).and_then(Value::as_object).cloned().unwrap_or_default()
    };
    let has = labels(pod, "/metadata/labels");
    labels(deployment, "/spec/selector/matchLabels").iter().all(|(name, value)| has.get(name) == Some(value))
}

fn runs(pod: &Value, running: &BTreeSet<String>) -> bool {
    let statuses = pod.pointer("/status/containerStatuses").and_then(Value::as_array);
    statuses.is_some_and(|statuses| {
        !statuses.is_empty()
            && statuses.iter().all(|status| {
                let id = text(status, "/containerID").trim_start_matches("containerd://");
                status.pointer("/ready").and_then(Value::as_bool) == Some(true) && running.contains(id)
            })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list(ready: bool, holder: &str) -> Value {
        let labels = json!({"app": "webhook"});
        json!({"items": [
            {
                "kind": "Deployment",
                "metadata": {"namespace": "knative-serving", "name": "webhook"},
                "spec": {"replicas": 1, "selector": {"matchLabels": labels}},
            },
            {
                "kind": "Pod",
                "metadata": {"namespace": "knative-serving", "name": "webhook-1", "labels": labels},
                "status": {"phase": "Running", "containerStatuses": [{"ready": ready, "containerID": "containerd://abc"}]},
            },
            {"kind": "Deployment", "metadata": {"namespace": "tenant", "name": "x"}, "spec": {"replicas": 5}},
            {
                "kind": "Lease",
                "metadata": {"namespace": "knative-serving", "name": "l"},
                "spec": {"holderIdentity": format!("{holder}_1")},
            },
        ]})
    }

    fn running(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn only_containers_that_the_runtime_knows_count() {
        assert!(unready(&list(true, "webhook-1"), &running(&["abc"])).is_empty());
        let stale = unready(&list(true, "webhook-1"), &running(&["other"]));
        assert_eq!(stale, ["knative-serving/webhook has 0 of 1 pods ready"]);
        assert_eq!(unready(&list(false, "webhook-1"), &running(&["abc"])), stale);
    }

    #[test]
    fn who_does_not_lead_does_not_work() {
        let waiting = unready(&list(true, "webhook-0"), &running(&["abc"]));
        assert_eq!(waiting, ["knative-serving/webhook has not become the leader yet"]);
    }

    #[test]
    fn nothing_at_all_is_not_ready() {
        assert!(!unready(&json!({"items": []}), &running(&[])).is_empty());
    }
}

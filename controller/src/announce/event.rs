//! What there is to tell of an Install, by its status. Pure.

use annex_apis::{Flow, FlowAction, FlowRecord, FlowStage, Install, StageStatus};
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube_kcp::ObjectKey;
use serde::Serialize;
use serde_json::{Value, json};

/// CloudEvents 1.0, in the JSON format.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct CloudEvent {
    specversion: &'static str,
    /// The same event has the same id, however often it is told.
    pub(super) id: String,
    source: String,
    #[serde(rename = "type")]
    pub(super) type_: &'static str,
    subject: String,
    time: String,
    datacontenttype: &'static str,
    /// What is of one key stays in order: tenant and extension, and of a module that, too.
    partitionkey: String,
    pub(super) data: Value,
}

const STARTED: &str = "sh.annex.flow.started.v1";
const ENDED: &str = "sh.annex.flow.ended.v1";
const ENABLED: &str = "sh.annex.module.enabled.v1";
const DISABLED: &str = "sh.annex.module.disabled.v1";

/// Of whom it is told.
#[derive(Clone, Debug)]
pub(super) struct Whose<'a> {
    pub(super) key: &'a ObjectKey,
    /// What the outside knows the tenant by.
    pub(super) tenant: String,
}

/// Everything that the status has since then, the oldest first.
pub(super) fn events(whose: &Whose<'_>, install: &Install, since: Timestamp) -> Vec<CloudEvent> {
    let Some(status) = &install.status else { return Vec::new() };
    let of = |flow: &str| status.flow.as_ref().filter(|own| own.id == flow);
    let mut events = Vec::new();
    let lately = |record: &&FlowRecord| record.finished_at.as_ref().is_some_and(|at| at.0 >= since);
    for record in status.history.iter().filter(lately).rev() {
        let data = json!({
            "flow": record.id, "action": record.action, "from": record.from, "to": record.to, "status": record.status,
            "startedAt": record.started_at, "finishedAt": record.finished_at,
            "reason": record.reason, "message": record.message,
        });
        events.push(event(
            whose,
            install,
            STARTED,
            &record.id,
            "started",
            &record.started_at.0,
            began(&data),
        ));
        if let Some(flow) = of(&record.id) {
            events.extend(modules(whose, install, flow));
        }
        if let Some(at) = &record.finished_at {
            events.push(event(whose, install, ENDED, &record.id, "ended", &at.0, data));
        }
    }
    if let Some(flow) = status.flow.as_ref().filter(|flow| flow.finished_at.is_none()) {
        let data = json!({
            "flow": flow.id, "action": flow.action, "from": flow.from, "to": flow.to, "startedAt": flow.started_at,
        });
        events.push(event(whose, install, STARTED, &flow.id, "started", &flow.started_at.0, data));
    }
    events
}

/// Of what ended, what was known when it began.
fn began(ended: &Value) -> Value {
    let known = |field: &str| ended.get(field).cloned().unwrap_or_default();
    json!({
        "flow": known("flow"), "action": known("action"), "from": known("from"), "to": known("to"),
        "startedAt": known("startedAt"),
    })
}

/// The modules that a flow which ended has called, and that are what it made of them.
fn modules(whose: &Whose<'_>, install: &Install, flow: &Flow) -> Vec<CloudEvent> {
    let type_ = match flow.action {
        FlowAction::Revoke => DISABLED,
        FlowAction::Install | FlowAction::Upgrade | FlowAction::Reprovision => ENABLED,
    };
    // Who could not go properly has gone all the same.
    let is_done = |stage: &FlowStage| {
        stage.status == StageStatus::Finished
            || flow.action == FlowAction::Revoke && stage.status == StageStatus::Failed
    };
    let called = |stage: &FlowStage| {
        let module = stage.name.strip_prefix("Lifecycle/").filter(|_| is_done(stage))?;
        let at = stage.finished_at.as_ref()?;
        let data = json!({ "flow": flow.id, "module": module, "extensionVersion": flow.to });
        let about = format!("module.{module}");
        let mut event = event(whose, install, type_, &flow.id, &about, &at.0, data);
        event.partitionkey = format!("{}/{module}", event.partitionkey);
        Some(event)
    };
    flow.stages.iter().filter_map(called).collect()
}

fn event(
    whose: &Whose<'_>,
    install: &Install,
    type_: &'static str,
    flow: &str,
    about: &str,
    time: &Timestamp,
    mut data: Value,
) -> CloudEvent {
    let ObjectKey { cluster, namespace, name } = whose.key;
    if let Value::Object(fields) = &mut data {
        fields.insert("tenant".to_owned(), json!(whose.tenant));
        fields.insert("workspace".to_owned(), json!(cluster.as_str()));
        fields.insert("extension".to_owned(), json!(install.spec.extension));
        fields.insert(
            "install".to_owned(),
            json!({ "namespace": namespace, "name": name, "uid": install.uid().unwrap_or_default() }),
        );
    }
    CloudEvent {
        specversion: "1.0",
        id: format!("{flow}.{about}"),
        source: format!("/workspaces/{cluster}/namespaces/{namespace}/installs/{name}"),
        type_,
        subject: install.spec.extension.clone(),
        time: time.to_string(),
        datacontenttype: "application/json",
        partitionkey: format!("{}/{}", whose.tenant, install.spec.extension),
        data,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: Value, since: i64) -> Vec<CloudEvent> {
        let install: Install = serde_json::from_value(json!({
            "apiVersion": "annex.sh/v1alpha1", "kind": "Install", "metadata": { "name": "notes", "namespace": "default", "uid": "u" },
            "spec": { "extension": "com.example.notes" }, "status": status,
        }))
        .unwrap();
        let key = ObjectKey {
            cluster: "c1".parse().unwrap(),
            namespace: "default".to_owned(),
            name: "notes".to_owned(),
        };
        let whose = Whose { key: &key, tenant: "acme".to_owned() };
        events(&whose, &install, Timestamp::from_second(since).unwrap())
    }

    fn record(id: &str, second: i64, status: &str) -> Value {
        json!({ "id": id, "action": "Upgrade", "status": status, "from": "1.0.0", "to": "1.1.0",
            "startedAt": Timestamp::from_second(second).unwrap().to_string(),
            "finishedAt": Timestamp::from_second(second + 5).unwrap().to_string() })
    }

    #[test]
    fn what_ended_is_told_from_the_oldest_with_the_same_ids_each_time() {
        let stage = |name: &str, status: &str| json!({ "name": name, "status": status, "finishedAt": "1970-01-01T00:00:20Z" });
        let mut flow = record("b", 20, "FINISHED");
        flow["stages"] = json!([
            stage("Lifecycle/search", "FINISHED"),
            stage("Lifecycle/old", "CANCELLED"),
            stage("Publish", "FINISHED")
        ]);
        let status =
            json!({ "flow": flow, "history": [record("b", 20, "FINISHED"), record("a", 10, "CANCELLED")] });
        let all = told(status.clone(), 0);
        let ids: Vec<&str> = all.iter().map(|event| event.id.as_str()).collect();
        assert_eq!(ids, ["a.started", "a.ended", "b.started", "b.module.search", "b.ended"]);
        assert_eq!(all, told(status.clone(), 0));
        assert_eq!(told(status, 20).len(), 3, "what ended before then is not told again");
        let ended = serde_json::to_value(&all[1]).unwrap();
        assert_eq!(ended["type"], "sh.annex.flow.ended.v1");
        assert_eq!(ended["source"], "/workspaces/c1/namespaces/default/installs/notes");
        assert_eq!(ended["partitionkey"], "acme/com.example.notes");
        assert_eq!(
            (&ended["data"]["status"], &ended["data"]["tenant"]),
            (&json!("CANCELLED"), &json!("acme"))
        );
        assert_eq!(serde_json::to_value(&all[3]).unwrap()["partitionkey"], "acme/com.example.notes/search");
    }

    #[test]
    fn what_is_under_way_is_told_when_it_began_and_begins_the_same_when_it_ended() {
        let mut flow = record("a", 10, "IN_PROGRESS");
        flow.as_object_mut().unwrap().remove("finishedAt");
        let under_way = told(json!({ "flow": flow }), 0);
        assert_eq!(under_way.len(), 1);
        let ended = told(json!({ "history": [record("a", 10, "FINISHED")] }), 0);
        assert_eq!(ended[0], under_way[0]);
        assert_eq!(told(json!({}), 0), []);
    }
}

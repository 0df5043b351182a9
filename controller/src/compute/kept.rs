//! What is kept in memory of an object of a tenant's own cluster, and how much that is. Pure. Such a cluster may answer with any number of
//! objects of any size, all of them with Annex's label.

use std::mem::{size_of, take};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DynamicObject;
use serde_json::{Map, Value, json};

use super::observed::{CAUSE_OF_A_SERVICE, READ_CONDITIONS, short};

/// What a field of an object takes besides its key and value.
const FIELD: usize = 64;

/// Leaves of an object what anything here reads of it.
pub(super) fn prune(object: &mut DynamicObject) {
    let metadata = take(&mut object.metadata);
    object.metadata = ObjectMeta {
        name: metadata.name,
        namespace: metadata.namespace,
        uid: metadata.uid,
        resource_version: metadata.resource_version,
        generation: metadata.generation,
        deletion_timestamp: metadata.deletion_timestamp,
        labels: metadata.labels,
        annotations: metadata.annotations,
        ..ObjectMeta::default()
    };
    let mut data = take(&mut object.data);
    let mut kept = Map::new();
    if let Some(spec) = data.get_mut("spec") {
        kept.insert("spec".to_owned(), spec.take());
    }
    if let Some(status) = data.get("status") {
        kept.insert("status".to_owned(), pruned_status(status));
    }
    object.data = Value::Object(kept);
}

fn pruned_status(status: &Value) -> Value {
    let conditions = status.get("conditions").and_then(Value::as_array);
    let text = |condition: &Value, key: &str| condition.get(key).and_then(Value::as_str).map(short);
    let read = conditions.into_iter().flatten().filter_map(|condition| {
        let type_ =
            READ_CONDITIONS.into_iter().find(|type_| condition.get("type").is_some_and(|is| is == *type_))?;
        let mut kept = json!({
            "type": type_,
            "status": text(condition, "status").unwrap_or_default(),
            "reason": text(condition, "reason").unwrap_or_default(),
            "message": text(condition, "message").unwrap_or_default(),
        });
        // Since when nothing starts is asked of that one alone.
        if let Some(kept) = kept.as_object_mut().filter(|_| type_ == CAUSE_OF_A_SERVICE) {
            let since = text(condition, "lastTransitionTime").unwrap_or_default();
            kept.insert("lastTransitionTime".to_owned(), json!(since));
        }
        Some(kept)
    });
    // The first of a type counts; a list of ten thousand of them does not.
    let conditions: Vec<Value> = read.take(READ_CONDITIONS.len()).collect();
    let generation = status.get("observedGeneration").and_then(Value::as_i64);
    json!({ "observedGeneration": generation, "conditions": conditions })
}

/// About how many bytes of memory an object takes.
pub(super) fn weight(object: &DynamicObject) -> usize {
    let metadata = &object.metadata;
    let texts = [&metadata.name, &metadata.namespace, &metadata.uid, &metadata.resource_version];
    let texts: usize = texts.into_iter().flatten().map(String::len).sum();
    let maps = [&metadata.labels, &metadata.annotations];
    let maps: usize =
        maps.into_iter().flatten().flatten().map(|(key, value)| FIELD + key.len() + value.len()).sum();
    size_of::<DynamicObject>() + texts + maps + weight_of(&object.data)
}

fn weight_of(value: &Value) -> usize {
    let more = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(weight_of).sum(),
        Value::Object(fields) => fields.iter().map(|(key, value)| FIELD + key.len() + weight_of(value)).sum(),
    };
    size_of::<Value>() + more
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::observed::{Condition, condition, failed, is_false};

    fn pruned(object: Value) -> DynamicObject {
        let mut object: DynamicObject = serde_json::from_value(object).unwrap();
        prune(&mut object);
        object
    }

    fn mapping() -> Value {
        let condition = |type_: &str, status: &str| {
            json!({ "type": type_, "status": status, "reason": "Why", "message": "because of that", "severity": "Info",
                "lastTransitionTime": "2026-01-01T00:00:00Z" })
        };
        let conditions = [
            condition("CertificateProvisioned", "True"),
            condition("DomainClaimed", "False"),
            condition("IngressReady", "True"),
            condition("ReferenceResolved", "True"),
            condition("Ready", "False"),
        ];
        json!({
            "metadata": { "name": "acme--hello.apps.example.com", "namespace": "annex-1lujvqk8pdv428cg", "generation": 2,
                "uid": "0f5a2b31-7ab6-4a56-a0b2-3f5f9c1b3a11", "resourceVersion": "123456", "finalizers": ["a", "b"],
                "labels": { "annex.sh/managed": "true", "annex.sh/cluster": "1lujvqk8pdv428cg", "annex.sh/place": "platform",
                    "annex.sh/install": "0f5a2b31-7ab6-4a56-a0b2-3f5f9c1b3a11" },
                "annotations": { "annex.sh/desired": "0123456789abcdef", "networking.knative.dev/http-protocol": "redirected" } },
            "spec": { "ref": { "kind": "Service", "name": "runner", "namespace": "annex-1lujvqk8pdv428cg", "apiVersion": "serving.knative.dev/v1" } },
            "status": { "observedGeneration": 2, "conditions": conditions, "url": "https://acme--hello.apps.example.com" },
        })
    }

    #[test]
    fn what_is_kept_says_the_same_as_what_came() {
        let object = pruned(mapping());
        assert_eq!(object.data["spec"], mapping()["spec"]);
        let Condition::Not { reason, message } = condition(&object, "Ready") else { panic!() };
        assert_eq!((&*reason, message.as_str()), ("Why", "because of that"));
        assert!(is_false(&object, "DomainClaimed"));
        assert_eq!(object.metadata.annotations.unwrap().len(), 2);
    }

    #[test]
    fn since_when_a_runner_does_not_start_is_kept() {
        let mut service = mapping();
        service["status"]["conditions"] = json!([{ "type": "ConfigurationsReady", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z" }]);
        let at = |service: Value| {
            failed(&pruned(service), jiff::Timestamp::now()).map(|failed| failed.at.to_string())
        };
        assert_eq!(at(service).as_deref(), Some("2026-01-01T00:00:00Z"));
    }

    #[test]
    fn what_nobody_reads_is_not_kept() {
        let mut large = mapping();
        let heap = "x".repeat(100_000);
        large["metadata"]["ownerReferences"] =
            json!([{ "apiVersion": heap, "kind": heap, "name": heap, "uid": heap }]);
        large["status"]["conditions"][4]["message"] = json!(heap);
        large["status"]["conditions"][0]["message"] = json!(heap);
        large["status"]["heap"] = json!(heap);
        large["heap"] = json!(heap);
        for _ in 0..1000 {
            large["status"]["conditions"].as_array_mut().unwrap().push(json!({ "type": "Ready" }));
        }
        let (large, usual) = (weight(&pruned(large)), weight(&pruned(mapping())));
        assert!(large < usual + 1000, "{large} and {usual}");
    }

    /// As many as are followed of a kind have to fit, if they are what Annex makes.
    #[test]
    fn what_annex_makes_is_light_and_what_is_heavy_weighs_as_much() {
        let usual = weight(&pruned(mapping()));
        assert!(
            usual * crate::compute::follow::MOST_ELSEWHERE < crate::compute::follow::MOST_BYTES_ELSEWHERE,
            "{usual}"
        );
        let mut large = mapping();
        large["spec"]["heap"] = json!(vec![json!({}); 10_000]);
        assert!(weight(&pruned(large)) > 300_000);
    }
}

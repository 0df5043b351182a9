use std::collections::{BTreeMap, BTreeSet};

use kube::core::DynamicObject;
use serde_json::Value;

/// Everything on a cluster at one moment.
#[derive(Clone)]
pub struct Everything(BTreeMap<String, Value>);

impl Everything {
    pub(crate) fn of(objects: BTreeMap<String, Value>) -> Self {
        Self(objects)
    }

    /// What has been made, removed or changed since `before`, one line each. No line shows a value: some are Secrets'.
    #[must_use]
    pub fn since(&self, before: &Self) -> Vec<String> {
        let gone = before.0.keys().filter(|name| !self.0.contains_key(*name));
        let there = self.0.iter().filter_map(|(name, now)| match before.0.get(name) {
            None => Some(format!("made: {name}")),
            Some(was) if was == now => None,
            Some(was) => Some(format!("changed: {name}, in {}", changed(was, now).join(", "))),
        });
        gone.map(|name| format!("removed: {name}")).chain(there).collect()
    }
}

/// An object without what the cluster itself goes on writing.
pub(crate) fn lasting(object: DynamicObject) -> anyhow::Result<Value> {
    let mut value = serde_json::to_value(object)?;
    if let Some(object) = value.as_object_mut() {
        object.remove("status");
        // Of Endpoints: which pods answer just now. It changes as Knative puts an idle revision to sleep.
        object.remove("subsets");
    }
    if let Some(metadata) = value.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        // The generation counts what else is compared, and what is changed and changed back is as it was.
        for written in ["resourceVersion", "managedFields", "generation"] {
            metadata.remove(written);
        }
    }
    if let Some(labels) = value.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        // The day on which a token was last used.
        labels.remove("kubernetes.io/legacy-token-last-used");
    }
    if let Some(annotations) = value.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove("endpoints.kubernetes.io/last-change-trigger-time");
    }
    // Without any is as with none.
    if let Some(metadata) = value.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.retain(|_, part| part.as_object().is_none_or(|part| !part.is_empty()));
    }
    Ok(value)
}

/// The fields that differ, two levels deep.
fn changed(was: &Value, now: &Value) -> Vec<String> {
    let (Some(before), Some(after)) = (was.as_object(), now.as_object()) else { return Vec::new() };
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differing = keys.into_iter().filter(|key| before.get(*key) != after.get(*key));
    let named = differing.map(|key| {
        let inner = match (before.get(key), after.get(key)) {
            (Some(Value::Object(was)), Some(Value::Object(now))) => {
                was.keys().chain(now.keys()).find(|inner| was.get(*inner) != now.get(*inner))
            }
            _ => None,
        };
        inner.map_or_else(|| key.clone(), |inner| format!("{key}.{inner}"))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(object: Value) -> Everything {
        let object = serde_json::from_value(object).expect("an object");
        Everything([("ConfigMap default/a".to_owned(), lasting(object).expect("JSON"))].into())
    }

    #[test]
    fn a_service_whose_pods_sleep_or_wake_is_as_it_was() {
        let awake = one(json!({
            "metadata": { "name": "a", "annotations": { "endpoints.kubernetes.io/last-change-trigger-time": "t" } },
            "subsets": [{ "addresses": [{ "ip": "10.0.0.1" }] }],
        }));
        let asleep = one(json!({ "metadata": { "name": "a" } }));
        assert_eq!(asleep.since(&awake), Vec::<String>::new());
        let noted = one(json!({ "metadata": { "name": "a", "annotations": { "example.com/note": "b" } } }));
        assert_eq!(noted.since(&awake), ["changed: ConfigMap default/a, in metadata.annotations"]);
    }

    #[test]
    fn what_is_made_removed_or_changed_is_told_and_what_the_cluster_writes_is_not() {
        let object = |version: &str, data: &str| {
            one(json!({
                "metadata": { "name": "a", "resourceVersion": version, "managedFields": [{ "manager": version }] },
                "data": { "key": data },
                "status": { "at": version },
            }))
        };
        let (before, none) = (object("1", "one"), Everything(BTreeMap::new()));
        assert_eq!(object("2", "one").since(&before), Vec::<String>::new());
        assert_eq!(object("2", "secret").since(&before), ["changed: ConfigMap default/a, in data.key"]);
        assert_eq!(none.since(&before), ["removed: ConfigMap default/a"]);
        assert_eq!(before.since(&none), ["made: ConfigMap default/a"]);
    }
}

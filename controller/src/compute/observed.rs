//! What is on a cluster, and what that means. Pure. A tenant's own cluster may answer anything here.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};
use kube::{ResourceExt as _, core::DynamicObject};
use kube_kcp::ClusterName;
use serde::Deserialize;
use serde_json::Value;

use super::{
    desired::{
        ATTEMPTED_AT_ANNOTATION, ATTEMPTS_ANNOTATION, CLUSTER_LABEL, DESIRED_ANNOTATION, Desired,
        INSTALL_LABEL,
    },
    kind::Kind,
};

/// Longest message of Knative's that is passed on. It may hold the whole output of a container that fails to start.
const LONGEST_MESSAGE: usize = 512;

/// The conditions that anything is decided by, or told from.
pub(super) const READ_CONDITIONS: [&str; 3] = ["Ready", "DomainClaimed", CAUSE_OF_A_SERVICE];

/// Holds the revision's own words. Knative takes `Ready` from whichever of a Service's conditions became false last, and when that is
/// the route, all it says is that a revision failed.
pub(super) const CAUSE_OF_A_SERVICE: &str = "ConfigurationsReady";

/// Whether an object of Knative's does what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    True,
    /// In Knative's own words.
    Not {
        reason: Cow<'static, str>,
        message: String,
    },
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    observed_generation: Option<i64>,
    conditions: Vec<StatusCondition>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct StatusCondition {
    #[serde(rename = "type")]
    type_: String,
    status: String,
    reason: String,
    message: String,
    last_transition_time: String,
}

impl Status {
    /// One that cannot be read says nothing, like one that is not there.
    fn of(object: &DynamicObject) -> Self {
        object.data.get("status").and_then(|status| Self::deserialize(status).ok()).unwrap_or_default()
    }

    /// What it says of the generation that the object has now.
    fn current<'a>(&'a self, object: &DynamicObject, type_: &str) -> Option<&'a StatusCondition> {
        let current =
            self.observed_generation.is_some() && self.observed_generation == object.metadata.generation;
        self.conditions.iter().find(|condition| current && condition.type_ == type_)
    }
}

/// What `object` says of its condition `type_`. What it said of another generation than the one that it has now does not count.
///
/// What is merely on its way is always told in the same words: Knative changes its own several times a second meanwhile, and each
/// change would be a write to the tenant's workspace.
pub(super) fn condition(object: &DynamicObject, type_: &str) -> Condition {
    let status = Status::of(object);
    let of = |type_: &str| status.current(object, type_);
    match of(type_) {
        Some(found) if found.status == "True" => Condition::True,
        Some(found) if found.status == "False" => {
            let cause = of(CAUSE_OF_A_SERVICE).filter(|cause| type_ == "Ready" && cause.status == "False");
            let told = cause.unwrap_or(found);
            Condition::Not { reason: reason(told.reason.clone()), message: short(&told.message) }
        }
        _ => Condition::Not { reason: "Provisioning".into(), message: "Knative is at work on it".to_owned() },
    }
}

/// Who has not failed so long after another try has started: longer than any deadline may be.
const STARTED_AFTER: SignedDuration = SignedDuration::from_hours(2);

/// What a Knative Service is to be now has failed to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failed {
    /// When, or when Annex has had it tried once more since.
    pub(super) at: Timestamp,
    /// How often Annex has.
    pub(super) attempts: u32,
}

/// None: it has not failed, or does not say when.
pub(super) fn failed(service: &DynamicObject, now: Timestamp) -> Option<Failed> {
    let status = Status::of(service);
    let cause = status.current(service, CAUSE_OF_A_SERVICE).filter(|cause| cause.status == "False")?;
    let failed: Timestamp = cause.last_transition_time.parse().ok()?;
    let annotation = |name: &str| {
        let annotations = service.data.pointer("/spec/template/metadata/annotations")?;
        annotations.get(name)?.as_str()
    };
    let tried: Option<Timestamp> = annotation(ATTEMPTED_AT_ANNOTATION).and_then(|at| at.parse().ok());
    // A clock that was ahead has left times that are still to come, and they say nothing.
    let at = [Some(failed), tried].into_iter().flatten().filter(|at| *at <= now).max();
    // What failed long after the last try had started in between.
    let is_over = tried.is_some_and(|tried| failed.duration_since(tried) > STARTED_AFTER);
    let attempts =
        annotation(ATTEMPTS_ANNOTATION).filter(|_| !is_over).and_then(|attempts| attempts.parse().ok());
    Some(Failed { at: at.unwrap_or(Timestamp::MIN), attempts: attempts.unwrap_or_default() })
}

/// Whether the condition is there and false, and not just unknown yet.
pub(super) fn is_false(object: &DynamicObject, type_: &str) -> bool {
    let conditions = object.data.pointer("/status/conditions").and_then(Value::as_array);
    let says = |condition: &Value, key: &str, word: &str| condition.get(key).is_some_and(|is| is == word);
    conditions
        .into_iter()
        .flatten()
        .any(|condition| says(condition, "type", type_) && says(condition, "status", "False"))
}

/// The API conventions' form of a reason, whatever the cluster answered.
fn reason(text: String) -> Cow<'static, str> {
    let fits = text.len() <= 128
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    if fits { text.into() } else { "NotReady".into() }
}

/// The beginning of a message, on one line.
pub(super) fn short(message: &str) -> String {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST_MESSAGE) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

/// Whether everything that `desired` sets is so in `object`. What the API server or Knative filled in besides does not count,
/// except in lists: one entry too many of a list is a difference.
pub(super) fn holds(object: &DynamicObject, desired: &Desired) -> bool {
    let metadata = desired.body.get("metadata").and_then(Value::as_object);
    let same = |key: &str, observed: Option<&std::collections::BTreeMap<String, String>>| {
        let wanted = metadata.and_then(|metadata| metadata.get(key)).and_then(Value::as_object);
        wanted
            .into_iter()
            .flatten()
            .all(|(key, value)| observed.and_then(|map| map.get(key)).map(String::as_str) == value.as_str())
    };
    let body = desired.body.as_object().into_iter().flatten();
    // Nothing is filled in there, and what somebody adds can switch all of it off.
    let exact = matches!(desired.kind, Kind::NetworkPolicy | Kind::ResourceQuota);
    same("labels", object.metadata.labels.as_ref())
        && same("annotations", object.metadata.annotations.as_ref())
        && body.filter(|(key, _)| !matches!(key.as_str(), "apiVersion" | "kind" | "metadata")).all(
            |(key, value)| {
                object.data.get(key).is_some_and(|observed| match (exact, value, observed) {
                    (true, Value::Object(wanted), Value::Object(fields)) => {
                        fields.keys().all(|field| wanted.contains_key(field)) && within(value, observed)
                    }
                    _ => within(value, observed),
                })
            },
        )
}

fn within(wanted: &Value, observed: &Value) -> bool {
    match (wanted, observed) {
        // An empty selector selects everything; one that is not empty any more selects less.
        (Value::Object(wanted), Value::Object(observed)) if wanted.is_empty() => observed.is_empty(),
        (Value::Object(wanted), Value::Object(observed)) => wanted
            .iter()
            .all(|(key, value)| observed.get(key).is_some_and(|observed| within(value, observed))),
        (Value::Array(wanted), Value::Array(observed)) => {
            wanted.len() == observed.len()
                && wanted.iter().zip(observed).all(|(wanted, observed)| within(wanted, observed))
        }
        _ => wanted == observed,
    }
}

/// The workspace that an object was made for, if Annex made it.
pub(super) fn made_for(object: &DynamicObject) -> Option<ClusterName> {
    object.labels().get(CLUSTER_LABEL)?.parse().ok()
}

/// The uid of the Install that an object was made for.
pub(super) fn install_of(object: &DynamicObject) -> Option<&str> {
    object.labels().get(INSTALL_LABEL).map(String::as_str)
}

/// Whether Annex made it, even if somebody took its labels away.
pub(super) fn is_ours(object: &DynamicObject) -> bool {
    object.annotations().contains_key(DESIRED_ANNOTATION)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    fn mapping(generation: i64, conditions: Value) -> DynamicObject {
        object(json!({
            "metadata": { "name": "h", "generation": 2 },
            "status": { "observedGeneration": generation, "conditions": conditions },
        }))
    }

    #[test]
    fn ready_counts_for_the_generation_that_it_is_of() {
        let ready = json!([{ "type": "Ready", "status": "True" }]);
        assert_eq!(condition(&mapping(2, ready.clone()), "Ready"), Condition::True);
        let Condition::Not { reason, .. } = condition(&mapping(1, ready), "Ready") else { panic!() };
        assert_eq!(reason, "Provisioning");
        assert_ne!(condition(&object(json!({ "metadata": { "generation": 1 } })), "Ready"), Condition::True);
        assert_ne!(condition(&object(json!({ "metadata": {}, "status": {} })), "Ready"), Condition::True);
    }

    #[test]
    fn knatives_own_reason_is_passed_on_and_a_hostile_one_is_not() {
        let said = |reason: &str, message: &str| {
            let conditions =
                json!([{ "type": "Ready", "status": "False", "reason": reason, "message": message }]);
            match condition(&mapping(2, conditions), "Ready") {
                Condition::Not { reason, message } => (reason.into_owned(), message),
                Condition::True => panic!(),
            }
        };
        assert_eq!(said("RevisionFailed", "no\n  image"), ("RevisionFailed".into(), "no image".into()));
        let (reason, message) = said("<script>", &"ä".repeat(5000));
        assert_eq!(reason, "NotReady");
        assert_eq!(message.chars().count(), LONGEST_MESSAGE + 1);
    }

    #[test]
    fn why_a_revision_failed_is_told_though_the_route_said_last_that_one_did() {
        let of = |configurations: &str| {
            json!([
                { "type": "ConfigurationsReady", "status": configurations, "reason": "RevisionFailed", "message": "exceeded quota" },
                { "type": "Ready", "status": "False", "reason": "RevisionMissing", "message": "failed to become ready." },
                { "type": "RoutesReady", "status": "False", "reason": "RevisionMissing", "message": "failed to become ready." },
            ])
        };
        let said = |configurations| match condition(&mapping(2, of(configurations)), "Ready") {
            Condition::Not { reason, .. } => reason,
            Condition::True => panic!(),
        };
        assert_eq!(said("False"), "RevisionFailed");
        assert_eq!(said("True"), "RevisionMissing");
    }

    #[test]
    fn when_a_runner_failed_is_told_by_knative_and_by_who_tried_it_again() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let failed_at = |generation: i64, status: &str, failed: &str, tried: &str| {
            let annotations = json!({ ATTEMPTED_AT_ANNOTATION: tried, ATTEMPTS_ANNOTATION: "3" });
            let service = object(json!({
                "metadata": { "name": "runner", "generation": 2 },
                "spec": { "template": { "metadata": { "annotations": annotations } } },
                "status": { "observedGeneration": generation, "conditions": [
                    { "type": "ConfigurationsReady", "status": status, "lastTransitionTime": failed }] },
            }));
            super::failed(&service, now)
                .inspect(|failed| assert_eq!(failed.attempts, 3))
                .map(|failed| failed.at)
        };
        let [first, then, to_come] = ["2026-01-01T11:00:00Z", "2026-01-01T11:30:00Z", "2026-01-01T13:00:00Z"];
        let at = |time: &str| Some(time.parse().unwrap());
        assert_eq!(failed_at(2, "False", first, ""), at(first));
        assert_eq!(failed_at(2, "False", first, then), at(then));
        assert_eq!(failed_at(2, "False", then, first), at(then));
        assert_eq!(failed_at(2, "False", first, to_come), at(first));
        assert_eq!(failed_at(2, "False", to_come, to_come), Some(Timestamp::MIN));
        let others = [(1, "False", first), (2, "Unknown", first), (2, "True", first), (2, "False", "")];
        for (generation, status, failed) in others {
            assert_eq!(failed_at(generation, status, failed, then), None, "{generation} {status} {failed}");
        }
    }

    #[test]
    fn a_runner_that_has_run_for_hours_is_tried_again_as_soon_as_at_first() {
        let attempts = |tried: &str| {
            let annotations = json!({ ATTEMPTED_AT_ANNOTATION: tried, ATTEMPTS_ANNOTATION: "4" });
            let service = object(json!({
                "metadata": { "name": "runner", "generation": 2 },
                "spec": { "template": { "metadata": { "annotations": annotations } } },
                "status": { "observedGeneration": 2, "conditions": [
                    { "type": "ConfigurationsReady", "status": "False", "lastTransitionTime": "2026-01-01T12:00:00Z" }] },
            }));
            failed(&service, "2026-01-01T13:00:00Z".parse().unwrap()).unwrap().attempts
        };
        assert_eq!((attempts("2026-01-01T11:00:00Z"), attempts("2026-01-01T09:00:00Z")), (4, 0));
    }

    #[test]
    fn what_the_server_filled_in_is_no_drift_and_what_was_changed_is() {
        let desired = Desired {
            kind: crate::compute::kind::Kind::Service,
            name: crate::store::Name::within("n", "runner"),
            body: json!({ "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [{ "image": "i" }] } }),
        };
        let observed = |labels: Value, containers: Value| {
            object(json!({ "metadata": { "name": "runner", "labels": labels },
                "spec": { "containers": containers, "timeout": 300 } }))
        };
        let labels = json!({ "a": "b", "theirs": "c" });
        assert!(holds(&observed(labels.clone(), json!([{ "image": "i", "name": "filled-in" }])), &desired));
        assert!(!holds(&observed(labels.clone(), json!([{ "image": "other" }])), &desired));
        assert!(!holds(&observed(labels, json!([{ "image": "i" }, { "image": "more" }])), &desired));
        assert!(!holds(&observed(json!({}), json!([{ "image": "i" }])), &desired));
    }
}

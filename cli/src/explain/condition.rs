//! Conditions as the API has them, in the order in which they become true.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::printable::one_line;

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Condition {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) status: ConditionStatus,
    pub(crate) reason: String,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum ConditionStatus {
    True,
    False,
    Unknown,
}

/// The condition that sums up the others.
pub(crate) const READY: &str = "Ready";

/// Says that a failed flow was undone; there is nothing to mend in it.
const REMEDIATED: &str = "Remediated";

/// Says what an environment offers; it need not.
const KNATIVE_AVAILABLE: &str = "KnativeAvailable";

/// What comes earlier is what the later ones wait for.
const ORDER: [&str; 9] = [
    "Resolved",
    "Verified",
    "EnvironmentReady",
    "DomainReady",
    "RunnerReady",
    "Installed",
    REMEDIATED,
    KNATIVE_AVAILABLE,
    READY,
];

impl Condition {
    /// The conditions in an object's `status.conditions`, in order. Ones that this version does not know come before
    /// Ready. An entry that is no condition is left out.
    pub(crate) fn all_of(status: Option<&Value>) -> Vec<Self> {
        let entries = status.and_then(|status| status.get("conditions")).and_then(Value::as_array);
        let mut conditions: Vec<Self> = entries.into_iter().flatten().filter_map(Self::of).collect();
        // A stable sort, so that unknown ones keep their order.
        conditions.sort_by_key(|condition| position(&condition.kind));
        conditions
    }

    fn of(entry: &Value) -> Option<Self> {
        let text = |name: &str| one_line(entry.get(name).and_then(Value::as_str).unwrap_or_default());
        let kind = text("type");
        if kind.is_empty() {
            return None;
        }
        let status = match text("status").as_str() {
            "True" => ConditionStatus::True,
            "False" => ConditionStatus::False,
            _ => ConditionStatus::Unknown,
        };
        let since = text("lastTransitionTime").parse().ok();
        Some(Self { kind, status, reason: text("reason"), message: text("message"), since })
    }

    pub(crate) fn is_true(&self) -> bool {
        self.status == ConditionStatus::True
    }
}

fn position(kind: &str) -> usize {
    let known = ORDER.iter().position(|known| *known == kind);
    // Two for each, so that unknown ones fit in before the last.
    known.map_or(ORDER.len() * 2 - 3, |index| index * 2)
}

/// The condition to mend first: the first that is not true, Ready only if all others are. None while Ready is true, whatever
/// else is not: the operator may have waived it, as with an unsigned version.
pub(crate) fn first_failing(conditions: &[Condition]) -> Option<&Condition> {
    if conditions.iter().any(|condition| condition.kind == READY && condition.is_true()) {
        return None;
    }
    let can_be_mended =
        |condition: &&Condition| ![REMEDIATED, KNATIVE_AVAILABLE].contains(&condition.kind.as_str());
    conditions.iter().filter(can_be_mended).find(|condition| !condition.is_true())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kinds(status: &Value) -> Vec<String> {
        Condition::all_of(Some(status)).into_iter().map(|condition| condition.kind).collect()
    }

    #[test]
    fn in_the_order_in_which_they_become_true() {
        let status = json!({"conditions": [
            {"type": "Ready", "status": "False"},
            {"type": "New", "status": "True"},
            {"type": "RunnerReady", "status": "True"},
            {"type": "Remediated", "status": "True"},
            {"type": "DomainReady", "status": "True"},
            {"type": "Resolved", "status": "True"},
        ]});
        assert_eq!(kinds(&status), ["Resolved", "DomainReady", "RunnerReady", "Remediated", "New", "Ready"]);
    }

    #[test]
    fn what_is_no_condition_is_left_out() {
        assert_eq!(kinds(&json!({"conditions": [1, {}, {"type": ""}, {"type": "Ready"}]})), ["Ready"]);
        assert_eq!(kinds(&json!({"conditions": "none"})), Vec::<String>::new());
        assert_eq!(Condition::all_of(None), []);
    }

    #[test]
    fn a_missing_status_is_unknown_and_a_bad_time_none() {
        let status = json!({"conditions": [{"type": "Ready", "lastTransitionTime": "yesterday"}]});
        let [ready] = Condition::all_of(Some(&status)).try_into().unwrap();
        assert_eq!((ready.status, ready.since), (ConditionStatus::Unknown, None));
    }

    #[test]
    fn remediated_is_never_the_one_to_mend() {
        let status = json!({"conditions": [
            {"type": "Resolved", "status": "True"},
            {"type": "Remediated", "status": "False"},
            {"type": "Ready", "status": "Unknown"},
        ]});
        assert_eq!(first_failing(&Condition::all_of(Some(&status))).unwrap().kind, "Ready");
    }
}

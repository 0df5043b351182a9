//! What is to be said about an object.

use jiff::Timestamp;
use kube::ResourceExt;
use kube::core::DynamicObject;
use serde::Serialize;
use serde_json::Value;

use super::condition::{Condition, READY};
use super::kubectl::Kubectl;
use super::next::{Next, Situation, next};
use super::target::Kind;
use crate::printable::one_line;

/// All that is said about an object; printed as JSON, its field names are an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// `install` or `managedenvironment`.
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// True only if the condition Ready is true for the object as it is now and it is not being deleted.
    pub(crate) ready: bool,
    /// The reason of the condition Ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) extension: Option<String>,
    /// The version that is installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    /// The version requirement in the spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) requested_version: Option<String>,
    /// Where the extension opens, or the environment's API server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deleting_since: Option<Timestamp>,
    /// What one must know to read the conditions right.
    pub(crate) notes: Vec<String>,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) next: Next,
}

impl Report {
    /// What is to be said about `object`, which is a `kind`. Commands in it reach the cluster by `kubectl`.
    pub(crate) fn of(object: &DynamicObject, kind: Kind, kubectl: &Kubectl) -> Self {
        let status = object.data.get("status");
        let conditions = Condition::all_of(status);
        let ready = conditions.iter().find(|condition| condition.kind == READY);
        let unseen = is_unseen(object);
        let deleting = object.metadata.deletion_timestamp.as_ref().map(|time| time.0);
        let name = one_line(&object.name_any());
        let namespace = one_line(&object.namespace().unwrap_or_default());
        let url = text_at(&object.data, &["status", "url"]);
        let next = next(
            &Situation {
                kind,
                namespace: &namespace,
                name: &name,
                spec: object.data.get("spec"),
                url: url.as_deref(),
                conditions: &conditions,
                unseen,
                deleting: deleting.is_some(),
            },
            kubectl,
        );
        Self {
            kind: kind.singular(),
            ready: ready.is_some_and(Condition::is_true) && !unseen && deleting.is_none(),
            reason: ready.map(|ready| ready.reason.clone()).filter(|reason| !reason.is_empty()),
            extension: text_at(&object.data, &["spec", "extension"]),
            version: text_at(&object.data, &["status", "installedVersion"]),
            requested_version: text_at(&object.data, &["spec", "version"]),
            url: url.or_else(|| text_at(&object.data, &["spec", "apiURL"])),
            deleting_since: deleting,
            notes: notes(kind, object, &conditions, unseen),
            conditions,
            next,
            name,
            namespace,
        }
    }
}

/// Whether the controller has yet to look at the last change. Where it never says what it looked at, the conditions
/// are taken as they are.
fn is_unseen(object: &DynamicObject) -> bool {
    let observed = object.data.pointer("/status/observedGeneration").and_then(Value::as_i64);
    observed.zip(object.metadata.generation).is_some_and(|(observed, generation)| observed < generation)
}

fn notes(kind: Kind, object: &DynamicObject, conditions: &[Condition], unseen: bool) -> Vec<String> {
    let mut notes = Vec::new();
    if object.metadata.deletion_timestamp.is_some() {
        let finalizers = one_line(&object.finalizers().join(", "));
        notes.push(format!("it is being deleted, held by the finalizers: {finalizers}"));
    }
    if conditions.is_empty() {
        notes.push(match kind {
            Kind::Install => "no controller has looked at it: is the API bound?".to_owned(),
            Kind::ManagedEnvironment => {
                "this release of Annex does not check environments: whether its kubeconfig works is not known"
                    .to_owned()
            }
        });
    }
    if unseen {
        notes.push("the controller has not seen the last change yet".to_owned());
    }
    notes
}

/// The text at this path, if there is one and it is not blank.
fn text_at(data: &Value, path: &[&str]) -> Option<String> {
    let value = path.iter().try_fold(data, |value, field| value.get(field))?;
    Some(one_line(value.as_str()?)).filter(|text| !text.is_empty())
}

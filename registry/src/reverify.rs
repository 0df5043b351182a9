//! Whether what is published is still verified: condition Verified of each ExtensionVersion.
//!
//! One registry writes it, the one that leads. It judges what is new, and everything again when trust, denylist or its own keys change.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use annex_answering::questions::answer;
use annex_apis::{ExtensionVersion, ExtensionVersionStatus};
use annex_bundle::{Loadable, Refusal as BundleRefusal, check_loadable};
use annex_core::ContentHash;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::{
    app::App,
    store::{StoreError, Stored},
};

/// The condition's type.
pub(crate) const VERIFIED: &str = "Verified";

/// Everything is judged again after this though nothing was reported: a file of the store may have been damaged.
const AGAIN: Duration = Duration::from_secs(600);
/// What could not be judged or written is tried again after this.
const RETRY: Duration = Duration::from_secs(5);
/// What the store did not have, or had damaged, is looked for again after this: another registry may have been given it since, and does not
/// tell.
const LOOKED_FOR_AGAIN: Duration = Duration::from_secs(30);

/// What a version is found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Verdict {
    status: &'static str,
    reason: &'static str,
    message: String,
}

impl Verdict {
    fn refused(reason: &'static str, message: impl Into<String>) -> Self {
        Self { status: "False", reason, message: message.into() }
    }
}

/// What the store has of a version's content.
enum Found {
    Nothing,
    Damaged(&'static str),
    Stored(Box<(Stored, Result<Loadable, BundleRefusal>)>),
}

/// What is to be said of a version. Pure. None: nothing, as nobody has ever verified it.
fn verdict(version: &ExtensionVersion, found: Found) -> Option<Verdict> {
    let spec = &version.spec;
    match found {
        Found::Stored(stored) => Some(match *stored {
            (stored, Ok(loadable)) => match differs(version, &stored, &loadable) {
                None => Verdict {
                    status: "True",
                    reason: "Verified",
                    message: format!("{} signed it, by {}", spec.publisher, loadable.signed.signer.key),
                },
                Some(what) => Verdict::refused(
                    "CatalogMismatch",
                    format!("the catalog's {what} is not the one that was signed"),
                ),
            },
            (_, Err(refusal)) => Verdict::refused(refusal.code(), refusal.to_string()),
        }),
        Found::Damaged(what) => {
            Verdict::refused("BundleDamaged", format!("in the content store, {what}")).into()
        }
        Found::Nothing if spec.signature.is_some() || spec.archive.is_some() => {
            Some(Verdict::refused("BundleMissing", "the content store does not have it"))
        }
        // An operator has applied it by hand. Whoever has written that it is verified was not the registry.
        Found::Nothing => {
            condition(version).is_some_and(|verified| verified.status == "True").then(|| Verdict {
                status: "Unknown",
                reason: "Unsigned",
                message: "it was not published through the registry, and nobody has verified it".to_owned(),
            })
        }
    }
}

/// What the catalog says otherwise than what was signed: whoever may write the catalog cannot make a signature speak for something else.
fn differs(version: &ExtensionVersion, stored: &Stored, loadable: &Loadable) -> Option<&'static str> {
    let (spec, statement) = (&version.spec, &loadable.signed.statement);
    let mut capabilities = spec.capabilities.clone();
    capabilities.sort();
    let signed: Vec<String> = statement.capabilities.iter().map(ToString::to_string).collect();
    let archive =
        spec.archive.as_ref().is_none_or(|archive| archive.digest == statement.archive.digest.to_string());
    [
        ("content hash", spec.content_hash == statement.content_hash.to_string()),
        ("archive", archive && stored.marker.archive == statement.archive.digest),
        ("extension", spec.extension == statement.name.as_str()),
        ("version", spec.version == statement.version.to_string()),
        ("publisher", spec.publisher == statement.publisher.as_str()),
        ("list of capabilities", capabilities == signed),
    ]
    .into_iter()
    .find_map(|(what, same)| (!same).then_some(what))
}

fn condition(version: &ExtensionVersion) -> Option<&Condition> {
    let conditions = &version.status.as_ref()?.conditions;
    conditions.iter().find(|condition| condition.type_ == VERIFIED)
}

/// The status that says this. None: it does already.
fn status(version: &ExtensionVersion, verdict: &Verdict, now: Timestamp) -> Option<ExtensionVersionStatus> {
    let was = condition(version);
    let generation = version.metadata.generation;
    if was.is_some_and(|was| {
        was.status == verdict.status && was.reason == verdict.reason && was.message == verdict.message
    }) {
        return None;
    }
    let since = was.filter(|was| was.status == verdict.status).map(|was| was.last_transition_time.clone());
    let now = Condition {
        type_: VERIFIED.to_owned(),
        status: verdict.status.to_owned(),
        reason: verdict.reason.to_owned(),
        message: verdict.message.clone(),
        observed_generation: generation,
        last_transition_time: since.unwrap_or(Time(now)),
    };
    let before = version.status.iter().flat_map(|status| &status.conditions);
    let others = before.filter(|condition| condition.type_ != VERIFIED).cloned();
    Some(ExtensionVersionStatus {
        observed_generation: generation,
        conditions: others.chain([now]).collect(),
    })
}

/// Judges for as long as this registry leads. `fenced`: the client that writes only while it does.
pub async fn judge(app: &Arc<App>, fenced: &Client) {
    let mut versions = app.catalog.versions.subscribe();
    let (mut trust, mut denylist, mut keys) =
        (app.policy.trust.subscribe(), app.policy.denylist.subscribe(), app.policy.keys.subscribe());
    // By name, the version of the object that was judged last, since what is decided by has last changed.
    let mut judged: HashMap<String, String> = HashMap::new();
    // Those of which the store did not have what it was to have.
    let mut absent: HashSet<String> = HashSet::new();
    let mut again = tokio::time::interval(AGAIN);
    let mut look = tokio::time::interval(LOOKED_FOR_AGAIN);
    loop {
        let whole = judge_new(app, fenced, &mut judged, &mut absent).await;
        let retry = async {
            if whole { std::future::pending::<()>().await } else { tokio::time::sleep(RETRY).await }
        };
        let all = tokio::select! {
            Ok(()) = versions.changed() => false,
            () = retry => false,
            Ok(()) = trust.changed() => true,
            Ok(()) = denylist.changed() => true,
            Ok(()) = keys.changed() => true,
            () = app.mended.notified() => true,
            _ = again.tick() => true,
            _ = look.tick() => {
                for name in absent.drain() {
                    judged.remove(&name);
                }
                false
            }
            else => return,
        };
        if all {
            judged.clear();
        }
    }
}

/// True: all of them are judged.
async fn judge_new(
    app: &App,
    fenced: &Client,
    judged: &mut HashMap<String, String>,
    absent: &mut HashSet<String>,
) -> bool {
    let mut whole = true;
    let versions = app.catalog.versions.all();
    judged.retain(|name, _| app.catalog.versions.get(name).is_some());
    for version in versions {
        let (name, object) = (version.name_any(), version.resource_version().unwrap_or_default());
        if judged.get(&name) == Some(&object) {
            continue;
        }
        match judge_one(app, fenced, &version).await {
            Judged::Is => drop(judged.insert(name, object)),
            Judged::IsAbsent => {
                absent.insert(name.clone());
                judged.insert(name, object);
            }
            Judged::IsNot => whole = false,
        }
    }
    whole
}

/// What became of judging a version.
enum Judged {
    /// Its status says it.
    Is,
    /// The same: the store does not have it, or has it damaged.
    IsAbsent,
    /// It could not be judged, or that could not be written.
    IsNot,
}

async fn judge_one(app: &App, fenced: &Client, version: &ExtensionVersion) -> Judged {
    let found = match find(app, version).await {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(version = version.name_any(), %error, "it cannot be said whether it is verified");
            return Judged::IsNot;
        }
    };
    let is = if matches!(&found, Found::Stored(_)) { Judged::Is } else { Judged::IsAbsent };
    let Some(verdict) = verdict(version, found) else { return Judged::Is };
    app.metrics.judged(verdict.reason);
    let Some(status) = status(version, &verdict, Timestamp::now()) else { return is };
    let name = version.name_any();
    // What was judged is what is written about: a stale one conflicts.
    let patch = json!({
        "metadata": { "resourceVersion": version.metadata.resource_version, "uid": version.metadata.uid },
        "status": status,
    });
    let api = Api::<ExtensionVersion>::all(fenced.clone());
    let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
    match answer("ExtensionVersion's status", api.patch_status(&name, &params, &patch)).await {
        Ok(Ok(written)) => {
            tracing::info!(version = name, verified = verdict.status, reason = verdict.reason, "judged");
            app.catalog.versions.put(written);
            is
        }
        Ok(Err(error)) if matches!(error.code, 404 | 409) => Judged::IsNot,
        Ok(Err(error)) => {
            tracing::warn!(
                version = name,
                status = error.code,
                error = error.message,
                "what was judged cannot be written"
            );
            Judged::IsNot
        }
        Err(_) => Judged::IsNot,
    }
}

async fn find(app: &App, version: &ExtensionVersion) -> Result<Found, StoreError> {
    let Ok(content) = version.spec.content_hash.parse::<ContentHash>() else { return Ok(Found::Nothing) };
    match app.store.get_whole(&content).await {
        Ok(None) => Ok(Found::Nothing),
        Ok(Some(stored)) => {
            let policy = app.policy.now();
            let loadable = check_loadable(Some(&stored.signature), Some(&stored.receipt), &policy.load());
            Ok(Found::Stored(Box::new((stored, loadable))))
        }
        Err(StoreError::Damaged(_, what)) => Ok(Found::Damaged(what)),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use annex_apis::{ExtensionVersionSpec, Signature};

    use super::*;

    fn version(signed: bool, status: Option<&str>) -> ExtensionVersion {
        let spec = ExtensionVersionSpec { signature: signed.then(Signature::default), ..Default::default() };
        let mut version = ExtensionVersion::new("com.example.hello-1.0.0", spec);
        version.status = status.map(|status| ExtensionVersionStatus {
            conditions: vec![Condition {
                type_: VERIFIED.into(),
                status: status.into(),
                reason: "R".into(),
                message: "m".into(),
                observed_generation: None,
                last_transition_time: Time(Timestamp::UNIX_EPOCH),
            }],
            ..Default::default()
        });
        version
    }

    fn said(version: &ExtensionVersion, found: Found) -> Option<(&'static str, &'static str)> {
        verdict(version, found).map(|verdict| (verdict.status, verdict.reason))
    }

    #[test]
    fn of_what_was_applied_by_hand_only_that_it_is_verified_is_taken_back() {
        for status in [None, Some("False"), Some("Unknown")] {
            assert_eq!(said(&version(false, status), Found::Nothing), None, "{status:?}");
        }
        assert_eq!(said(&version(false, Some("True")), Found::Nothing), Some(("Unknown", "Unsigned")));
        assert_eq!(said(&version(true, None), Found::Nothing), Some(("False", "BundleMissing")));
        assert_eq!(said(&version(true, Some("True")), Found::Damaged("x")), Some(("False", "BundleDamaged")));
    }

    #[test]
    fn a_status_that_says_it_already_is_not_written_and_keeps_its_time() {
        let now = Timestamp::from_second(100).unwrap();
        let same = Verdict { status: "True", reason: "R", message: "m".into() };
        assert_eq!(status(&version(true, Some("True")), &same, now), None);
        let other = Verdict { reason: "S", ..same.clone() };
        let written = status(&version(true, Some("True")), &other, now).unwrap();
        assert_eq!(written.conditions[0].last_transition_time.0, Timestamp::UNIX_EPOCH);
        let written = status(&version(true, Some("False")), &same, now).unwrap();
        assert_eq!((written.conditions.len(), written.conditions[0].last_transition_time.0), (1, now));
    }
}

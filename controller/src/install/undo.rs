use std::collections::HashSet;

use annex_apis::{Install, ManagedEnvironment, PlaceReference};
use annex_core::HostName;
use kube::ResourceExt as _;
use kube_kcp::ObjectKey;

use super::{
    site::{Site, site_named},
    uses::Runners,
};
use crate::{
    api_writes::WriteError,
    certainty::object_at,
    compute::{Place, State, Tenancy, Undone},
    context::Context,
};

/// Where the status says that something was made for the Install and not removed yet.
pub(super) fn recorded_places(install: &Install) -> &[PlaceReference] {
    install.status.as_ref().map_or(&[], |status| status.places.as_slice())
}

/// The uids of the other Installs of the workspace.
pub(super) fn others(context: &Context, key: &ObjectKey) -> HashSet<String> {
    let there = context.installs_of(&key.cluster);
    there.iter().filter(|(other, _)| other != key).filter_map(|(_, install)| install.uid()).collect()
}

/// Removes everything that was made for an Install, wherever that was. Of the workspace it needs nothing but the environments that
/// open tenants' own clusters.
pub(super) async fn undo(context: &Context, key: &ObjectKey, install: &Install) -> Undone {
    for reference in recorded_places(install) {
        let undone = leave(context, key, install, reference).await;
        if undone != Undone::Done {
            return undone;
        }
    }
    Undone::Done
}

/// Removes what an Install that answers on `host` has left behind: mappings of a former host, and everything where it was before.
/// Returns where something is still left, and what that waits for.
pub(super) async fn tidy(
    context: &Context,
    key: &ObjectKey,
    install: &Install,
    now: &Place,
    host: &HostName,
) -> (Vec<PlaceReference>, Undone) {
    let (uid, others) = (install.uid().unwrap_or_default(), others(context, key));
    let whose = Tenancy { cluster: &key.cluster, install: &uid, others: &others };
    let here = now.reference(&key.cluster);
    let mut undone = Undone::Done;
    if now.has_other_domains(whose, host) {
        undone = told(now, now.remove_domains(whose, &here.namespace, Some(host)).await);
    }
    let mut places = vec![here];
    for reference in recorded_places(install) {
        if places.contains(reference) {
            continue;
        }
        let left = leave(context, key, install, reference).await;
        if left != Undone::Done {
            places.push(reference.clone());
            undone = left;
        }
    }
    (places, undone)
}

async fn leave(context: &Context, key: &ObjectKey, install: &Install, reference: &PlaceReference) -> Undone {
    let place = match site_named(context, key, reference.environment.as_deref()) {
        Site::Cluster(place, _) => place,
        // The operator has turned the platform's cluster off, and what was made there is theirs to remove.
        Site::Direct => {
            tracing::warn!(install = %key, ?reference, "there is no compute cluster any more; what was made there stays");
            return Undone::Done;
        }
        // Without an environment there is no way in. It is the tenant's own cluster, and they took the key away.
        Site::Gone => {
            if let Some(name) = &reference.environment
                && !is_gone(context, &ObjectKey { name: name.clone(), ..key.clone() }).await
            {
                return Undone::Waiting("the environment to be looked at".to_owned());
            }
            tracing::warn!(install = %key, ?reference, "the environment is gone; what was made there stays");
            return Undone::Done;
        }
        Site::None(because) => return Undone::Waiting(because.message),
        Site::Unknown => return Undone::Waiting("the environment to be looked at".to_owned()),
    };
    if place.state() != State::Known {
        return Undone::Waiting(format!("{} to answer", place.describe()));
    }
    let (uid, others) = (install.uid().unwrap_or_default(), others(context, key));
    let whose = Tenancy { cluster: &key.cluster, install: &uid, others: &others };
    let undone = told(&place, place.remove_domains(whose, &reference.namespace, None).await);
    if undone != Undone::Done {
        return undone;
    }
    let runners = Runners {
        cluster: &key.cluster,
        place: reference,
        environments: reference.environment.is_some().then_some(&key.namespace),
    };
    let used = async {
        if !runners.are_used(context, &uid).await? {
            return Ok(false);
        }
        {
            let mut left = context.left.lock();
            let places = left.entry(uid.clone()).or_default();
            if !places.contains(reference) {
                places.push(reference.clone());
            }
        }
        // Of two that leave them to each other at the same time the one who says so last sees that the other has.
        runners.are_used(context, &uid).await
    };
    told(&place, place.remove_runners(&key.cluster, &reference.namespace, used).await)
}

/// Whether an environment that is not known is gone, and was not just missing in a list.
async fn is_gone(context: &Context, environment: &ObjectKey) -> bool {
    match object_at::<ManagedEnvironment>(context, environment).await {
        Ok(found) => found.is_none_or(|found| found.metadata.deletion_timestamp.is_some()),
        Err(error) => {
            tracing::warn!(%environment, %error, "it cannot be asked whether it is gone");
            false
        }
    }
}

/// A refusal is waited out like everything else, and said where the author of the Install sees it.
fn told(place: &Place, result: Result<Undone, WriteError>) -> Undone {
    result.unwrap_or_else(|error| {
        tracing::warn!(?place, %error, "what was made there cannot be removed");
        Undone::Waiting(format!("{} to let it be removed", place.describe()))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scripted::{self, Controller};

    #[tokio::test]
    async fn an_environment_is_gone_when_its_workspace_says_so() {
        let kcp = |asked: scripted::Asked| match asked.what.rsplit('/').next().unwrap_or_default() {
            "there" => scripted::object(json!({ "metadata": { "name": "there" } })),
            "going" => scripted::object(
                json!({ "metadata": { "name": "going", "deletionTimestamp": "2026-01-01T00:00:00Z" } }),
            ),
            "unknown" => scripted::refusal(500, "etcd is away"),
            _ => scripted::refusal(404, "not found"),
        };
        let controller = Controller::start(kcp, None).await;
        for (name, gone) in [("there", false), ("going", true), ("unknown", false), ("gone", true)] {
            let key = controller.key("acme", name);
            assert_eq!(is_gone(&controller.context, &key).await, gone, "{name}");
        }
    }
}

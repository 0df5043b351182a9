use annex_apis::Install;
use annex_core::HostName;
use kube::ResourceExt as _;
use kube_kcp::ObjectKey;

use super::site::{Site, site_named};
use crate::{
    api_writes::WriteError,
    compute::{Place, State, Tenancy, Undone},
    context::Context,
};

/// Removes everything that was made for an Install, wherever that was. Needs nothing of the workspace: when one is deleted, its
/// Secrets go first.
pub(super) async fn undo(
    context: &Context,
    key: &ObjectKey,
    install: &Install,
) -> Result<Undone, WriteError> {
    let spec = install.spec.environment_ref.as_ref().map(|environment| environment.name.as_str());
    let recorded = recorded(install);
    let mut environments = vec![spec];
    if let Some(recorded) = recorded
        && recorded != spec
    {
        environments.push(recorded);
    }
    for environment in environments {
        let undone = match site_named(context, key, environment) {
            Site::Cluster(place, _) => leave(context, key, install, &place).await?,
            Site::Direct => Undone::Done,
            // Without an environment there is no way in. It is the tenant's own cluster, and they took the key away.
            Site::Gone => {
                if recorded == Some(environment) {
                    tracing::warn!(install = %key, ?environment, "the environment is gone; what was made there stays");
                }
                Undone::Done
            }
            // Nothing was ever made where nothing was recorded.
            Site::None(_) if recorded != Some(environment) => Undone::Done,
            Site::None(because) => Undone::Waiting(because.message),
            Site::Unknown => Undone::Waiting("the environment to be looked at".to_owned()),
        };
        if undone != Undone::Done {
            return Ok(undone);
        }
    }
    Ok(Undone::Done)
}

/// Removes what an Install that answers has left behind: mappings of a former host, and everything where it ran before.
pub(super) async fn tidy(
    context: &Context,
    key: &ObjectKey,
    install: &Install,
    now: &Place,
    host: &HostName,
) -> Result<Undone, WriteError> {
    let uid = install.uid().unwrap_or_default();
    let whose = Tenancy { cluster: &key.cluster, install: &uid };
    let undone = now.remove_domains(whose, Some(host)).await?;
    let before = recorded(install);
    if undone != Undone::Done
        || before == Some(now.environment().map(|environment| environment.name.as_str()))
    {
        return Ok(undone);
    }
    match before.map(|before| site_named(context, key, before)) {
        Some(Site::Cluster(before, _)) => leave(context, key, install, &before).await,
        Some(Site::None(because)) => Ok(Undone::Waiting(because.message)),
        Some(Site::Unknown) => Ok(Undone::Waiting("the former environment to be looked at".to_owned())),
        Some(Site::Direct | Site::Gone) | None => Ok(Undone::Done),
    }
}

/// Where the status says that the Install runs: in this environment, or (None inside) on the platform's cluster.
fn recorded(install: &Install) -> Option<Option<&str>> {
    let runner = install.status.as_ref()?.runner_ref.as_ref()?;
    (runner.mode == "knative").then_some(runner.environment.as_deref())
}

async fn leave(
    context: &Context,
    key: &ObjectKey,
    install: &Install,
    place: &Place,
) -> Result<Undone, WriteError> {
    match place.state() {
        State::Known => {}
        // Nothing of ours can be where there is no Knative.
        State::NoKnative => return Ok(Undone::Done),
        State::Listing | State::Unreachable(_) => {
            return Ok(Undone::Waiting(format!("{} to answer", place.describe())));
        }
    }
    let uid = install.uid().unwrap_or_default();
    let undone = place.remove_domains(Tenancy { cluster: &key.cluster, install: &uid }, None).await?;
    if undone != Undone::Done || others_run_there(context, key, place) {
        return Ok(undone);
    }
    place.remove_runners(&key.cluster).await
}

/// Whether another Install of the workspace runs, or is to run, in the same place.
fn others_run_there(context: &Context, key: &ObjectKey, place: &Place) -> bool {
    let environment = place.environment().map(|environment| environment.name.as_str());
    context.tenants.installs.in_cluster(&key.shard, &key.cluster).iter().any(|(other, install)| {
        let spec = install.spec.environment_ref.as_ref().map(|environment| environment.name.as_str());
        other != key
            && install.metadata.deletion_timestamp.is_none()
            && (spec == environment || recorded(install) == Some(environment))
    })
}

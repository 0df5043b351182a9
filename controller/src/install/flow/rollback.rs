//! What a flow that failed did is undone: first what answered answers again, then the modules are called, and last everything goes that was
//! made on the way.

use annex_apis::{DeletionPolicy, PlaceReference};
use jiff::Timestamp;

use super::{
    ledger::Ledger,
    lifecycle::{Called, Undoing, call_back, purge},
    step::{Moment, has_failed},
};
use crate::{
    api_writes::WriteError,
    compute::Undone,
    conditions::Because,
    context::Context,
    install::{
        answer::runner_at,
        facts::{Facts, recorded_host, successor},
        reconcile::{keep_answering, silence, withdrawn},
        site::{Site, site_named},
        undo::{tidy, undo},
        writes::Writer,
    },
};

/// How far it has come.
#[derive(Debug)]
pub(in crate::install) enum Back {
    /// All is as it was. Where something is left of the Install, if that has changed.
    Done(Option<Vec<PlaceReference>>),
    /// Not yet: not before this time, or with backoff.
    Waits(Because, Option<Timestamp>),
}

/// Undoes the flow that has failed. Each step looks first, so that it can begin anew at any time.
pub(in crate::install) async fn roll_back(
    context: &Context,
    writer: &Writer<'_>,
    facts: &mut Facts,
    ledger: &mut Ledger,
    now: Timestamp,
) -> Result<Back, WriteError> {
    let key = facts.key.clone();
    let status = facts.install.status.clone().unwrap_or_default();
    let is_installed = status.installed_version.is_some();
    if is_installed {
        keep_answering(context, facts);
    } else {
        silence(context, &key);
    }
    has_failed(&facts.install, ledger, Moment::Undo).await;
    if let Called::Waits(because, at) = modules_back(context, writer, facts, ledger, now).await? {
        return Ok(Back::Waits(because, at));
    }
    // With what the calls have written.
    let install = facts.install.clone();
    let host = recorded_host(&install).filter(|_| is_installed);
    let environment = status.runner_ref.as_ref().and_then(|runner| runner.environment.as_deref());
    let (places, undone) = match (&host, site_named(context, &key, environment)) {
        (Some(host), Site::Cluster(place, _)) => {
            let (places, undone) = tidy(context, &key, &install, &place, host).await;
            (Some(places), undone)
        }
        // What answers needs no place, or there is none that it could keep.
        (_, Site::Direct) | (None, _) => (Some(Vec::new()), undo(context, &key, &install).await),
        (Some(_), Site::None(_) | Site::Unknown | Site::Gone) => (None, Undone::Done),
    };
    if let Undone::Waiting(what) = undone {
        return Ok(Back::Waits(Because::new("RollingBack", format!("waits for {what}")), None));
    }
    context.wake(match &host {
        Some(host) => context.host_claims.keep_only(host, &key),
        None => context.host_claims.release(&key),
    });
    Ok(Back::Done(places))
}

/// Calls the modules back.
async fn modules_back(
    context: &Context,
    writer: &Writer<'_>,
    facts: &mut Facts,
    ledger: &mut Ledger,
    now: Timestamp,
) -> Result<Called, WriteError> {
    let status = facts.install.status.clone().unwrap_or_default();
    if successor(context, &facts.key, &facts.install).is_some() {
        // Nobody undoes what another Install goes on with.
        ledger.forget_modules(&status.modules);
        return Ok(Called::Done);
    }
    let content = ledger.flow().and_then(|flow| flow.target.as_ref()?.content_hash.parse().ok());
    let Some(identity) = content.and_then(|content| facts.identity(content)) else {
        // Nobody was called by a name that there is not.
        ledger.forget_modules(&status.modules);
        return Ok(Called::Done);
    };
    let published = facts.published(&identity.content_hash);
    let is_withdrawn = published.is_none();
    let version = published.unwrap_or_else(|| withdrawn(&facts.install, &identity.content_hash));
    let Some(runner) = runner_at(&facts.site, &facts.key.cluster) else {
        let waits = Because::new("RollingBack", "waits for the environment to be looked at");
        return Ok(Called::Waits(waits, None));
    };
    let undoing = Undoing {
        before: &status.modules,
        identity: &identity,
        version: &version,
        is_withdrawn,
        runner: &runner,
        // Data that an earlier Install left is there as well: it goes only where its owner says so.
        purge: status.installed_version.is_none()
            && facts.install.spec.deletion_policy == DeletionPolicy::Purge,
        gives_up: ledger.failed_since(now).is_some_and(|since| since > facts.timeout()),
    };
    match call_back(context, writer, facts, &undoing, ledger).await? {
        Called::Done if undoing.purge => Ok(purge(context, facts, &undoing).await),
        called => Ok(called),
    }
}

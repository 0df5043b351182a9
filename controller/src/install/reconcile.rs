use std::{sync::Arc, time::Duration};

use annex_apis::{
    ABANDON_ANNOTATION, Abandoned, DeletionPolicy, DependencyPolicy, ExtensionVersion, ExtensionVersionSpec,
    Flow, FlowAction, INSTALL_FINALIZER, Install, InstallStatus, OnFailure, PlaceReference, RunnerReference,
    StageStatus, Tenant, asked_again, modules_of, place_of_reference,
};
use annex_core::{
    ContentHash, HostName,
    flow::{Part, StageName},
    parse_requirement,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, ResourceExt as _, api::PostParams};
use kube_kcp::{ObjectKey, Outcome};

use super::{
    answer::{Asked, Prepared, answers, keep_runners, prepare, repair, runner_at, who_says},
    conditions::{Because, Findings, READY, Stage},
    facts::{
        Facts, NotYet, Pinned, ToBe, dereference, gather, is_installed, recorded_host, route_of_status,
        routes_of_status, successor,
    },
    flow::{
        Back, Called, Course, Ledger, Moment, Undoing, Wants, call_all, call_back, comes_to, comes_to_all,
        comes_to_first, failed_in, has_done, has_failed, is_in_any, on_the_way, place_name, prepared, purge,
        roll_back, target, wanted, why,
    },
    needs::{InItsWay, Needs, along, in_its_way, named_dependents, needs},
    resolve::{Resolved, Verification, is_choice_installed, resolve, verification},
    site::Site,
    status::{Done, Held, Recorded, ended, going, remediate, status, suspended, turned},
    undo::{others, recorded_places, tidy, undo},
    writes::Writer,
};
use crate::{
    api_writes::WriteError,
    certainty::object_at,
    compute::{Place, Tenancy, Undone},
    context::{Context, Key},
    rollout::{NotNow, is_by_itself},
    triggers::rank,
    verify::{REFUSED_FOR, Unverified},
};

/// A Ready install is looked at again after this, though nothing was reported.
const RESYNC: Duration = Duration::from_secs(600);
/// An Install that nobody but its author can mend is looked at again after this; what mends it usually wakes it sooner.
const REFUSED_RESYNC: Duration = Duration::from_secs(300);

/// What an undo waits for is looked at again after this; the watch usually tells sooner.
const UNDO_RESYNC: Duration = Duration::from_secs(30);

/// What an Install of the same name left behind is being removed.
const NOT_REMOVED_YET: Duration = Duration::from_secs(2);

/// Nobody has failed: a new shard is being listed, which takes kcp seconds for the first binding of a schema. With backoff the
/// first Install on it would wait for half a minute longer.
pub(crate) const NOT_LISTED_YET: Outcome = Outcome::Again(Duration::from_secs(1));

/// What is to happen after the status is written.
enum Next {
    Resync(Duration),
    /// Nothing that is watched will tell: try again with backoff.
    Retry,
}

/// Looks at an Install. One in which a tenant's own cluster has a part is left to the workers that are there for that.
pub(crate) async fn reconcile(context: &Context, key: &ObjectKey) -> Outcome {
    let at_work = context.elsewhere.begin(key).filter(|_| !is_for_elsewhere(context, key));
    let Some(_at_work) = at_work else {
        // Or they are at work on it, and look again afterwards.
        context.elsewhere.queue.add(key.clone());
        return Outcome::Done;
    };
    look_at(context, key).await
}

/// The same, by those workers. What is not for them any more goes back.
pub(crate) async fn reconcile_elsewhere(context: &Context, key: &ObjectKey) -> Outcome {
    let at_work = context.elsewhere.begin(key).filter(|_| is_for_elsewhere(context, key));
    let Some(_at_work) = at_work else {
        context.queue.add(Key::Install(key.clone()));
        return Outcome::Done;
    };
    look_at(context, key).await
}

/// Whether a tenant's own cluster has a part in it, or in what one of its name has left behind.
fn is_for_elsewhere(context: &Context, key: &ObjectKey) -> bool {
    let orphan = context.orphans.lock().get(key).cloned();
    let installs = [context.tenants.installs.get(key), orphan];
    installs.iter().flatten().any(|install| {
        install.spec.environment_ref.is_some()
            || recorded_places(install).iter().any(|place| place.environment.is_some())
    })
}

async fn look_at(context: &Context, key: &ObjectKey) -> Outcome {
    let Some(install) = context.tenants.installs.get(key) else {
        return gone(context, key).await;
    };
    if !context.is_synced(&key.cluster) {
        return NOT_LISTED_YET;
    }
    let result = if install.metadata.deletion_timestamp.is_some() {
        delete(context, key, &install).await
    } else {
        apply(context, key, install).await
    };
    match result {
        Ok(outcome) => outcome,
        Err(error) if error.is_gone() && context.tenants.installs.get(key).is_none() => Outcome::Done,
        Err(error) if error.is_conflict() => {
            tracing::debug!(install = %key, "changed meanwhile; looked at again");
            Outcome::Failed
        }
        Err(error) => {
            tracing::warn!(install = %key, %error, "the Install is tried again");
            Outcome::Failed
        }
    }
}

/// The Install is in no list any more. Where the server reported its deletion, that is that. Otherwise its workspace is asked
/// first: a list that is empty by a fault must not give every host away.
async fn gone(context: &Context, key: &ObjectKey) -> Outcome {
    if !context.deleted.lock().contains(key) {
        match object_at::<Install>(context, key).await {
            Ok(None) => {}
            Ok(Some(_)) => {
                tracing::warn!(install = %key, "a list did not hold it, but it is there");
                return Outcome::Failed;
            }
            Err(error) => {
                tracing::warn!(install = %key, %error, "it cannot be asked whether it is gone");
                return Outcome::Failed;
            }
        }
        if context.tenants.installs.get(key).is_some() {
            // It has come back while that was asked, and that is being told just now.
            return Outcome::Done;
        }
        context.vanished.lock().remove(key);
        context.deleted.lock().insert(key.clone());
        // Until now it counted as being there.
        context.wake(context.installs_of(&key.cluster).into_iter().map(|(other, _)| other));
    }
    silence(context, key);
    if !removed_behind(context, key, None).await {
        return Outcome::Again(UNDO_RESYNC);
    }
    release(context, key);
    context.deleted.lock().remove(key);
    Outcome::Done
}

/// Removes what was made for an Install of this name that went without an undo: somebody took our finalizer away. `there` is the
/// one that has the name now. True: nothing is left.
async fn removed_behind(context: &Context, key: &ObjectKey, there: Option<&Install>) -> bool {
    let Some(orphan) = context.orphans.lock().get(key).cloned() else { return true };
    if there.is_some_and(|there| there.uid() == orphan.uid()) {
        // A list did not hold it for a moment, and that it is back is being told just now.
        return true;
    }
    if let Undone::Waiting(what) = undo(context, key, &orphan).await {
        tracing::info!(install = %key, what, "it is gone; what was made for it waits");
        return false;
    }
    close_unused(context, key, &orphan);
    context.left.lock().remove(&orphan.uid().unwrap_or_default());
    context.orphans.lock().remove(key);
    true
}

/// Everything that the Install held is free again.
fn release(context: &Context, key: &ObjectKey) {
    silence(context, key);
    context.wake(context.host_claims.release(key));
    context.wake(context.extension_claims.release(key));
}

/// The Install answers nowhere; what it holds stays its own.
pub(super) fn silence(context: &Context, key: &ObjectKey) {
    for host in context.routes.remove(key) {
        if let Some(runner) = &context.runner {
            runner.forget(&host);
        }
    }
}

async fn delete(context: &Context, key: &ObjectKey, install: &Arc<Install>) -> Result<Outcome, WriteError> {
    let ours = install.finalizers().iter().any(|finalizer| finalizer == INSTALL_FINALIZER);
    if !ours {
        release(context, key);
        return Ok(Outcome::Done);
    }
    let writer = Writer { client: context.workspaces.client(&key.cluster)?, writes: &context.writes };
    if let Some(waits) = needed_still(context, &writer, key, install).await? {
        return Ok(waits);
    }
    silence(context, key);
    let now = Timestamp::now();
    let mut ledger = Ledger::of(install).seen_at(now).on_the_way_to(on_the_way(context, install));
    ledger.revoke(install.spec.deletion_policy == DeletionPolicy::Purge, now);
    let mut install = install.clone();
    let called = match comes_to_all(&install, &mut ledger, &WITHDRAWAL).await {
        Ok(()) => modules_away(context, &writer, key, &mut install, &mut ledger).await?,
        Err(because) => Called::Waits(because, None),
    };
    let called = match called {
        Called::Done => list_failed(context, key, &install, &ledger).await,
        waits => waits,
    };
    let waits = match called {
        Called::Waits(because, at) => Some((because.message, at)),
        Called::Done | Called::Failed(_) => match remove(context, key, &install, &mut ledger).await {
            Undone::Done => None,
            Undone::Waiting(what) if is_abandoned(&install, "compute") => {
                let places = recorded_places(&install).iter().map(place_of_reference).collect::<Vec<_>>();
                let left = format!("{}; waited for {what}", places.join(", "));
                abandon(context, key, &install, "compute", &left).await?;
                None
            }
            Undone::Waiting(what) => Some((what, None)),
        },
    };
    if let Some((what, at)) = waits {
        let (because, now) = (Because::new("Uninstalling", format!("waits for {what}")), Timestamp::now());
        let mut status = going(&install, &because, now);
        status.dependents.clear();
        ledger.waits(&because);
        ledger.write(&mut status);
        if install.status.as_ref() != Some(&status) {
            writer.status(&install, status).await?;
        }
        return Ok(Outcome::Again(at.map_or(UNDO_RESYNC, |at| until(at, now).min(UNDO_RESYNC))));
    }
    let install = &*install;
    ledger.finishes(Timestamp::now());
    if let Some(waits) = last_words(context, &writer, key, install, &ledger).await? {
        return Ok(waits);
    }
    // Not before: who gets the host next must not find the former mapping of it.
    release(context, key);
    close_unused(context, key, install);
    context.undone.lock().insert(install.uid().unwrap_or_default());
    writer.let_go(install).await?;
    tracing::info!(install = %key, extension = install.spec.extension, "uninstalled");
    if let Some(record) = ledger.last_record() {
        writer.told(install, record).await;
    }
    Ok(Outcome::Done)
}

/// Tells whoever wants to know that the Install is gone, while there is something that says so.
async fn last_words(
    context: &Context,
    writer: &Writer<'_>,
    key: &ObjectKey,
    install: &Install,
    ledger: &Ledger,
) -> Result<Option<Outcome>, WriteError> {
    let mut ended = install.clone();
    ledger.write(ended.status.get_or_insert_default());
    if context.announcer.tell_last(context, key, &ended).await {
        return Ok(None);
    }
    // Under the id that it was begun to be told by.
    let because = Because::new("Uninstalling", "waits for the sink of events to take the last one");
    let mut status = going(install, &because, Timestamp::now());
    status.flow = ledger.flow().cloned().map(|flow| Flow {
        status: StageStatus::InProgress,
        finished_at: None,
        ..flow
    });
    if install.status.as_ref() != Some(&status) {
        writer.status(install, status).await?;
    }
    Ok(Some(Outcome::Failed))
}

/// Whether something is not waited for any longer, because whoever may change the Install says so.
fn is_abandoned(install: &Install, what: &str) -> bool {
    let words = install.annotations().get(ABANDON_ANNOTATION).map(String::as_str).unwrap_or_default();
    words.split(',').any(|word| word.trim() == what)
}

/// The most that a Tenant lists.
const MOST_ABANDONED: usize = 64;

/// Notes what is left behind where the platform's operator finds it, once the Install is gone.
async fn abandon(
    context: &Context,
    key: &ObjectKey,
    install: &Install,
    what: &str,
    message: &str,
) -> Result<(), WriteError> {
    let uid = install.uid().unwrap_or_default();
    tracing::warn!(install = %key, extension = install.spec.extension, what, message, "it is left behind");
    let Some(tenant) = context.catalog.tenants.named(key.cluster.as_str()) else { return Ok(()) };
    let mut status = tenant.status.clone().unwrap_or_default();
    if status.abandoned.iter().any(|left| left.install == uid && left.what == what) {
        return Ok(());
    }
    let left = Abandoned {
        what: what.to_owned(),
        extension: install.spec.extension.clone(),
        install: uid,
        message: message.chars().take(512).collect(),
        at: Time(Timestamp::now()),
    };
    status.abandoned.insert(0, left);
    status.abandoned.truncate(MOST_ABANDONED);
    let tenants: Api<Tenant> = Api::all(context.provider.clone());
    let noted = Tenant { status: Some(status), ..Tenant::clone(&tenant) };
    let params = PostParams::default();
    let write = tenants.replace_status(key.cluster.as_str(), &params, &noted);
    let noted = context.writes.count("TenantStatus", write).await?;
    // There may be more to note, before the watch brings this.
    context.catalog.tenants.wrote(noted);
    Ok(())
}

/// An Install that others need stays as it is, and goes on answering, until they are gone.
async fn needed_still(
    context: &Context,
    writer: &Writer<'_>,
    key: &ObjectKey,
    install: &Arc<Install>,
) -> Result<Option<Outcome>, WriteError> {
    // Where it has begun to go it goes.
    let revokes = Ledger::of(install).flow().is_some_and(|flow| flow.action == FlowAction::Revoke);
    if revokes || is_abandoned(install, "dependents") {
        return Ok(None);
    }
    let mut facts = match gather(context, key, install.clone()) {
        Ok(facts) => facts,
        // Nobody is told to go for whom nobody could look yet.
        Err(NotYet::Listing) => return Ok(Some(NOT_LISTED_YET)),
        // It comes through its own watch, which wakes this.
        Err(NotYet::NoTenant) => return Ok(Some(Outcome::Failed)),
        Err(NotYet::Unbound) => return Ok(None),
    };
    let dependents = named_dependents(context, &facts);
    if dependents.is_empty() {
        return Ok(None);
    }
    let installed = install.status.as_ref().and_then(|status| status.content_hash.as_ref()?.parse().ok());
    let is_denied = installed.and_then(|content| facts.published(&content)).is_some_and(|version| {
        // Whether nobody has looked is no matter any more.
        matches!(verification(&version, true), Verification::Refused(_))
    });
    if facts.tenant.spec.suspended || is_denied {
        silence(context, key);
    } else {
        // Who is needed is not going.
        let mut needed = Install::clone(install);
        needed.status.get_or_insert_default().dependents.clone_from(&dependents);
        facts.install = Arc::new(needed);
        keep_answering(context, &facts);
    }
    let now = Timestamp::now();
    let message = format!("it is deleted once what needs it is gone: {}", dependents.join(", "));
    let mut status = going(install, &Because::new("HasDependents", message), now);
    status.dependents = dependents;
    status.routes = context.routes.of(key);
    if install.status.as_ref() != Some(&status) {
        let turned = turned(install.status.as_ref(), &status).cloned();
        writer.status(install, status).await?;
        if let Some(ready) = turned {
            writer.event(install, &ready).await;
        }
    }
    Ok(Some(Outcome::Again(REFUSED_RESYNC)))
}

/// What comes before anything is called or removed.
const WITHDRAWAL: [StageName; 2] = [StageName::CheckDependents, StageName::Former(Part::Routes)];

/// What takes away what was made for an Install.
const REMOVALS: [StageName; 4] = [
    StageName::Former(Part::Mappings),
    StageName::Former(Part::Claims),
    StageName::Former(Part::Runners),
    StageName::Former(Part::Environments),
];

/// Takes away what was made for an Install that goes.
async fn remove(context: &Context, key: &ObjectKey, install: &Install, ledger: &mut Ledger) -> Undone {
    if let Err(because) = comes_to_first(install, ledger, &REMOVALS).await {
        return Undone::Waiting(because.message);
    }
    match undo(context, key, install).await {
        Undone::Done => has_done(install, ledger)
            .await
            .map_or_else(|because| Undone::Waiting(because.message), |()| Undone::Done),
        waiting @ Undone::Waiting(_) => waiting,
    }
}

/// Calls the modules of an Install that goes and removes what they stored, as far as there is anybody left who could.
async fn modules_away(
    context: &Context,
    writer: &Writer<'_>,
    key: &ObjectKey,
    install: &mut Arc<Install>,
    ledger: &mut Ledger,
) -> Result<Called, WriteError> {
    let purges = install.spec.deletion_policy == DeletionPolicy::Purge;
    let contents = contents_of(install, ledger);
    if contents.is_empty() || !purges && ledger.modules().is_empty() {
        return Ok(Called::Done);
    }
    // Nobody gets the extension from here on whose modules and data these could be by the time that they are called and removed.
    let mut facts = match dereference(context, key, install.clone()) {
        Ok(facts) => facts,
        Err(NotYet::Unbound) => {
            tracing::warn!(install = %key, "its workspace is going: its extension is not called, and what that stored stays");
            return Ok(Called::Done);
        }
        Err(NotYet::NoTenant) => {
            let waits = Because::new("TenantUnknown", "the Tenant of its workspace to be made again");
            return Ok(Called::Waits(waits, None));
        }
        Err(NotYet::Listing) => {
            let listing = Because::new("ComputeListing", "the compute cluster to be looked at");
            return Ok(Called::Waits(listing, None));
        }
    };
    if let Some(rival) = &facts.rival {
        let Some(other) = successor(context, key, install) else {
            let message = format!(
                "the Install {}/{}, which is about to have the extension",
                rival.namespace, rival.name
            );
            return Ok(Called::Waits(Because::new("AlreadyInstalled", message), None));
        };
        let extension = &install.spec.extension;
        let message = format!(
            "{extension} is that of the Install {}/{} now, with all that is stored",
            other.namespace, other.name
        );
        ledger.leaves_modules(&Because::new("AlreadyInstalled", message), Timestamp::now());
        return Ok(Called::Done);
    }
    if let Err(error) = facts.read_secrets(context).await {
        tracing::warn!(install = %key, %error, "its extension is called without what it takes out of Secrets");
    }
    let recorded = install.status.as_ref().and_then(|status| status.runner_ref.clone());
    let runner = recorded.or_else(|| runner_at(&facts.site, &key.cluster));
    let published = contents.iter().find_map(|content| Some((*content, facts.published(content)?)));
    let is_withdrawn = published.is_none();
    let Some((content, version)) =
        published.or_else(|| contents.first().map(|content| (*content, withdrawn(install, content))))
    else {
        return Ok(Called::Done);
    };
    let Some((identity, runner)) = facts.identity(content).zip(runner) else {
        tracing::warn!(install = %key, "nobody knows where it ran: its extension is not called, and what that stored stays");
        return Ok(Called::Done);
    };
    let undoing = Undoing {
        before: &[],
        identity: &identity,
        version: &version,
        is_withdrawn,
        runner: &runner,
        purge: purges,
        gives_up: is_abandoned(install, "handlers") || ledger.began_before(Timestamp::now(), facts.timeout()),
    };
    if !ledger.modules().is_empty() || (purges && ledger.is_at(&StageName::Purge)) {
        keep_runners(context, &facts).await;
    }
    let mut called = call_back(context, writer, &mut facts, &undoing, ledger).await?;
    if called == Called::Done && purges {
        called = match comes_to(&facts.install, ledger, &StageName::Purge).await {
            Ok(()) if ledger.is_at(&StageName::Purge) => purge(context, &facts, &undoing).await,
            Ok(()) => Called::Done,
            Err(because) => Called::Waits(because, None),
        };
        if let Called::Waits(because, _) = &called
            && is_abandoned(install, "storage")
        {
            called = listed(abandon(context, key, install, "storage", &because.message).await);
        }
    }
    *install = facts.install;
    Ok(called)
}

/// Lists what a handler said that failed for good. Nobody waits for it any more.
async fn list_failed(context: &Context, key: &ObjectKey, install: &Install, ledger: &Ledger) -> Called {
    match ledger.flow().and_then(failed_in).and_then(|stage| stage.message.as_deref()) {
        Some(message) => listed(abandon(context, key, install, "handlers", message).await),
        None => Called::Done,
    }
}

/// Where the Tenant could not be written, that is waited for and no error: whom this pass has called must be written down.
fn listed(noted: Result<(), WriteError>) -> Called {
    match noted {
        Ok(()) => Called::Done,
        Err(error) => {
            tracing::debug!(%error, "what is left behind is listed later");
            let because = Because::new("Uninstalling", "what is left behind to be listed");
            Called::Waits(because, Timestamp::now().checked_add(SignedDuration::from_secs(1)).ok())
        }
    }
}

/// What is still known of a version that the catalog has lost: enough to have removed what it stored, and none of its handlers.
pub(super) fn withdrawn(install: &Install, content: &ContentHash) -> Arc<ExtensionVersion> {
    let version = install.status.as_ref().and_then(|status| status.installed_version.clone());
    let spec = ExtensionVersionSpec {
        extension: install.spec.extension.clone(),
        version: version.unwrap_or_default(),
        content_hash: content.to_string(),
        ..ExtensionVersionSpec::default()
    };
    Arc::new(ExtensionVersion::new("", spec))
}

/// The contents whose handlers know of what was done for an Install that goes, those first that know of more: of a flow that did not get to
/// its end its own, which knows of what was there before as well, and then what is installed.
fn contents_of(install: &Install, ledger: &Ledger) -> Vec<ContentHash> {
    let target = ledger.flow().and_then(|flow| flow.target.as_ref()).map(|target| &target.content_hash);
    let installed = install.status.as_ref().and_then(|status| status.content_hash.as_ref());
    [target, installed].into_iter().flatten().filter_map(|content| content.parse().ok()).collect()
}

/// A cluster that no Install runs on any more is not followed any longer.
fn close_unused(context: &Context, key: &ObjectKey, install: &Install) {
    let spec = install.spec.environment_ref.as_ref().map(|environment| &environment.name);
    let recorded = recorded_places(install).iter().filter_map(|place| place.environment.as_ref());
    for name in spec.into_iter().chain(recorded) {
        let environment = ObjectKey { name: name.clone(), ..key.clone() };
        if context.installs_naming(&environment).iter().all(|other| other == key) {
            context.close_place(&environment, Some(key));
        }
    }
}

async fn apply(context: &Context, key: &ObjectKey, install: Arc<Install>) -> Result<Outcome, WriteError> {
    if !removed_behind(context, key, Some(&install)).await {
        return Ok(Outcome::Again(NOT_REMOVED_YET));
    }
    let mut facts = match dereference(context, key, install) {
        Ok(facts) => facts,
        Err(NotYet::Unbound) => return Ok(Outcome::Again(REFUSED_RESYNC)),
        // It comes through its own watch, which wakes this.
        Err(NotYet::NoTenant) => return Ok(Outcome::Failed),
        Err(NotYet::Listing) => return Ok(NOT_LISTED_YET),
    };
    facts.read_secrets(context).await?;
    let writer = Writer { client: context.workspaces.client(&key.cluster)?, writes: &context.writes };
    // Before anything is held that a deletion must give back.
    let held = facts.install.finalizers().iter().any(|finalizer| finalizer == INSTALL_FINALIZER);
    if !held {
        facts.install = Arc::new(writer.hold(&facts.install).await?);
    }

    let now = Timestamp::now();
    forget_routes(context, &facts);
    let on_the_way = on_the_way(context, &facts.install);
    let mut ledger = Ledger::of(&facts.install).seen_at(now).on_the_way_to(on_the_way);
    let went = pass(context, &writer, &mut facts, &mut ledger, now).await;
    if let Err(error) = &went
        && error.is_conflict()
        && let Some(recorded) = &facts.install.status
        && let Some(flow) = ledger.calls_of(recorded)
    {
        // What has changed is looked at again; that handlers were called is not to be found out by looking.
        if let Err(error) = writer.flow(&facts.install, &flow).await {
            tracing::warn!(install = %key, %error, "handlers were called, and that cannot be written down");
        }
    }
    went
}

/// Looks at what is wanted and what there is, does what is to be done, and writes down what came of it.
async fn pass(
    context: &Context,
    writer: &Writer<'_>,
    facts: &mut Facts,
    ledger: &mut Ledger,
    now: Timestamp,
) -> Result<Outcome, WriteError> {
    let key = &facts.key.clone();
    let installed = is_installed(&facts.install);
    let suspend = facts.install.spec.suspend && !facts.tenant.spec.suspended;
    let (mut status, next) = if suspend && installed {
        (suspended(&facts.install, keep_answering(context, facts), now), Next::Resync(RESYNC))
    } else {
        let mut findings = Findings::default();
        if !suspend && !facts.tenant.spec.suspended && was_suspended(&facts.install) {
            ledger.goes_on_after_a_pause(now);
        }
        let (done, next) = if suspend {
            findings.refused(
                Stage::Resolved,
                Because::new("Suspended", "nothing is installed while spec.suspend is true"),
            );
            (Done::default(), Next::Resync(RESYNC))
        } else if ledger.rolls_back().is_some() && !facts.tenant.spec.suspended {
            back(context, writer, facts, &mut findings, ledger).await?
        } else {
            // Something else is asked for than what is being undone.
            let undoes = ledger.undoes();
            let course = install_it(context, writer, facts, &mut findings, ledger).await;
            let (done, next) = match course {
                Ok(course) => course,
                Err(Stopped::NotWritten(error)) => return Err(error),
                Err(Stopped::Failed(because)) => {
                    ledger.fails(&because, facts.install.spec.on_failure, false, Timestamp::now());
                    findings.refused(Stage::Installed, because);
                    (Done::default(), Next::Resync(Duration::ZERO))
                }
            };
            match undoes && is_refused(&findings) && ledger.goes_on_undoing(Timestamp::now()) {
                true => (done, Next::Resync(Duration::ZERO)),
                false => (done, next),
            }
        };
        let recorded = match findings.refusal().map(|because| &*because.reason) {
            // Who is suspended, and what is known to be bad, does not go on answering.
            Some("TenantSuspended") => {
                silence(context, key);
                Recorded::Silent
            }
            // Not where it is an upgrade that is bad.
            Some("VerificationFailed")
                if findings.is_refused_at(Stage::Verified) && is_choice_installed(facts) =>
            {
                silence(context, key);
                Recorded::Silent
            }
            Some(_) if moves(&facts.install, &done) => Recorded::Answers,
            Some(_) if !done.published && (installed || done.host.is_none()) => {
                let recorded = keep_answering(context, facts);
                if matches!(recorded, Recorded::Answers) && done.host.is_none() {
                    repair(context, facts).await;
                }
                recorded
            }
            Some(_) => Recorded::Silent,
            None => Recorded::Answers,
        };
        if !installed && done.host.is_none() {
            // Who cannot be installed must not keep another from being it. What it waits for itself stays claimed.
            release_unused(context, facts);
        }
        let next = judge(facts, &findings, &done, ledger, next);
        has_failed(&facts.install, ledger, Moment::Failed).await;
        (status(&facts.install, &findings, &done, recorded, now), next)
    };
    status.routes = context.routes.of(key);
    ledger.write(&mut status);
    let before = facts.install.status.as_ref().map_or(&[][..], |status| &status.conditions);
    remediate(&mut status, before, now);
    let install = &facts.install;
    if install.status.as_ref() != Some(&status) {
        let turned = turned(install.status.as_ref(), &status).cloned();
        let ended = ended(install.status.as_ref(), &status).cloned();
        writer.status(install, status).await?;
        if let Some(ready) = &turned {
            tracing::info!(install = %key, extension = install.spec.extension, ready = ready.status, reason = ready.reason, "the Install");
            writer.event(install, ready).await;
        }
        if let Some(record) = ended {
            tracing::info!(install = %key, flow = record.id, action = ?record.action, status = ?record.status, "a flow has ended");
            // What Ready says is said.
            if turned.is_none_or(|_| record.status != StageStatus::Finished) {
                writer.told(install, &record).await;
            }
        }
    }
    Ok(match next {
        Next::Resync(after) => Outcome::Again(after),
        Next::Retry => Outcome::Failed,
    })
}

/// What refused becomes a part of the flow's record. A flow that has begun to change something has failed when it takes too long, and when
/// its version may not be installed any more; whatever else refuses is waited out.
fn judge(facts: &Facts, findings: &Findings, done: &Done, ledger: &mut Ledger, next: Next) -> Next {
    let Some(because) = findings.refusal().filter(|_| ledger.runs() && done.answers.is_none()) else {
        return next;
    };
    let (now, on_failure) = (Timestamp::now(), facts.install.spec.on_failure);
    ledger.waits(because);
    // Once a version answers, what was there before is taken away for as long as it takes.
    if SUSPENDED.contains(&&*because.reason) || ledger.is_settled() {
        return next;
    }
    let Some(began) = ledger.changing_since() else { return next };
    let mut fails = |because: &Because| {
        if on_failure == OnFailure::Rollback {
            ledger.undoes_what_is_unheard_of();
        }
        ledger.fails(because, on_failure, true, now);
        Next::Resync(Duration::ZERO)
    };
    if matches!(&*because.reason, "NoMatchingVersion" | "VersionWithdrawn" | "VerificationFailed") {
        return fails(because);
    }
    let Ok(deadline) = began.checked_add(facts.timeout()) else { return next };
    if deadline <= now {
        let message =
            format!("the flow did not end within {}: {}", facts.install.spec.timeout, because.message);
        return fails(&Because::new("Timeout", message));
    }
    match next {
        Next::Resync(after) => Next::Resync(after.min(until(deadline, now))),
        Next::Retry => Next::Retry,
    }
}

/// Whether what is asked for cannot be had as things are.
fn is_refused(findings: &Findings) -> bool {
    findings.refusal().is_some_and(|because| !SUSPENDED.contains(&&*because.reason))
}

/// Why nothing is done, where that is as it should be.
const SUSPENDED: [&str; 2] = ["Suspended", "TenantSuspended"];

/// Whether nothing was done when the status was written.
fn was_suspended(install: &Install) -> bool {
    let conditions = install.status.iter().flat_map(|status| &status.conditions);
    conditions
        .into_iter()
        .any(|condition| condition.type_ == READY && SUSPENDED.contains(&&*condition.reason))
}

fn until(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or_default()
}

/// Undoes what a flow did that has failed.
async fn back(
    context: &Context,
    writer: &Writer<'_>,
    facts: &mut Facts,
    findings: &mut Findings,
    ledger: &mut Ledger,
) -> Result<(Done, Next), WriteError> {
    let failed = ledger.flow().map_or_else(|| Because::new("FlowFailed", ""), why);
    findings.refused(Stage::Installed, failed);
    let now = Timestamp::now();
    Ok(match roll_back(context, writer, facts, ledger, now).await? {
        Back::Done(places) => {
            ledger.rolled_back(Timestamp::now());
            (Done { places, ..Done::default() }, Next::Resync(Duration::ZERO))
        }
        Back::Waits(because, at) => {
            tracing::info!(install = %facts.key, reason = %because.reason, because.message, "what a flow did is not undone yet");
            (Done::default(), at.map_or(Next::Retry, |at| Next::Resync(until(at, now))))
        }
    })
}

/// What a pass was about to publish that could not write it down is not published by the next one, which may want something else.
fn forget_routes(context: &Context, facts: &Facts) {
    let key = &facts.key;
    let recorded = routes_of_status(&context.catalog, key, &facts.install).into_iter();
    context.routes.follow(key, recorded.filter(|(host, _)| context.host_claims.holds(host, key)).collect());
}

/// What is remembered of an Install is found out anew: whether its host answers, and whether its bytes are good.
fn forget(context: &Context, facts: &Facts) {
    if let Some((runner, host)) = context.runner.as_ref().zip(recorded_host(&facts.install)) {
        runner.forget(&host);
    }
    let bundles = context.bundles.iter();
    for bundles in bundles {
        let contents = facts.versions.iter().filter_map(|version| version.spec.content_hash.parse().ok());
        contents.for_each(|content| bundles.forget(&content));
    }
}

/// Whether what is installed goes on at its host while another is being made ready.
fn moves(install: &Install, done: &Done) -> bool {
    let new = done.host.as_ref().map(|held| &held.resolved.host);
    new.is_some()
        && is_installed(install)
        && done.answers.is_none()
        && recorded_host(install).is_some_and(|host| new != Some(&host))
}

/// Why a pass ends in the middle.
enum Stopped {
    /// What was about to be relied upon could not be written down.
    NotWritten(WriteError),
    /// A stage has failed for good.
    Failed(Because),
}

impl From<WriteError> for Stopped {
    fn from(error: WriteError) -> Self {
        Self::NotWritten(error)
    }
}

impl From<Because> for Stopped {
    fn from(because: Because) -> Self {
        Self::Failed(because)
    }
}

async fn install_it(
    context: &Context,
    writer: &Writer<'_>,
    facts: &mut Facts,
    findings: &mut Findings,
    ledger: &mut Ledger,
) -> Result<(Done, Next), Stopped> {
    let key = facts.key.clone();
    let refused = || Ok((Done::default(), Next::Resync(REFUSED_RESYNC)));
    let mut turn = RESYNC;
    let Some(mut resolved) = resolve(facts, &context.domain.root, findings) else { return refused() };
    if let Some(next) = take_a_turn(context, facts, &resolved, ledger) {
        // It stays what it is until then.
        *findings = Findings::default();
        let Some(pinned) = resolve(facts, &context.domain.root, findings) else {
            return Ok((Done::default(), Next::Resync(next)));
        };
        resolved = pinned;
        turn = next;
    }
    let place = place_name(&facts.site, &key.cluster);
    let wants = Wants {
        wanted: wanted(&resolved, &place),
        target: target(&resolved, &place),
        version: resolved.version.clone(),
        again: asked_again(&facts.install),
    };
    let now = Timestamp::now();
    if let Course::Failed(because, again) = ledger.course(&wants, now) {
        findings.refused(Stage::Installed, because);
        let after = again.map_or(REFUSED_RESYNC, |at| until(at, now).min(REFUSED_RESYNC));
        return Ok((Done::default(), Next::Resync(after)));
    }
    if ledger.begins_again() {
        tracing::info!(install = %key, "it is made again, as was asked");
        forget(context, facts);
    }
    comes_to_all(&facts.install, ledger, &[StageName::Resolve, StageName::Verify]).await?;
    if resolved.verified
        && let Some(bundles) = &context.bundles
    {
        match bundles.verify(&resolved.identity, &resolved.version).await {
            Ok(()) => {}
            Err(Unverified::Refused(message)) => {
                findings.refused(Stage::Verified, Because::new("VerificationFailed", message));
                // Nothing wakes this when the bytes are good again, but the registry has judged them before.
                return Ok((Done::default(), Next::Resync(REFUSED_FOR)));
            }
            Err(Unverified::Unknown(message)) => {
                findings.refused(Stage::Verified, Because::new("RegistryUnavailable", message));
                return Ok((Done::default(), Next::Retry));
            }
        }
    }
    comes_to(&facts.install, ledger, &StageName::CheckDependencies).await?;
    let needs = needs(context, facts, &resolved.published, ledger.runs());
    if let Some(because) = needs.refusal.clone() {
        let because = match facts.install.spec.dependencies {
            DependencyPolicy::Auto if because.reason == "DependencyMissing" => {
                install_along(context, writer, facts, &needs).await?
            }
            DependencyPolicy::Auto | DependencyPolicy::Manual => because,
        };
        findings.refused(Stage::Resolved, because);
        return Ok((Done { needs: Some(needs), ..Done::default() }, Next::Resync(REFUSED_RESYNC)));
    }
    comes_to(&facts.install, ledger, &StageName::CheckQuota).await?;
    let host = resolved.host.clone();
    if recorded_host(&facts.install).as_ref() != Some(&host) && !context.all_is_synced() {
        let message = format!("part of the platform cannot be read just now, and {host} may be held there");
        findings.refused(Stage::DomainReady, Because::new("NotSynced", message));
        return Ok((Done::default(), Next::Retry));
    }
    comes_to(&facts.install, ledger, &StageName::DomainClaim).await?;
    if let Err(holder) = hold_host(context, facts, &host) {
        let message = if holder.cluster == key.cluster {
            format!(
                "the host name {host} is that of the Install {}/{} in this workspace; ask the platform's operator to give one of \
                 the extensions another slug",
                holder.namespace, holder.name
            )
        } else {
            format!("the host name {host} is taken; ask the platform's operator for another slug")
        };
        findings.refused(Stage::DomainReady, Because::new("DomainConflict", message));
        return refused();
    }
    comes_to_all(&facts.install, ledger, &[StageName::Environment, StageName::Runner]).await?;
    if let Site::Cluster(place, _) = &facts.site {
        let mut status = with_place(context, facts, place);
        if status.places.len() != recorded_places(&facts.install).len() {
            ledger.write(&mut status);
            write(writer, facts, status).await?;
        }
    }
    let prepared = prepare(context, facts, &resolved, findings).await;
    let certificate = matches!(&facts.site, Site::Cluster(place, _) if place.has_certificate());
    let url = context.domain.url(&host, certificate);
    if ledger.runs() {
        let needs = needs.dependencies.clone();
        facts.is_to_be(context, ToBe { host: host.clone(), url: url.clone(), needs });
    }
    let held = Held { resolved, url };
    let mut asked = Asked::Host;
    if let Prepared::There(runner) = &prepared {
        match ready_it(context, writer, facts, &held.resolved, runner, ledger).await? {
            Readied::Yes => {}
            Readied::Shown => asked = who_says(facts, &host, runner),
            Readied::NotYet(because, next) => {
                let is_held = Because::new("DomainHeld", format!("{host} is this install's"));
                findings.passed(Stage::DomainReady, is_held);
                findings.refused(Stage::Installed, because);
                return Ok((Done { host: Some(held), needs: Some(needs), ..Done::default() }, next));
            }
        }
    }
    if matches!(prepared, Prepared::There(_)) {
        comes_to(&facts.install, ledger, &StageName::Publish).await?;
    }
    let published = match &prepared {
        Prepared::There(_) => true,
        // What answers there already goes on until the runner is ready, and nobody is answered whose modules are not.
        Prepared::Mapped => !is_installed(&facts.install) && held.resolved.published.spec.lifecycle.is_none(),
        Prepared::Watched | Prepared::No | Prepared::Taken => false,
    };
    if published {
        // Where it answers already it goes on answering until it does so here.
        context.routes.add(&key, &host, held.resolved.identity.clone());
    }
    let (answers, next) = match prepared {
        Prepared::There(runner) => {
            // Whoever asks may be answered by another replica.
            if asked == Asked::Host && recorded_status(&facts.install).routes != context.routes.of(&key) {
                record(context, writer, facts, ledger).await?;
            }
            if answers(context, facts, &held.resolved, (&runner, asked), findings).await {
                (Some(runner), Next::Resync(turn))
            } else {
                (None, Next::Retry)
            }
        }
        Prepared::Mapped | Prepared::Watched => (None, Next::Resync(REFUSED_RESYNC)),
        Prepared::No => (None, Next::Retry),
        Prepared::Taken => return refused(),
    };
    let mut done = Done { host: Some(held), published, answers, places: None, needs: Some(needs) };
    if moves(&facts.install, &done) {
        return Ok((done, next));
    }
    if done.answers.is_some() {
        has_done(&facts.install, ledger).await?;
        let modules = done.host.iter().flat_map(|held| modules_of(&held.resolved.published)).collect();
        ledger.reached(modules, Timestamp::now());
        if let Err(because) = is_in_any(&facts.install, ledger).await {
            ledger.waits(&because);
            return Ok((done, Next::Retry));
        }
    }
    let mut left = Undone::Done;
    if let Site::Cluster(place, _) = &facts.site
        && (done.answers.is_some() || is_in_its_own_way(context, facts, place, &host))
    {
        let (places, undone) = tidy(context, &key, &facts.install, place, &host).await;
        (done.places, left) = (Some(places), undone);
    }
    // Nothing is made anywhere for it any more.
    if matches!(facts.site, Site::Direct)
        && done.answers.is_some()
        && !recorded_places(&facts.install).is_empty()
    {
        left = undo(context, &key, &facts.install).await;
        done.places = (left == Undone::Done).then(Vec::new);
    }
    context.routes.keep_only(&key, &host);
    if left == Undone::Done
        && done.answers.is_some()
        && let Err(because) = has_done(&facts.install, ledger).await
    {
        left = Undone::Waiting(because.message);
    }
    if let Undone::Waiting(what) = left {
        tracing::debug!(install = %key, what, "what it left behind waits");
        ledger.waits(&Because::new("Waiting", format!("waits for {what}")));
        return Ok((done, Next::Resync(UNDO_RESYNC)));
    }
    // Not before nothing leads from the former host to this install's runner.
    context.wake(context.host_claims.keep_only(&host, &key));
    if done.answers.is_some() {
        ledger.finishes(Timestamp::now());
        close_left(context, &key, &facts.install, done.places.as_deref().unwrap_or_default());
    }
    Ok((done, next))
}

/// Whether an Install that would take another version by itself has to wait: it is pinned to what is installed then. Returns how long.
fn take_a_turn(
    context: &Context,
    facts: &mut Facts,
    resolved: &Resolved,
    ledger: &Ledger,
) -> Option<Duration> {
    let (hash, now) = (resolved.identity.content_hash.to_string(), Timestamp::now());
    if ledger.has_begun(&hash, now) || !is_by_itself(&facts.install, &resolved.published) {
        return None;
    }
    let all = context.tenants.installs.all();
    let of_it = all.iter().map(|(_, install)| &**install);
    let of_it = of_it.filter(|install| install.spec.extension == facts.install.spec.extension);
    let version = &resolved.version;
    let (because, after) = match context.rollout.begin(&facts.install, &resolved.published, of_it, now) {
        Ok(()) => return None,
        Err(NotNow::Full(at)) => (
            Because::new(
                "RolloutPaced",
                format!("version {version} is taken when it is this install's turn"),
            ),
            until(at, now),
        ),
        Err(NotNow::Halted(failed, tried)) => {
            let message = format!(
                "version {version} is not taken by itself any more, because {failed} of {tried} upgrades to it have failed; set \
                 spec.version to ask for it"
            );
            (Because::new("RolloutHalted", message), RESYNC)
        }
    };
    facts.pinned = Some(Pinned { to: kept_meanwhile(facts, ledger)?, because });
    Some(after.max(Duration::from_secs(1)))
}

/// What an Install gets that has to wait for a newer version: what is on its way, where that still may be installed, or what is installed.
fn kept_meanwhile(facts: &Facts, ledger: &Ledger) -> Option<String> {
    let on_its_way = ledger.flow().filter(|_| ledger.runs()).and_then(|flow| flow.to.clone());
    let requirement = parse_requirement(&facts.install.spec.version).ok()?;
    let may_be = |number: &String| {
        let is_there =
            facts.versions.iter().any(|version| version.spec.version == *number && !version.spec.yanked);
        is_there && number.parse().is_ok_and(|number| requirement.matches(&number))
    };
    let installed = || facts.install.status.as_ref()?.installed_version.clone();
    on_its_way.filter(may_be).or_else(installed)
}

/// Makes the Installs that this one needs, and says so.
async fn install_along(
    context: &Context,
    writer: &Writer<'_>,
    facts: &Facts,
    needs: &Needs,
) -> Result<Because, WriteError> {
    let installs = match along(context, facts, needs) {
        Ok(installs) => installs,
        Err(because) => return Ok(because),
    };
    let (mut made, mut waits) = (Vec::new(), Vec::new());
    for install in installs {
        match in_its_way(context, facts, &install) {
            InItsWay::Nothing => {}
            InItsWay::MadeAlong => {
                made.push(format!("{} {}", install.spec.extension, install.spec.version));
                continue;
            }
            InItsWay::Another(why) => {
                waits.push(why);
                continue;
            }
        }
        match writer.create(&install).await {
            Ok(()) => {
                tracing::info!(install = %facts.key, extension = install.spec.extension, "installed along")
            }
            // It was made a moment ago, and is not in the index yet; or the name is another's, and what is missing is told again.
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error),
        }
        made.push(format!("{} {}", install.spec.extension, install.spec.version));
    }
    if made.is_empty() && !waits.is_empty() {
        return Ok(Because::new("DependencyNotReady", waits.join("; ")));
    }
    let along = format!("what it needs is installed along: {}", made.join(", "));
    let told: Vec<String> = [along].into_iter().chain(waits).collect();
    Ok(Because::new("InstallingDependencies", told.join("; ")))
}

/// Whether all is there that has to be before anybody is answered by a new content.
enum Readied {
    Yes,
    /// And the runner said so of this very content, just now.
    Shown,
    NotYet(Because, Next),
}

/// What has to be there before anybody is answered by the new content: a runner that can execute it, and its modules enabled.
async fn ready_it(
    context: &Context,
    writer: &Writer<'_>,
    facts: &mut Facts,
    resolved: &Resolved,
    runner: &RunnerReference,
    ledger: &mut Ledger,
) -> Result<Readied, Stopped> {
    let (shown, called) = match prepared(context, facts, resolved, runner, ledger).await {
        Ok(shown) => {
            comes_to(&facts.install, ledger, &StageName::DomainMapping).await?;
            (shown, call_all(context, writer, facts, resolved, runner, ledger).await?)
        }
        Err(called) => (false, called),
    };
    Ok(match called {
        Called::Done if shown => Readied::Shown,
        Called::Done => Readied::Yes,
        Called::Waits(because, at) => {
            let next = at.map_or(Next::Retry, |at| Next::Resync(until(at, Timestamp::now())));
            Readied::NotYet(because, next)
        }
        Called::Failed(because) => {
            ledger.fails(&because, facts.install.spec.on_failure, false, Timestamp::now());
            Readied::NotYet(because, Next::Resync(Duration::ZERO))
        }
    })
}

/// Writes down how far the flow is, if that says anything new: an effect is about to rely on it.
async fn record(
    context: &Context,
    writer: &Writer<'_>,
    facts: &mut Facts,
    ledger: &Ledger,
) -> Result<(), WriteError> {
    let status = recorded(context, facts, ledger);
    write(writer, facts, status).await
}

/// The same before an extension is called, whether or not it says anything new: a pass that began with what is not true any more ends
/// here, with a conflict, instead of calling once more what was called.
pub(super) async fn record_call(
    context: &Context,
    writer: &Writer<'_>,
    facts: &mut Facts,
    ledger: &Ledger,
) -> Result<(), WriteError> {
    let status = recorded(context, facts, ledger);
    facts.install = Arc::new(writer.status(&facts.install, status).await?);
    Ok(())
}

fn recorded(context: &Context, facts: &Facts, ledger: &Ledger) -> InstallStatus {
    let mut status =
        InstallStatus { routes: context.routes.of(&facts.key), ..recorded_status(&facts.install) };
    ledger.write(&mut status);
    status
}

/// Whether two places are one cluster, so that the mapping which was made through the former keeps this one from getting ready.
fn is_in_its_own_way(context: &Context, facts: &Facts, place: &Place, host: &HostName) -> bool {
    let (uid, others) = (facts.install.uid().unwrap_or_default(), others(context, &facts.key));
    let whose = Tenancy { cluster: &facts.key.cluster, install: &uid, others: &others };
    place.is_mapped_elsewhere(whose, host)
}

fn recorded_status(install: &Install) -> InstallStatus {
    install.status.clone().unwrap_or_default()
}

/// The status that says where something is about to be made, so that whatever happens next it is known where to remove it.
fn with_place(context: &Context, facts: &Facts, place: &Place) -> InstallStatus {
    let mut status = recorded_status(&facts.install);
    let reference = place.reference(&facts.key.cluster);
    if let Some(left) = context.left.lock().get_mut(&facts.install.uid().unwrap_or_default()) {
        // It is back.
        left.retain(|other| *other != reference);
    }
    if !recorded_places(&facts.install).contains(&reference) {
        status.places.push(reference);
    }
    status
}

/// Writes a status in the middle of a flow, if it says anything new: an effect is about to rely on it.
async fn write(writer: &Writer<'_>, facts: &mut Facts, status: InstallStatus) -> Result<(), WriteError> {
    if facts.install.status.as_ref() != Some(&status) {
        facts.install = Arc::new(writer.status(&facts.install, status).await?);
    }
    Ok(())
}

/// The clusters that the Install has left for good are not followed for it any longer.
fn close_left(context: &Context, key: &ObjectKey, install: &Install, places: &[PlaceReference]) {
    let left = recorded_places(install).iter().filter(|place| !places.contains(place));
    for name in left.filter_map(|place| place.environment.clone()) {
        let environment = ObjectKey { name, ..key.clone() };
        let used = places.iter().any(|place| place.environment.as_deref() == Some(&environment.name));
        if !used && context.installs_naming(&environment).iter().all(|other| other == key) {
            context.close_place(&environment, Some(key));
        }
    }
}

/// Makes the Install the host's holder, or says who is. The former host is kept.
fn hold_host(context: &Context, facts: &Facts, host: &HostName) -> Result<(), ObjectKey> {
    let recorded = recorded_host(&facts.install).as_ref() == Some(host);
    let verdict = context.host_claims.claim(host, &facts.key, rank(&facts.install, !recorded));
    context.wake(verdict.wake);
    if verdict.holder != facts.key {
        return Err(verdict.holder);
    }
    Ok(())
}

/// What was refused is a change; what is installed goes on answering, if its host is still its own.
pub(super) fn keep_answering(context: &Context, facts: &Facts) -> Recorded {
    let (key, install) = (&facts.key, &facts.install);
    let held = recorded_host(install).filter(|host| context.host_claims.holds(host, key));
    match held.clone().zip(route_of_status(&context.catalog, key, install)) {
        Some((host, identity)) => {
            context.routes.set(key, &host, identity);
            Recorded::Answers
        }
        None => {
            silence(context, key);
            if held.is_some() { Recorded::Silent } else { Recorded::Lost }
        }
    }
}

fn release_unused(context: &Context, facts: &Facts) {
    let (key, resource) = (&facts.key, (facts.key.cluster.clone(), facts.install.spec.extension.clone()));
    if context.extension_claims.holds(&resource, key) {
        context.wake(context.extension_claims.release(key));
    }
}

#[cfg(test)]
mod tests;

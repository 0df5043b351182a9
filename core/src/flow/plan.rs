//! The stages between what is there and what is wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::held::{Effect, Held, Module, Place};
use crate::{ContentHash, HostName};

/// What is wanted of an install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// It answers.
    Installed {
        /// Where it runs.
        place: Place,
        /// Where it answers.
        host: HostName,
        /// With what.
        content: ContentHash,
        /// Its modules, without those that are deprecated, in the order in which they are called.
        modules: Vec<(String, Module)>,
    },
    /// It is not there.
    Gone {
        /// Nor is what it stored.
        purge: bool,
    },
}

/// What a flow does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A first install.
    Install,
    /// To another content.
    Upgrade,
    /// The same content once more, or elsewhere.
    Reprovision,
    /// An uninstall.
    Revoke,
}

/// A stage's name, as a status shows it. No two stages of a plan have the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StageName {
    /// Which version it is.
    Resolve,
    /// Whether its bytes are good.
    Verify,
    /// Whether what it needs is there.
    CheckDependencies,
    /// Whether nobody needs it any more.
    CheckDependents,
    /// Whether there may be one more.
    CheckQuota,
    /// The place.
    Environment,
    /// What runs there.
    Runner,
    /// The host name.
    DomainClaim,
    /// Where the host leads.
    DomainMapping,
    /// A module's handler.
    Lifecycle(String),
    /// What answers on the host.
    Publish,
    /// Modules that are there no more and are not called for it.
    Disable,
    /// What was there before, and is not needed any more.
    Former(Part),
    /// What it stored.
    Purge,
}

/// Of what there may be something left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Hosts that answer.
    Routes,
    /// Hosts that lead somewhere.
    Mappings,
    /// Host names.
    Claims,
    /// What runs.
    Runners,
    /// Places.
    Environments,
}

impl fmt::Display for StageName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lifecycle(module) => write!(formatter, "Lifecycle/{module}"),
            Self::Former(part) => formatter.write_str(match part {
                Part::Routes => "Withdraw",
                Part::Mappings => "RemoveDomainMapping",
                Part::Claims => "ReleaseDomainClaim",
                Part::Runners => "RemoveRunner",
                Part::Environments => "LeaveEnvironment",
            }),
            other => write!(formatter, "{other:?}"),
        }
    }
}

/// What is done at a time: begun, recorded, and done again when it was not heard how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Its name.
    pub name: StageName,
    /// What it changes, in this order.
    pub does: Vec<Effect>,
    /// Whether the flow has reached what was wanted before it: a failure from here on is tried again until it is none, and undoes nothing.
    pub is_settled: bool,
}

/// Which flow leads there; none where all is as it is wanted. `again`: also where it is.
#[must_use]
pub fn action(held: &Held, wanted: &Wanted, again: bool) -> Option<Action> {
    if plan(held, wanted, again).is_empty() {
        return None;
    }
    Some(match wanted {
        Wanted::Gone { .. } => Action::Revoke,
        Wanted::Installed { .. } if held.routes.is_empty() && held.modules.is_empty() => Action::Install,
        Wanted::Installed { content, .. } if held.routes.values().any(|answers| answers != content) => {
            Action::Upgrade
        }
        Wanted::Installed { .. } => Action::Reprovision,
    })
}

/// The stages from what is there to what is wanted, in their order; none where nothing is to be done. `again`: what is there is made once more,
/// but for modules, which are not called for it.
///
/// What is new is there before it answers, and what was there before goes on answering until then; only after that it is taken away. A revoke
/// goes the other way round: first nothing answers any more. Modules that are the same, by digest, are in no stage; those that are
/// not wanted any more are disabled last, without being called.
#[must_use]
pub fn plan(held: &Held, wanted: &Wanted, again: bool) -> Vec<Stage> {
    let goal = goal(held, wanted);
    match wanted {
        Wanted::Installed { modules, .. } => {
            let order: Vec<&str> = modules.iter().map(|(name, _)| name.as_str()).collect();
            let mut stages = make(held, &goal, again);
            // With what was made for the time of the flow alone.
            let held = &held.after(stages.iter().flat_map(|stage| &stage.does));
            stages.extend(lead(held, &goal, again));
            stages.extend(calls(held, &goal, &order, false));
            stages.extend(publish(held, &goal, again));
            let after =
                disable(held, &goal).into_iter().chain(withdraw(held, &goal)).chain(remove(held, &goal));
            stages.extend(after.map(|stage| Stage { is_settled: true, ..stage }));
            checked(&BEFORE_INSTALL, stages)
        }
        Wanted::Gone { .. } => {
            let mut stages: Vec<Stage> = withdraw(held, &goal).into_iter().collect();
            stages.extend(calls(held, &goal, &[], true).into_iter().rev());
            // While there is something left that can reach it.
            stages.extend(purge(held, &goal));
            stages.extend(remove(held, &goal));
            checked(&[StageName::CheckDependents], stages)
        }
    }
}

const BEFORE_INSTALL: [StageName; 4] =
    [StageName::Resolve, StageName::Verify, StageName::CheckDependencies, StageName::CheckQuota];

/// The stages from what is there now to what was there `before` a flow that failed: what it did is undone, in reverse. `order` is that of the
/// modules in the flow.
#[must_use]
pub fn rollback(before: &Held, now: &Held, order: &[&str]) -> Vec<Stage> {
    let mut stages = make(now, before, false);
    let now = &now.after(stages.iter().flat_map(|stage| &stage.does));
    stages.extend(publish(now, before, false));
    stages.extend(withdraw(now, before));
    stages.extend(calls(now, before, order, true).into_iter().rev());
    stages.extend(purge(now, before));
    stages.extend(lead(now, before, false));
    stages.extend(remove(now, before));
    stages
}

/// What is there when all is as it is wanted.
fn goal(held: &Held, wanted: &Wanted) -> Held {
    match wanted {
        Wanted::Gone { purge } => Held { data: held.data && !purge, ..Held::default() },
        Wanted::Installed { place, host, content, modules } => Held {
            places: [place.clone()].into(),
            runners: [(place.clone(), *content)].into(),
            claims: [host.clone()].into(),
            mappings: [(host.clone(), place.clone())].into(),
            modules: modules.iter().cloned().collect(),
            routes: [(host.clone(), *content)].into(),
            data: true,
        },
    }
}

fn checked(checks: &[StageName], stages: Vec<Stage>) -> Vec<Stage> {
    if stages.is_empty() {
        return stages;
    }
    let checks = checks.iter().filter_map(|name| stage(name.clone(), [Effect::Check]));
    checks.chain(stages).collect()
}

fn stage(name: StageName, does: impl IntoIterator<Item = Effect>) -> Option<Stage> {
    let does: Vec<Effect> = does.into_iter().collect();
    (!does.is_empty()).then_some(Stage { name, does, is_settled: false })
}

/// Those of `to` that are not in `from`, or all of them.
fn new<'a, T: Ord>(from: &BTreeSet<T>, to: &'a BTreeSet<T>, again: bool) -> impl Iterator<Item = &'a T> {
    to.iter().filter(move |one| again || !from.contains(one))
}

/// The same by key: those that are not there, or are something else.
fn changed<'a, K: Ord, V: PartialEq>(
    from: &BTreeMap<K, V>,
    to: &'a BTreeMap<K, V>,
    again: bool,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    to.iter().filter(move |(key, value)| again || from.get(key) != Some(value))
}

fn lost<'a, K: Ord, V>(
    from: &'a BTreeMap<K, V>,
    to: &BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    from.iter().filter(|(key, _)| !to.contains_key(key))
}

/// All that has to be there before a host leads to it.
fn make(from: &Held, to: &Held, again: bool) -> Vec<Stage> {
    let places = new(&from.places, &to.places, again).cloned().map(Effect::Prepare);
    // Where a host is about to lead elsewhere, what answers on it now goes on there until something else does.
    let moving = changed(&from.mappings, &to.mappings, false)
        .filter_map(|(host, place)| Some((place.clone(), *from.routes.get(host)?)));
    let wanted: BTreeSet<_> = to.runners.iter().cloned().chain(moving).collect();
    let runners = new(&from.runners, &wanted, again).cloned();
    let runners: Vec<_> = runners.map(|(place, content)| Effect::Start(place, content)).collect();
    let claims = new(&from.claims, &to.claims, again).cloned().map(Effect::Claim);
    [
        stage(StageName::Environment, places),
        stage(StageName::Runner, runners),
        stage(StageName::DomainClaim, claims),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn lead(from: &Held, to: &Held, again: bool) -> Option<Stage> {
    let mappings = changed(&from.mappings, &to.mappings, again);
    stage(StageName::DomainMapping, mappings.map(|(host, place)| Effect::Map(host.clone(), place.clone())))
}

/// The calls of modules that are new or another; with `all`, also of those that go.
fn calls(from: &Held, to: &Held, order: &[&str], all: bool) -> Vec<Stage> {
    let purge = from.data && !to.data;
    let call = |name: &String| Effect::Call {
        module: name.clone(),
        from: from.modules.get(name).cloned(),
        to: to.modules.get(name).cloned(),
        purge,
    };
    let mut names: Vec<&String> = changed(&from.modules, &to.modules, false).map(|(name, _)| name).collect();
    if all {
        names.extend(lost(&from.modules, &to.modules).map(|(name, _)| name));
    }
    names.sort_by_key(|name| (order.iter().position(|other| other == name).unwrap_or(usize::MAX), *name));
    names.into_iter().filter_map(|name| stage(StageName::Lifecycle(name.clone()), [call(name)])).collect()
}

fn publish(from: &Held, to: &Held, again: bool) -> Option<Stage> {
    let routes = changed(&from.routes, &to.routes, again);
    stage(StageName::Publish, routes.map(|(host, content)| Effect::Publish(host.clone(), *content)))
}

fn disable(from: &Held, to: &Held) -> Option<Stage> {
    let gone = lost(&from.modules, &to.modules);
    stage(StageName::Disable, gone.map(|(name, _)| Effect::Disable(name.clone())))
}

fn withdraw(from: &Held, to: &Held) -> Option<Stage> {
    let routes = lost(&from.routes, &to.routes);
    stage(StageName::Former(Part::Routes), routes.map(|(host, _)| Effect::Withdraw(host.clone())))
}

/// All that was there and is not needed any more, once nothing answers there.
fn remove(from: &Held, to: &Held) -> Vec<Stage> {
    let mappings = lost(&from.mappings, &to.mappings).map(|(host, _)| Effect::Unmap(host.clone()));
    let claims = new(&to.claims, &from.claims, false).cloned().map(Effect::Release);
    let runners = new(&to.runners, &from.runners, false);
    let runners = runners.map(|(place, content)| Effect::Stop(place.clone(), *content));
    let places = new(&to.places, &from.places, false).cloned().map(Effect::Leave);
    [
        stage(StageName::Former(Part::Mappings), mappings),
        stage(StageName::Former(Part::Claims), claims),
        stage(StageName::Former(Part::Runners), runners),
        stage(StageName::Former(Part::Environments), places),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn purge(from: &Held, to: &Held) -> Option<Stage> {
    stage(StageName::Purge, (from.data && !to.data).then_some(Effect::Purge))
}

//! A pass comes to a stage of a flow.

#[cfg(not(feature = "fault-injection"))]
use std::future::{Ready, ready};

use annex_apis::Install;
use annex_core::flow::StageName;
use jiff::Timestamp;

#[cfg(feature = "fault-injection")]
use super::faults::meet;
use super::ledger::Ledger;
use crate::conditions::Because;

/// Where in a stage a fault can be made to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::install) enum Moment {
    /// It has not begun.
    Before,
    /// It has begun, and what it does is not done.
    In,
    /// What it does is done, and nothing says so yet.
    After,
    /// It has failed, and nothing says so yet.
    Failed,
    /// It has failed, and what it did is about to be undone.
    Undo,
    /// Its module has been called back, and nothing says so yet.
    CalledBack,
}

/// Nothing happens: this is no program for tests.
#[cfg(not(feature = "fault-injection"))]
fn meet(_: &Install, _: &str, _: Moment) -> Ready<Result<(), Because>> {
    ready(Ok(()))
}

/// The pass comes to this stage, where the flow has it. What it was at before is done. The error is why a stage has failed.
pub(in crate::install) async fn comes_to(
    install: &Install,
    ledger: &mut Ledger,
    stage: &StageName,
) -> Result<(), Because> {
    begins(install, ledger, stage).await?;
    is_in(install, ledger, stage).await
}

/// The pass comes to these, one after the other.
pub(in crate::install) async fn comes_to_all(
    install: &Install,
    ledger: &mut Ledger,
    stages: &[StageName],
) -> Result<(), Because> {
    for stage in stages {
        comes_to(install, ledger, stage).await?;
    }
    Ok(())
}

/// The pass comes to the first of these that the flow has, and does what all of them do.
pub(in crate::install) async fn comes_to_first(
    install: &Install,
    ledger: &mut Ledger,
    stages: &[StageName],
) -> Result<(), Because> {
    match stages.iter().find(|stage| ledger.stage(stage).is_some()) {
        Some(stage) => comes_to(install, ledger, stage).await,
        None => Ok(()),
    }
}

/// The same, where the caller says itself when it is in the middle of the stage.
pub(in crate::install) async fn begins(
    install: &Install,
    ledger: &mut Ledger,
    stage: &StageName,
) -> Result<(), Because> {
    if ledger.has_before_it(stage) {
        has_done(install, ledger).await?;
        meet(install, &stage.to_string(), Moment::Before).await?;
        ledger.enter(stage, Timestamp::now());
    }
    Ok(())
}

/// The pass is in the middle of this stage, if the flow is at it.
pub(in crate::install) async fn is_in(
    install: &Install,
    ledger: &Ledger,
    stage: &StageName,
) -> Result<(), Because> {
    if ledger.is_in(stage) { meet(install, &stage.to_string(), Moment::In).await } else { Ok(()) }
}

/// The pass is in the middle of whatever stage the flow is at.
pub(in crate::install) async fn is_in_any(install: &Install, ledger: &Ledger) -> Result<(), Because> {
    match ledger.in_progress() {
        Some(stage) => meet(install, stage, Moment::In).await,
        None => Ok(()),
    }
}

/// The pass has done what the stage does that the flow is at.
pub(in crate::install) async fn has_done(install: &Install, ledger: &Ledger) -> Result<(), Because> {
    match ledger.in_progress() {
        Some(stage) => meet(install, stage, Moment::After).await,
        None => Ok(()),
    }
}

/// A stage has failed, and that is about to be written down, or undone.
pub(in crate::install) async fn has_failed(install: &Install, ledger: &Ledger, moment: Moment) {
    if let Some(stage) = ledger.failed_stage() {
        // It cannot fail any more than that.
        drop(meet(install, stage, moment).await);
    }
}

/// A module has been called back by a flow that has failed, and nothing says so yet.
pub(in crate::install) async fn was_called_back(install: &Install, ledger: &Ledger, stage: &StageName) {
    if ledger.undoes() {
        // What was done cannot fail any more.
        drop(meet(install, &stage.to_string(), Moment::CalledBack).await);
    }
}

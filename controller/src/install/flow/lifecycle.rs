//! The stages in which a runner has a part: a content is prepared, and the handlers of modules are called.

use std::time::Duration;

use annex_apis::{EnabledModule, ExtensionVersion, RunnerReference, modules_of};
use annex_core::{InstallIdentity, flow::StageName};
use jiff::Timestamp;
use rand::Rng as _;

use super::{
    ledger::{LAST_AGAIN, Ledger},
    step::{begins, has_done, is_in, was_called_back},
    target::changed,
};
use crate::{
    api_writes::WriteError,
    conditions::Because,
    context::Context,
    handlers::{Callee, Change, NotDone},
    install::{facts::Facts, reconcile::record_call, resolve::Resolved, writes::Writer},
};

/// A handler that failed is called again after this, and after twice as long each time.
const FIRST_AGAIN: Duration = Duration::from_secs(1);
/// So long a pass may call handlers before what they did is written down.
const UNWRITTEN: jiff::SignedDuration = jiff::SignedDuration::from_secs(5);

/// So long a pass may call handlers at all: a reconcile that takes much longer is given up, with what it did not write down.
const IN_A_PASS: jiff::SignedDuration = jiff::SignedDuration::from_secs(40);

/// What became of the calls of a pass.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::install) enum Called {
    /// All that had to be called has been.
    Done,
    /// Not yet: not before this time, or with backoff.
    Waits(Because, Option<Timestamp>),
    /// One has failed for good.
    Failed(Because),
}

/// Has the runner ready for the content, as far as it executes anything, while a flow is at the stage Runner. True: the runner said so, just
/// now. The error is what has become of it otherwise.
pub(in crate::install) async fn prepared(
    context: &Context,
    facts: &Facts,
    resolved: &Resolved,
    runner: &RunnerReference,
    ledger: &Ledger,
) -> Result<bool, Called> {
    let is_due = ledger.is_at(&StageName::Runner) && resolved.verified && executes(&resolved.published);
    let Some(handlers) = context.handlers.as_ref().filter(|_| is_due) else { return Ok(false) };
    match handlers.prepare(&callee(facts, &resolved.identity, &resolved.published, runner)).await {
        Ok(()) => Ok(true),
        // Where nobody can call it, there is nothing to prepare.
        Err(NotDone::NoWay(_)) => Ok(false),
        Err(NotDone::Away(message) | NotDone::Unheard(message)) => {
            Err(Called::Waits(Because::new("RunnerUnavailable", message), None))
        }
        Err(NotDone::Failed { reason, message, .. }) => Err(Called::Failed(Because::new(
            reason,
            format!("version {} cannot be executed: {message}", resolved.version),
        ))),
    }
}

fn executes(version: &ExtensionVersion) -> bool {
    !version.spec.endpoints.is_empty() || version.spec.lifecycle.is_some()
}

fn callee<'a>(
    facts: &'a Facts,
    identity: &'a InstallIdentity,
    version: &'a ExtensionVersion,
    runner: &'a RunnerReference,
) -> Callee<'a> {
    let install = &facts.install;
    Callee {
        runner,
        identity,
        install: install.metadata.uid.as_deref().unwrap_or_default(),
        version,
        granted: install.spec.granted_capabilities.as_deref(),
        memory_mib: facts.memory_mib(version),
        config: facts.config(version),
    }
}

/// Calls the handlers of all modules that are not enabled yet, or are enabled in another version, in the order of the manifest. While no
/// flow is under way there are none.
pub(in crate::install) async fn call_all(
    context: &Context,
    writer: &Writer<'_>,
    facts: &mut Facts,
    resolved: &Resolved,
    runner: &RunnerReference,
    ledger: &mut Ledger,
) -> Result<Called, WriteError> {
    if !ledger.runs() {
        return Ok(Called::Done);
    }
    let (before, wanted) = (ledger.modules().to_vec(), modules_of(&resolved.published));
    let (mut written, began) = (None, Timestamp::now());
    let lifecycle = resolved.published.spec.lifecycle.clone().unwrap_or_default();
    for (former, module) in changed(&before, &wanted) {
        let stage = StageName::Lifecycle(module.name.clone());
        let now = Timestamp::now();
        if now.duration_since(began) > IN_A_PASS {
            return Ok(go_on(now));
        }
        if let Err(because) = begins(&facts.install, ledger, &stage).await {
            return Ok(Called::Failed(because));
        }
        let (action, handler) = match former {
            None => ("install", lifecycle.install.as_deref()),
            Some(_) => ("upgrade", lifecycle.upgrade.as_deref()),
        };
        if let Some(handler) = handler {
            let change = Change {
                action,
                module: &module.name,
                from: former.map(|former| former.version.as_str()),
                to: Some(&module.version),
                purge: false,
            };
            let (identity, version) = (&resolved.identity, &*resolved.published);
            let turn = Turn { stage: &stage, handler, change, identity, version, runner };
            match turn.take(context, writer, facts, ledger, &mut written).await? {
                Taken::Done => {}
                Taken::Waits(because, at) => return Ok(Called::Waits(because, at)),
                Taken::Away(because) => return Ok(Called::Waits(because, None)),
                Taken::Failed(because) => return Ok(Called::Failed(because)),
            }
        }
        ledger.called(&module.name, Some(module));
    }
    Ok(Called::Done)
}

/// Calls the handlers that undo what those of the modules did that are enabled now and were not, or in another version, `before`: in
/// reverse order. `version` is the one whose handlers know of both. Where a handler has failed for good, its stage says so, and the others
/// are called all the same.
pub(in crate::install) async fn call_back(
    context: &Context,
    writer: &Writer<'_>,
    facts: &mut Facts,
    of: &Undoing<'_>,
    ledger: &mut Ledger,
) -> Result<Called, WriteError> {
    let now_enabled = ledger.modules().to_vec();
    let lifecycle = of.version.spec.lifecycle.clone().unwrap_or_default();
    let (mut written, began) = (None, Timestamp::now());
    let called: Vec<_> = changed(of.before, &now_enabled).collect();
    for (former, module) in called.into_iter().rev() {
        let stage = StageName::Lifecycle(module.name.clone());
        let now = Timestamp::now();
        if now.duration_since(began) > IN_A_PASS {
            return Ok(go_on(now));
        }
        ledger.will_call_back(&stage, now);
        if let Err(because) = begins(&facts.install, ledger, &stage).await {
            return Ok(Called::Waits(because, None));
        }
        let (action, handler) = match former {
            None => ("uninstall", lifecycle.uninstall.as_deref()),
            Some(_) => ("upgrade", lifecycle.upgrade.as_deref()),
        };
        // Whether it has handlers that would have had something to do, nobody knows any more.
        let mut failed = of.is_withdrawn.then(|| {
            let message = format!("the catalog does not have the version any more whose handlers know the module {}, and none was called", module.name);
            Because::new("VersionWithdrawn", message)
        });
        if let Some(handler) = handler {
            let change = Change {
                action,
                module: &module.name,
                from: Some(&module.version),
                to: former.map(|former| former.version.as_str()),
                purge: of.purge,
            };
            let (identity, version, runner) = (of.identity, of.version, of.runner);
            let turn = Turn { stage: &stage, handler, change, identity, version, runner };
            match turn.take(context, writer, facts, ledger, &mut written).await? {
                Taken::Done => {}
                Taken::Waits(because, at) => return Ok(Called::Waits(because, at)),
                // Nobody is kept waiting for ever for an extension that has to go.
                Taken::Away(because) if of.gives_up => failed = Some(because),
                Taken::Away(because) => return Ok(Called::Waits(because, None)),
                Taken::Failed(because) => failed = Some(because),
            }
        }
        if let Err(because) = has_done(&facts.install, ledger).await {
            return Ok(Called::Waits(because, None));
        }
        was_called_back(&facts.install, ledger, &stage).await;
        // What could not be undone is not called again: it is as it is.
        ledger.called(&module.name, former);
        ledger.undone(&stage, failed.as_ref(), Timestamp::now());
    }
    Ok(Called::Done)
}

/// What is undone, and by whom.
#[derive(Clone, Copy, Debug)]
pub(in crate::install) struct Undoing<'a> {
    /// The modules that are to be enabled afterwards.
    pub(in crate::install) before: &'a [EnabledModule],
    /// The content whose handlers are called.
    pub(in crate::install) identity: &'a InstallIdentity,
    pub(in crate::install) version: &'a ExtensionVersion,
    /// The catalog does not have that version any more.
    pub(in crate::install) is_withdrawn: bool,
    pub(in crate::install) runner: &'a RunnerReference,
    /// What is stored is going to be removed.
    pub(in crate::install) purge: bool,
    /// It has waited for so long that a runner which cannot be asked is not waited for any longer.
    pub(in crate::install) gives_up: bool,
}

/// Has everything removed that the extension stored.
pub(in crate::install) async fn purge(context: &Context, facts: &Facts, of: &Undoing<'_>) -> Called {
    let Some(handlers) = &context.handlers else { return Called::Done };
    match handlers.purge(&callee(facts, of.identity, of.version, of.runner)).await {
        // Where the platform calls nobody, it has kept nothing for anybody.
        Ok(()) | Err(NotDone::NoWay(_)) => Called::Done,
        Err(NotDone::Away(message) | NotDone::Unheard(message) | NotDone::Failed { message, .. }) => {
            Called::Waits(
                Because::new("StorageNotRemoved", format!("what it stored to be removed: {message}")),
                None,
            )
        }
    }
}

/// The next pass does the rest, at once.
fn go_on(now: Timestamp) -> Called {
    Called::Waits(
        Because::new("CallingHandlers", "the handlers of the other modules are called next"),
        Some(now),
    )
}

/// One handler's turn to be called.
struct Turn<'a> {
    stage: &'a StageName,
    handler: &'a str,
    change: Change<'a>,
    identity: &'a InstallIdentity,
    version: &'a ExtensionVersion,
    runner: &'a RunnerReference,
}

/// What became of it.
enum Taken {
    Done,
    /// It is not called now: not before this time.
    Waits(Because, Option<Timestamp>),
    /// It cannot be called, which is no fault of the extension's and not counted.
    Away(Because),
    /// For good.
    Failed(Because),
}

impl Turn<'_> {
    /// Calls the handler, if it is time. `written` is when in this pass it was last written down that handlers are being called.
    async fn take(
        &self,
        context: &Context,
        writer: &Writer<'_>,
        facts: &mut Facts,
        ledger: &mut Ledger,
        written: &mut Option<Timestamp>,
    ) -> Result<Taken, WriteError> {
        let now = Timestamp::now();
        if let Some((because, at)) = not_yet(ledger, self.stage, now) {
            return Ok(Taken::Waits(because, Some(at)));
        }
        // Before an effect outside. What follows within moments is written with it: handlers may be called twice. Not so where a flow is
        // undone: something else may be asked for at any time, and then it matters whom it has come to.
        if ledger.undoes() || written.is_none_or(|written| now.duration_since(written) > UNWRITTEN) {
            ledger.calls(self.stage, now);
            record_call(context, writer, facts, ledger).await?;
            *written = Some(now);
        }
        if let Err(because) = is_in(&facts.install, ledger, self.stage).await {
            return Ok(Taken::Failed(because));
        }
        let asked = self.ask(context, facts).await;
        let tried = ledger.stage(self.stage).map_or(0, |stage| stage.retries);
        Ok(match verdict(asked, (tried, facts.install.spec.retries), self.handler, &self.change) {
            Verdict::Done => Taken::Done,
            Verdict::Away(because) => {
                ledger.was_not_called(self.stage, &because);
                Taken::Away(because)
            }
            Verdict::Unheard(because) => Taken::Away(because),
            Verdict::Again(because, after) => {
                let at = ledger.tries_again(self.stage, &because, after, Timestamp::now());
                Taken::Waits(because, at)
            }
            Verdict::Failed(because) => Taken::Failed(because),
        })
    }

    async fn ask(&self, context: &Context, facts: &Facts) -> Result<(), NotDone> {
        let Some(handlers) = &context.handlers else {
            return Err(NotDone::NoWay(
                "the platform is not set up to call extensions when they are installed".to_owned(),
            ));
        };
        let callee = callee(facts, self.identity, self.version, self.runner);
        handlers.call(&callee, self.handler, &self.change).await
    }
}

/// The handler is not called before the time that was set when it last failed: which, and why it failed.
fn not_yet(ledger: &Ledger, stage: &StageName, now: Timestamp) -> Option<(Because, Timestamp)> {
    let stage = ledger.stage(stage)?;
    let at = stage.next_try_at.as_ref().map(|at| at.0).filter(|at| *at > now)?;
    let because = Because {
        reason: stage.reason.clone().unwrap_or_default().into(),
        message: stage.message.clone().unwrap_or_default(),
    };
    Some((because, at))
}

/// What to make of an answer.
#[derive(Debug, PartialEq)]
enum Verdict {
    Done,
    /// It is no fault of the extension's, and not counted.
    Away(Because),
    /// The same, but it may have been done.
    Unheard(Because),
    Again(Because, Duration),
    Failed(Because),
}

fn verdict(
    asked: Result<(), NotDone>,
    (tried, retries): (i32, i32),
    handler: &str,
    change: &Change<'_>,
) -> Verdict {
    let said = |what: &str, message: &str| {
        format!("the {} handler {handler} of the module {} {what}: {message}", change.action, change.module)
    };
    match asked {
        Ok(()) => Verdict::Done,
        Err(NotDone::Away(message)) => {
            Verdict::Away(Because::new("RunnerUnavailable", said("cannot be called", &message)))
        }
        Err(NotDone::Unheard(message)) => {
            Verdict::Unheard(Because::new("RunnerUnavailable", said("was not heard of", &message)))
        }
        Err(NotDone::NoWay(message)) => {
            Verdict::Away(Because::new("RunnerNotReachable", said("cannot be called", &message)))
        }
        Err(NotDone::Failed { message, for_good, .. }) => {
            let because = Because::new("LifecycleFailed", said("failed", &message));
            match for_good || tried >= retries {
                true => Verdict::Failed(because),
                false => Verdict::Again(because, backoff(tried)),
            }
        }
    }
}

/// Shortened at random, so that many that failed at once do not come back at once.
fn backoff(tried: i32) -> Duration {
    let doubled = FIRST_AGAIN.saturating_mul(1 << tried.clamp(0, 6));
    doubled.min(LAST_AGAIN).mul_f64(rand::rng().random_range(0.5..=1.0))
}

use serde_json::{Value, json};

use super::*;
use crate::install::flow::target::changed;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn hash(number: u8) -> String {
    format!("sha256:{}", format!("{number:02x}").repeat(32))
}

fn install(status: Value) -> Install {
    serde_json::from_value(json!({
        "apiVersion": "annex.sh/v1alpha1", "kind": "Install",
        "metadata": { "name": "hello", "namespace": "default", "uid": "u", "generation": 1 },
        "spec": { "extension": "com.example.hello" }, "status": status,
    }))
    .unwrap()
}

fn module(name: &str, number: u8) -> EnabledModule {
    EnabledModule { name: name.to_owned(), version: format!("1.{number}.0"), digest: hash(number) }
}

fn wants(number: u8, modules: &[EnabledModule]) -> Wants {
    let content: annex_core::ContentHash = hash(number).parse().unwrap();
    let parsed = |module: &EnabledModule| annex_core::flow::Module {
        version: module.version.clone(),
        digest: module.digest.parse().unwrap(),
    };
    Wants {
        wanted: Wanted::Installed {
            place: "direct".to_owned(),
            host: "acme--hello.apps.test".parse().unwrap(),
            content,
            modules: modules.iter().map(|module| (module.name.clone(), parsed(module))).collect(),
        },
        target: FlowTarget {
            content_hash: hash(number),
            host: "acme--hello.apps.test".to_owned(),
            place: "direct".to_owned(),
        },
        version: format!("1.{number}.0"),
        again: None,
    }
}

/// The Install once `number` is installed with these modules, by a flow that went as it should.
fn installed(number: u8, modules: &[EnabledModule]) -> Install {
    let mut install = install(json!({}));
    let mut ledger = Ledger::of(&install);
    assert_eq!(ledger.course(&wants(number, modules), at(0)), Course::Runs);
    reach(&mut ledger, modules);
    written(&mut install, &ledger, number);
    install
}

fn reach(ledger: &mut Ledger, modules: &[EnabledModule]) {
    for module in modules {
        ledger.enter(&StageName::Lifecycle(module.name.clone()), at(1));
        ledger.called(&module.name, Some(module));
    }
    ledger.enter(&StageName::Publish, at(2));
    ledger.reached(modules.to_vec(), at(3));
    ledger.finishes(at(3));
}

fn written(install: &mut Install, ledger: &Ledger, number: u8) {
    let mut status = install.status.clone().unwrap_or_default();
    status.installed_version = Some(format!("1.{number}.0"));
    status.content_hash = Some(hash(number));
    status.host = Some("acme--hello.apps.test".to_owned());
    status.runner_ref = Some(annex_apis::RunnerReference { mode: "direct".to_owned(), ..Default::default() });
    ledger.write(&mut status);
    install.status = Some(status);
}

/// As the next pass finds it.
fn kept(install: &mut Install, ledger: &Ledger) {
    let mut status = install.status.clone().unwrap_or_default();
    ledger.write(&mut status);
    install.status = Some(status);
}

fn stages(ledger: &Ledger) -> Vec<(&str, StageStatus)> {
    let flow = ledger.flow().unwrap();
    flow.stages.iter().map(|stage| (stage.name.as_str(), stage.status)).collect()
}

fn state(ledger: &Ledger, name: &str) -> StageStatus {
    stages(ledger).into_iter().find(|(stage, _)| *stage == name).unwrap().1
}

#[test]
fn a_flow_is_recorded_from_its_first_stage_to_its_end_and_then_there_is_none() {
    let modules = [module("a", 1), module("b", 1)];
    let install = installed(1, &modules);
    let status = install.status.clone().unwrap();
    let flow = status.flow.unwrap();
    assert_eq!((flow.action, flow.status), (FlowAction::Install, StageStatus::Finished));
    assert!(flow.stages.iter().all(|stage| stage.status == StageStatus::Finished), "{flow:?}");
    assert_eq!(status.modules, modules);
    assert_eq!(flow.modules, None);
    assert_eq!(status.history.len(), 1);
    assert_eq!(status.history[0].to.as_deref(), Some("1.1.0"));
    assert_eq!(Ledger::of(&install).course(&wants(1, &modules), at(10)), Course::Kept);
}

#[test]
fn an_upgrade_has_stages_for_what_changes_alone() {
    let install = installed(1, &[module("a", 1), module("b", 1), module("old", 1)]);
    let modules = [module("a", 1), module("b", 2)];
    let mut ledger = Ledger::of(&install);
    assert_eq!(ledger.course(&wants(2, &modules), at(10)), Course::Runs);
    let names: Vec<&str> = stages(&ledger).into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "Resolve",
            "Verify",
            "CheckDependencies",
            "CheckQuota",
            "Runner",
            "Lifecycle/b",
            "Publish",
            "Disable",
            "RemoveRunner"
        ]
    );
    assert_eq!(ledger.flow().unwrap().action, FlowAction::Upgrade);
    assert_eq!(ledger.flow().unwrap().from.as_deref(), Some("1.1.0"));
}

#[test]
fn a_pass_that_begins_anew_leaves_what_is_done_as_it_is() {
    let modules = [module("a", 1)];
    let mut install = install(json!({}));
    let mut ledger = Ledger::of(&install);
    ledger.course(&wants(1, &modules), at(0));
    for stage in [StageName::Resolve, StageName::Verify, StageName::Runner] {
        ledger.enter(&stage, at(1));
    }
    ledger.waits(&Because::new("Waiting", "for a pod"));
    kept(&mut install, &ledger);
    let mut again = Ledger::of(&install);
    assert_eq!(again.course(&wants(1, &modules), at(5)), Course::Runs);
    for stage in [StageName::Resolve, StageName::Verify, StageName::Runner] {
        again.enter(&stage, at(6));
    }
    again.waits(&Because::new("Waiting", "for a pod"));
    assert_eq!(again.flow(), ledger.flow(), "a pass in which nothing happens writes nothing");
    again.enter(&StageName::Lifecycle("a".to_owned()), at(7));
    assert_eq!(state(&again, "Runner"), StageStatus::Finished);
    assert_eq!(state(&again, "Lifecycle/a"), StageStatus::InProgress);
    assert!(again.flow().unwrap().stages.iter().all(|stage| stage.reason.is_none()));
}

#[test]
fn what_failed_is_undone_and_not_begun_again_unasked() {
    let before = [module("a", 1), module("b", 1)];
    let mut install = installed(1, &before);
    let wanted = [module("a", 2), module("b", 2)];
    let mut ledger = Ledger::of(&install);
    ledger.course(&wants(2, &wanted), at(10));
    ledger.enter(&StageName::Lifecycle("a".to_owned()), at(11));
    ledger.called("a", Some(&wanted[0]));
    ledger.enter(&StageName::Lifecycle("b".to_owned()), at(12));
    ledger.fails(&Because::new("LifecycleFailed", "it said no"), OnFailure::Rollback, false, at(13));
    kept(&mut install, &ledger);
    assert_eq!(install.status.as_ref().unwrap().modules, before, "what is installed is what it was");

    let mut ledger = Ledger::of(&install);
    assert!(ledger.rolls_back().is_some());
    let modules = ledger.modules().to_vec();
    let back: Vec<_> = changed(&before, &modules).map(|(_, module)| module.name.clone()).collect();
    assert_eq!(back, ["a"], "only what was called is called back");
    ledger.called("a", Some(&before[0]));
    ledger.undone(&StageName::Lifecycle("a".to_owned()), None, at(14));
    ledger.rolled_back(at(15));
    kept(&mut install, &ledger);
    assert_eq!(state(&ledger, "Lifecycle/a"), StageStatus::Cancelled);
    assert_eq!(state(&ledger, "Lifecycle/b"), StageStatus::Failed);
    let record = &install.status.as_ref().unwrap().history[0];
    assert_eq!((record.status, record.reason.as_deref()), (StageStatus::Cancelled, Some("LifecycleFailed")));

    let again = |install: &Install| Ledger::of(install).course(&wants(2, &wanted), at(1_000_000));
    assert_eq!(again(&install), Course::Failed(Because::new("LifecycleFailed", "it said no"), None));
    assert_eq!(
        Ledger::of(&install).course(&wants(1, &before), at(20)),
        Course::Kept,
        "what is there is as it is wanted"
    );
    let mut asked = install.clone();
    asked.metadata.annotations = Some([(RETRY_ANNOTATION.to_owned(), "now".to_owned())].into());
    assert_eq!(again(&asked), Course::Runs);
    let mut changed = install.clone();
    changed.metadata.generation = Some(2);
    assert_eq!(again(&changed), Course::Runs);
    let mut another = Ledger::of(&install);
    assert_eq!(another.course(&wants(3, &[module("a", 3), module("b", 3)]), at(20)), Course::Runs);
}

#[test]
fn a_flow_that_took_too_long_begins_again_by_itself_later_and_later() {
    let mut install = install(json!({}));
    let mut began = at(0);
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let mut ledger = Ledger::of(&install);
        assert_eq!(ledger.course(&wants(1, &[module("a", 1)]), began), Course::Runs);
        ledger.enter(&StageName::Environment, began);
        ledger.fails(&Because::new("Timeout", "too long"), OnFailure::Rollback, true, began);
        ledger.rolled_back(began);
        kept(&mut install, &ledger);
        let Course::Failed(_, Some(next)) = Ledger::of(&install).course(&wants(1, &[module("a", 1)]), began)
        else {
            panic!("it is waited");
        };
        pauses.push(next.duration_since(began).as_secs());
        began = next;
    }
    assert!((300..=375).contains(&pauses[0]) && (600..=750).contains(&pauses[1]), "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause <= 4500), "{pauses:?}");
    assert_eq!(install.status.unwrap().history.len(), 5, "no more than are asked for");
}

#[test]
fn continue_leaves_what_was_done_and_the_next_flow_begins_there() {
    let mut install = install(json!({}));
    install.spec.on_failure = OnFailure::Continue;
    let wanted = [module("a", 1), module("b", 1)];
    let mut ledger = Ledger::of(&install);
    ledger.course(&wants(1, &wanted), at(0));
    ledger.enter(&StageName::Lifecycle("a".to_owned()), at(1));
    ledger.called("a", Some(&wanted[0]));
    ledger.enter(&StageName::Lifecycle("b".to_owned()), at(2));
    ledger.fails(&Because::new("LifecycleFailed", "no"), OnFailure::Continue, false, at(3));
    kept(&mut install, &ledger);
    assert!(Ledger::of(&install).rolls_back().is_none());
    assert_eq!(install.status.as_ref().unwrap().history[0].status, StageStatus::Failed);

    install.metadata.generation = Some(2);
    let mut next = Ledger::of(&install);
    assert_eq!(next.course(&wants(1, &wanted), at(9)), Course::Runs);
    let names: Vec<&str> = stages(&next).into_iter().map(|(name, _)| name).collect();
    assert!(!names.contains(&"Lifecycle/a") && names.contains(&"Lifecycle/b"), "{names:?}");
    assert_eq!(next.modules(), [module("a", 1)]);
}

#[test]
fn another_wish_in_the_middle_of_a_flow_begins_where_that_one_got() {
    let mut install = installed(1, &[module("a", 1), module("b", 1)]);
    let mut ledger = Ledger::of(&install);
    ledger.course(&wants(2, &[module("a", 2), module("b", 2)]), at(10));
    ledger.enter(&StageName::Lifecycle("a".to_owned()), at(11));
    ledger.called("a", Some(&module("a", 2)));
    ledger.enter(&StageName::Lifecycle("b".to_owned()), at(12));
    kept(&mut install, &ledger);

    let back_to = [module("a", 1), module("b", 1)];
    let mut back = Ledger::of(&install);
    assert_eq!(back.course(&wants(1, &back_to), at(20)), Course::Runs);
    let names: Vec<&str> = stages(&back).into_iter().map(|(name, _)| name).collect();
    assert!(names.contains(&"Lifecycle/a") && !names.contains(&"Lifecycle/b"), "{names:?}");
    kept(&mut install, &back);
    let superseded = &install.status.as_ref().unwrap().history[0];
    assert_eq!(
        (superseded.status, superseded.reason.as_deref()),
        (StageStatus::Cancelled, Some("Superseded"))
    );
}

#[test]
fn what_goes_is_called_in_what_it_is_and_the_flow_is_the_same_in_every_pass() {
    let mut install = installed(1, &[module("a", 1), module("b", 1)]);
    let mut ledger = Ledger::of(&install);
    ledger.revoke(true, at(10));
    let names: Vec<&str> = stages(&ledger).into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "CheckDependents",
            "Withdraw",
            "Lifecycle/b",
            "Lifecycle/a",
            "Purge",
            "RemoveDomainMapping",
            "ReleaseDomainClaim",
            "RemoveRunner",
            "LeaveEnvironment"
        ]
    );
    kept(&mut install, &ledger);
    let mut again = Ledger::of(&install);
    again.revoke(true, at(20));
    assert_eq!(again.flow(), ledger.flow());
}

#[test]
fn a_status_stays_small() {
    let mut install = install(json!({}));
    install.spec.history_limit = 20;
    let long = "ü".repeat(5000);
    for number in 1..30 {
        let modules: Vec<EnabledModule> =
            (0..5).map(|name| module(&format!("module-{name}"), number)).collect();
        let mut ledger = Ledger::of(&install);
        ledger.course(&wants(number, &modules), at(0));
        ledger.enter(&StageName::Runner, at(1));
        ledger.fails(&Because::new("LifecycleFailed", long.clone()), OnFailure::Continue, false, at(2));
        kept(&mut install, &ledger);
    }
    let size = serde_json::to_string(&install.status).unwrap().len();
    assert!(size < 8 << 10, "{size}");
    let history = &install.status.unwrap().history;
    assert!(history.len() >= 5 && history[0].message.is_some(), "{history:#?}");
}

#[test]
fn of_twenty_flows_that_went_well_a_status_has_all_and_of_as_many_that_failed_the_last() {
    let records = |reason: Option<&str>| {
        let record = json!({
            "id": "0f5a2b31-7ab6-4a56-a0b2-3f5f9c1b3a11", "action": "Upgrade", "from": "1.0.0", "to": "1.1.0",
            "status": if reason.is_some() { "CANCELLED" } else { "FINISHED" }, "reason": reason,
            "message": reason.map(|_| "m".repeat(LONGEST_MESSAGE)),
            "startedAt": "2026-11-27T18:18:24Z", "finishedAt": "2026-11-27T18:18:24Z",
        });
        bounded(&vec![serde_json::from_value(record).unwrap(); 20], 20)
    };
    assert_eq!(records(None).len(), 20);
    let failed = records(Some("LifecycleFailed"));
    assert!((10..20).contains(&failed.len()), "{}", failed.len());
    let told = failed.iter().take_while(|record| record.message.is_some()).count();
    assert_eq!((told, failed.last().unwrap().reason.as_deref()), (TELLING, Some("LifecycleFailed")));
}

#[test]
fn flows_that_never_end_do_not_fill_a_status() {
    let many = |prefix: &str| -> Vec<EnabledModule> {
        (0..64).map(|number| module(&format!("{prefix}{number}"), 1)).collect()
    };
    let mut install = installed(1, &many("base"));
    for (number, prefix) in [(2, "a"), (3, "b"), (4, "c")] {
        let wanted = many(prefix);
        let mut ledger = Ledger::of(&install);
        assert_eq!(ledger.course(&wants(number, &wanted), at(10)), Course::Runs);
        for module in &wanted {
            ledger.enter(&StageName::Lifecycle(module.name.clone()), at(11));
            ledger.called(&module.name, Some(module));
        }
        kept(&mut install, &ledger);
    }
    let mut ledger = Ledger::of(&install);
    assert_eq!(ledger.modules().len(), MOST_MODULES);
    assert!(ledger.modules().starts_with(&many("base")) && ledger.modules().ends_with(&many("c")));
    ledger.revoke(true, at(20));
    assert!(ledger.flow().unwrap().stages.len() <= 160, "as many as the schema lets pass");
}

#[test]
fn a_clock_that_was_ahead_holds_nothing_up_and_one_that_jumps_ahead_only_ends_what_runs() {
    const YEAR: i64 = 365 * 86400;
    let (before, wanted) = ([module("a", 1)], [module("a", 2)]);
    let stage = StageName::Lifecycle("a".to_owned());
    let because = Because::new("LifecycleFailed", "");
    let mut install = installed(1, &before);

    // Begun, and about to be tried again, in a year.
    let mut ledger = Ledger::of(&install);
    assert_eq!(ledger.course(&wants(2, &wanted), at(YEAR)), Course::Runs);
    ledger.enter(&StageName::Runner, at(YEAR));
    ledger.enter(&stage, at(YEAR));
    ledger.tries_again(&stage, &because, Duration::from_secs(30), at(YEAR));
    kept(&mut install, &ledger);
    let mut ledger = Ledger::of(&install).seen_at(at(100));
    assert_eq!(ledger.course(&wants(2, &wanted), at(100)), Course::Runs);
    assert!(ledger.stage(&stage).unwrap().next_try_at.as_ref().unwrap().0 <= at(160));
    assert_eq!(ledger.changing_since(), Some(at(100)), "it can take too long from now on");

    // Failed in a year, to be begun again later still.
    ledger.fails(&Because::new("Timeout", ""), OnFailure::Continue, true, at(YEAR));
    kept(&mut install, &ledger);
    let mut later = Ledger::of(&install).seen_at(at(200));
    let Course::Failed(_, Some(next)) = later.course(&wants(2, &wanted), at(200)) else {
        panic!("{later:?}")
    };
    assert!(next <= at(200 + 75 * 60), "{next}");
    kept(&mut install, &later);
    assert_eq!(Ledger::of(&install).seen_at(next).course(&wants(2, &wanted), next), Course::Runs);

    // Nothing that is right is changed.
    let right = Ledger::of(&install);
    assert_eq!(right.clone().seen_at(next).flow(), right.flow());
}

/// An Install from 1 to 2 in whose status it stands that the handler of `a` is about to be called.
fn calling(from: &[EnabledModule], to: &[EnabledModule]) -> (Install, Ledger) {
    let mut install = installed(1, from);
    let mut ledger = Ledger::of(&install);
    assert_eq!(ledger.course(&wants(2, to), at(10)), Course::Runs);
    let stage = StageName::Lifecycle("a".to_owned());
    ledger.enter(&stage, at(11));
    ledger.calls(&stage, at(11));
    kept(&mut install, &ledger);
    (install, ledger)
}

fn lifecycle(ledger: &Ledger) -> Vec<&str> {
    stages(ledger).into_iter().filter_map(|(name, _)| name.strip_prefix("Lifecycle/")).collect()
}

#[test]
fn what_may_have_been_called_is_called_back_when_something_else_is_wanted() {
    let (from, to) =
        ([module("a", 1), module("b", 1), module("c", 1)], [module("a", 2), module("b", 2), module("c", 1)]);
    let (install, mut ledger) = calling(&from, &to);
    let next = |install: &Install| Ledger::of(install).on_the_way_to(to.to_vec());

    // The same flow calls again, from where it was.
    let mut same = next(&install);
    assert_eq!(same.course(&wants(2, &to), at(20)), Course::Runs);
    assert_eq!(same.modules(), from);

    let mut back = next(&install);
    assert_eq!(back.course(&wants(1, &from), at(20)), Course::Runs);
    assert_eq!(lifecycle(&back), ["a", "b"], "what follows within moments is written with it");
    assert_eq!(back.modules(), to);
    let mut gone = next(&install);
    gone.revoke(true, at(20));
    assert_eq!(gone.modules(), to);
    // For another version each is called, from what it is known to be.
    let mut other = next(&install);
    let another = [module("a", 3), module("b", 2), module("c", 1)];
    assert_eq!(other.course(&wants(3, &another), at(20)), Course::Runs);
    assert_eq!((lifecycle(&other), other.modules()), (vec!["a", "b"], &from[..]));
    // Where the flow fails instead, whoever may have been called is called back.
    let mut fails = next(&install);
    fails.undoes_what_is_unheard_of();
    fails.fails(&Because::new("Timeout", "late"), OnFailure::Rollback, true, at(20));
    assert_eq!(fails.modules(), to);

    // It is known that this one has failed, and nothing else was called.
    let because = Because::new("LifecycleFailed", "no");
    let stage = StageName::Lifecycle("a".to_owned());
    ledger.tries_again(&stage, &because, Duration::from_secs(1), at(12));
    let mut failed = install.clone();
    kept(&mut failed, &ledger);
    assert_eq!(next(&failed).course(&wants(1, &from), at(20)), Course::Kept);
    // Nor was anybody who could not be reached. Of whom nothing was heard nobody says so, whatever keeps the flow up after that.
    let (mut away, mut ledger_of_it) = calling(&from, &to);
    ledger_of_it.was_not_called(&stage, &Because::new("RunnerUnavailable", "away"));
    kept(&mut away, &ledger_of_it);
    assert_eq!(next(&away).course(&wants(1, &from), at(20)), Course::Kept);
    let (mut unheard, mut ledger_of_it) = calling(&from, &to);
    ledger_of_it.waits(&Because::new("RegistryUnavailable", "away"));
    kept(&mut unheard, &ledger_of_it);
    assert_eq!(next(&unheard).course(&wants(1, &from), at(20)), Course::Runs);
    // Until it is called once more.
    ledger.calls(&stage, at(14));
    kept(&mut failed, &ledger);
    assert_eq!(next(&failed).course(&wants(1, &from), at(20)), Course::Runs);
}

#[test]
fn of_a_first_install_that_went_while_it_was_called_it_is_known_whom_to_call_back() {
    let to = [module("a", 1)];
    let mut install = install(json!({}));
    let mut ledger = Ledger::of(&install);
    assert_eq!(ledger.course(&wants(1, &to), at(0)), Course::Runs);
    let stage = StageName::Lifecycle("a".to_owned());
    ledger.enter(&stage, at(1));
    ledger.calls(&stage, at(1));
    kept(&mut install, &ledger);
    let mut gone = Ledger::of(&install).on_the_way_to(to.to_vec());
    gone.revoke(false, at(2));
    assert_eq!((gone.modules(), lifecycle(&gone)), (&to[..], vec!["a"]));
}

#[test]
fn what_was_called_in_a_pass_that_could_not_be_written_down_is_added_to_what_is() {
    let (from, to) = ([module("a", 1), module("b", 1)], [module("a", 2), module("b", 2)]);
    let (mut install, mut ledger) = calling(&from, &to);
    let status = install.status.clone().unwrap();
    assert_eq!(ledger.calls_of(&status), None, "nobody was called");
    ledger.called("a", Some(&to[0]));
    // Whatever else the pass came to is not true of what the status says.
    ledger.reached(to.to_vec(), at(12));
    ledger.finishes(at(12));
    let flow = ledger.calls_of(&status).unwrap();
    assert_eq!((flow.status, flow.finished_at.clone()), (StageStatus::InProgress, None));
    install.status.as_mut().unwrap().flow = Some(flow);
    let mut next = Ledger::of(&install).on_the_way_to(to.to_vec());
    assert_eq!(next.course(&wants(1, &from), at(20)), Course::Runs);
    assert_eq!(lifecycle(&next), ["a"], "b is known not to have been called");
    assert_eq!(next.modules(), [to[0].clone(), from[1].clone()]);

    let another = status.flow.clone().map(|flow| Flow { id: "another".to_owned(), ..flow });
    assert_eq!(ledger.calls_of(&InstallStatus { flow: another, ..status }), None);
}

#[test]
fn whom_a_rollback_may_have_called_back_is_called_once_more_where_it_is_wanted_after_all() {
    let from = [module("a", 1), module("c", 1)];
    let to = [module("a", 2), module("b", 2), module("c", 1)];
    let mut install = installed(1, &from);
    let mut ledger = Ledger::of(&install);
    ledger.course(&wants(2, &to), at(10));
    for (module, stage) in [(&to[0], "a"), (&to[1], "b")] {
        ledger.enter(&StageName::Lifecycle(stage.to_owned()), at(11));
        ledger.called(stage, Some(module));
    }
    ledger.enter(&StageName::Publish, at(12));
    ledger.fails(&Because::new("FlowFailed", "no"), OnFailure::Rollback, false, at(13));
    kept(&mut install, &ledger);
    let asked = |install: &Install| {
        let mut asked = install.clone();
        asked.metadata.annotations = Some([(RETRY_ANNOTATION.to_owned(), "now".to_owned())].into());
        let mut ledger = Ledger::of(&asked);
        assert_eq!(ledger.course(&wants(2, &to), at(20)), Course::Runs);
        lifecycle(&ledger).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(asked(&install), Vec::<String>::new(), "nobody was called back");

    // It is the turn of b, and then that of a; how either ended is not known.
    assert!(ledger.undoes());
    ledger.calls(&StageName::Lifecycle("b".to_owned()), at(14));
    kept(&mut install, &ledger);
    assert_eq!(asked(&install), ["b"]);
    ledger.called("b", None);
    ledger.undone(&StageName::Lifecycle("b".to_owned()), None, at(15));
    ledger.calls(&StageName::Lifecycle("a".to_owned()), at(15));
    kept(&mut install, &ledger);
    assert_eq!(asked(&install), ["a", "b"]);

    // Where what was there before is wanted, a is called for that, whatever became of the other call.
    let mut back = Ledger::of(&install);
    assert_eq!(back.course(&wants(1, &from), at(20)), Course::Runs);
    assert_eq!(lifecycle(&back), ["a"]);
    // Whoever could not be called has not been.
    let mut away = install.clone();
    ledger.was_not_called(&StageName::Lifecycle("a".to_owned()), &Because::new("RunnerUnavailable", "away"));
    kept(&mut away, &ledger);
    assert_eq!(asked(&away), ["b"]);

    // Without another wish it is called back by the same flow, and where everything goes it is told so.
    let mut same = Ledger::of(&install);
    assert!(same.rolls_back().is_some());
    assert_eq!(same.modules(), [to[0].clone(), to[2].clone()]);
    same.revoke(true, at(20));
    assert_eq!(lifecycle(&same), ["c", "a"]);
    assert_eq!(same.modules(), [to[0].clone(), to[2].clone()]);
}

#[test]
fn what_could_not_be_made_again_is_made_when_that_is_tried_again() {
    let modules = [module("a", 1)];
    let mut install = installed(1, &modules);
    let again = Wants { again: Some("now".to_owned()), ..wants(1, &modules) };
    let mut ledger = Ledger::of(&install);
    assert_eq!(ledger.course(&again, at(10)), Course::Runs);
    ledger.enter(&StageName::Runner, at(11));
    ledger.fails(&Because::new("RunnerNotReady", "no"), OnFailure::Rollback, true, at(12));
    ledger.rolled_back(at(13));
    kept(&mut install, &ledger);

    // The wish was answered: nothing but the record tells of it.
    let answered = wants(1, &modules);
    assert!(matches!(Ledger::of(&install).course(&answered, at(14)), Course::Failed(_, Some(_))));
    let mut later = Ledger::of(&install);
    assert_eq!(later.course(&answered, at(100_000)), Course::Runs);
    assert_eq!(later.flow().unwrap().action, FlowAction::Reprovision);
    install.metadata.annotations = Some([(RETRY_ANNOTATION.to_owned(), "now".to_owned())].into());
    let mut asked = Ledger::of(&install);
    assert_eq!(asked.course(&answered, at(14)), Course::Runs);
    reach(&mut asked, &modules);
    kept(&mut install, &asked);
    assert_eq!(Ledger::of(&install).course(&answered, at(20)), Course::Kept);
}

#[test]
fn what_was_to_be_made_again_is_not_made_because_it_was_there_before() {
    let modules = [module("a", 1)];
    let mut install = installed(1, &modules);
    let again = |wish: &str| Wants { again: Some(wish.to_owned()), ..wants(1, &modules) };
    let mut ledger = Ledger::of(&install);
    assert!(!ledger.begins_again());
    ledger.course(&again("once"), at(10));
    assert!(ledger.begins_again());
    ledger.enter(&StageName::Runner, at(11));
    kept(&mut install, &ledger);
    assert_eq!(install.status.as_ref().unwrap().reprovisioned.as_deref(), Some("once"));

    let mut ledger = Ledger::of(&install);
    assert_eq!(ledger.course(&wants(1, &modules), at(12)), Course::Runs, "the same flow");
    assert!(!ledger.begins_again());
    let mut ledger = Ledger::of(&install);
    ledger.course(&again("twice"), at(12));
    kept(&mut install, &ledger);
    let status = install.status.as_ref().unwrap();
    assert_eq!(status.reprovisioned.as_deref(), Some("twice"));
    assert_eq!(status.history[0].status, StageStatus::Cancelled);
    assert_eq!(status.history[0].reason.as_deref(), Some("Superseded"));
}

#[test]
fn a_flow_that_begins_again_by_itself_asks_anew_whether_it_may() {
    let (from, to) = ([module("a", 1)], [module("a", 2)]);
    let mut install = installed(1, &from);
    let mut ledger = Ledger::of(&install);
    assert!(!ledger.has_begun(&hash(2), at(10)));
    ledger.course(&wants(2, &to), at(10));
    assert!(ledger.has_begun(&hash(2), at(1_000_000)), "it is under way");
    assert!(!ledger.has_begun(&hash(3), at(10)));
    ledger.enter(&StageName::Runner, at(11));
    ledger.fails(&Because::new("Timeout", "no"), OnFailure::Rollback, true, at(12));
    ledger.rolled_back(at(13));
    kept(&mut install, &ledger);
    let ledger = Ledger::of(&install);
    assert!(ledger.has_begun(&hash(2), at(14)), "it waits");
    assert!(!ledger.has_begun(&hash(2), at(100_000)));
    install.metadata.generation = Some(2);
    assert!(Ledger::of(&install).has_begun(&hash(2), at(100_000)), "somebody asks");
}

#[test]
fn time_in_which_nothing_was_to_be_done_makes_no_flow_late() {
    let install = installed(1, &[module("a", 1)]);
    let mut ledger = Ledger::of(&install);
    ledger.course(&wants(2, &[module("a", 2)]), at(10));
    ledger.enter(&StageName::Resolve, at(10));
    assert_eq!(ledger.changing_since(), None);
    ledger.enter(&StageName::Runner, at(11));
    ledger.enter(&StageName::Lifecycle("a".to_owned()), at(12));
    assert_eq!(ledger.changing_since(), Some(at(11)));
    ledger.goes_on_after_a_pause(at(5000));
    assert_eq!(ledger.changing_since(), Some(at(5000)));
}

#[test]
fn what_fails_is_undone_whatever_was_asked_for_since_it_began() {
    let from = [module("a", 1)];
    let mut install = installed(1, &from);
    let mut ledger = Ledger::of(&install);
    ledger.course(&wants(2, &[module("a", 2)]), at(10));
    ledger.enter(&StageName::Runner, at(11));
    kept(&mut install, &ledger);
    // Something that cannot be had, so that no course is taken for it.
    install.metadata.generation = Some(7);
    install.metadata.annotations = Some([(RETRY_ANNOTATION.to_owned(), "now".to_owned())].into());
    let mut ledger = Ledger::of(&install);
    ledger.fails(&Because::new("NoMatchingVersion", "none"), OnFailure::Rollback, true, at(12));
    kept(&mut install, &ledger);
    assert!(Ledger::of(&install).rolls_back().is_some());
}

#[test]
fn a_flow_is_settled_once_only_what_was_there_before_is_left() {
    let (from, to) = ([module("a", 1), module("old", 1)], [module("a", 2)]);
    let mut install = installed(1, &from);
    let mut ledger = Ledger::of(&install);
    ledger.course(&wants(2, &to), at(10));
    ledger.enter(&StageName::Publish, at(11));
    assert!(!ledger.is_settled());
    ledger.reached(to.to_vec(), at(12));
    assert!(ledger.is_settled());
    kept(&mut install, &ledger);
    assert!(Ledger::of(&install).is_settled());
    ledger.finishes(at(13));
    assert!(!ledger.is_settled());
}

#[test]
fn of_what_another_goes_on_with_nobody_is_called_and_nothing_removed() {
    let install = installed(1, &[module("a", 1)]);
    let mut ledger = Ledger::of(&install);
    ledger.revoke(true, at(10));
    ledger.leaves_modules(&Because::new("AlreadyInstalled", "another has it"), at(11));
    assert!(!ledger.is_at(&StageName::Purge));
    ledger.finishes(at(12));
    assert_eq!(state(&ledger, "Lifecycle/a"), StageStatus::Cancelled);
    assert_eq!(state(&ledger, "Purge"), StageStatus::Cancelled);
    assert_eq!(state(&ledger, "Withdraw"), StageStatus::Finished);
}

#[test]
fn a_flow_says_why_it_failed_though_the_stage_that_it_failed_in_is_undone() {
    let (from, to) = ([module("a", 1)], [module("a", 2)]);
    let (mut install, mut ledger) = calling(&from, &to);
    let stage = StageName::Lifecycle("a".to_owned());
    ledger.called("a", Some(&to[0]));
    ledger.fails(&Because::new("NoMatchingVersion", "none"), OnFailure::Rollback, true, at(12));
    kept(&mut install, &ledger);
    let undone = |failed: Option<&Because>| {
        let mut ledger = Ledger::of(&install);
        ledger.calls(&stage, at(13));
        ledger.called("a", Some(&from[0]));
        ledger.undone(&stage, failed, at(14));
        assert_eq!(ledger.stage(&stage).unwrap().next_try_at, None);
        assert!(ledger.failed_since(at(20)).is_some());
        ledger.rolled_back(at(15));
        let flow = ledger.flow().unwrap();
        (flow.status, why(flow).reason.to_string())
    };
    assert_eq!(undone(None), (StageStatus::Cancelled, "NoMatchingVersion".to_owned()));
    let because = Because::new("LifecycleFailed", "no");
    assert_eq!(undone(Some(&because)), (StageStatus::CancellationFailed, "NoMatchingVersion".to_owned()));
}

#[test]
fn how_its_undoing_goes_hides_nowhere_why_a_flow_failed() {
    let (from, to) = ([module("a", 1), module("b", 1)], [module("a", 2), module("b", 2)]);
    let (mut install, mut ledger) = calling(&from, &to);
    let stage = |name: &str| StageName::Lifecycle(name.to_owned());
    ledger.called("a", Some(&to[0]));
    ledger.enter(&stage("b"), at(11));
    ledger.called("b", Some(&to[1]));
    ledger.fails(&Because::new("DeadlineExceeded", "too long"), OnFailure::Rollback, true, at(12));
    kept(&mut install, &ledger);
    let mut ledger = Ledger::of(&install);
    let not_yet = Because::new("LifecycleFailed", "not yet");
    ledger.tries_again(&stage("b"), &not_yet, Duration::from_secs(1), at(13));
    let said = |ledger: &Ledger, name: &str| ledger.stage(&stage(name)).unwrap().message.clone().unwrap();
    assert_eq!((said(&ledger, "b").as_str(), ledger.stage(&stage("b")).unwrap().retries), ("too long", 1));
    for name in ["b", "a"] {
        ledger.undone(&stage(name), Some(&Because::new("LifecycleFailed", "x".repeat(2000))), at(14));
    }
    assert!(said(&ledger, "b").starts_with("too long; and xxx"), "{}", said(&ledger, "b"));
    assert!(said(&ledger, "b").chars().count() <= LONGEST_STAGE_MESSAGE);
    ledger.rolled_back(at(15));
    let flow = ledger.flow().unwrap();
    assert_eq!(failed_in(flow).unwrap().name, "Lifecycle/b");
    assert_eq!(
        (why(flow).reason.as_ref(), flow.status),
        ("DeadlineExceeded", StageStatus::CancellationFailed)
    );
}

/// A first install of 1 that has called `a`, and failed over `b`.
fn failed_over_b(on_failure: OnFailure) -> (Install, [EnabledModule; 2]) {
    let modules = [module("a", 1), module("b", 1)];
    let mut install = install(json!({}));
    let mut ledger = Ledger::of(&install);
    assert_eq!(ledger.course(&wants(1, &modules), at(0)), Course::Runs);
    let (a, b) = (StageName::Lifecycle("a".to_owned()), StageName::Lifecycle("b".to_owned()));
    ledger.enter(&a, at(1));
    for _ in 0..3 {
        ledger.tries_again(&a, &Because::new("LifecycleFailed", "not yet"), Duration::from_secs(1), at(2));
    }
    ledger.called("a", Some(&modules[0]));
    ledger.enter(&b, at(3));
    ledger.fails(&Because::new("LifecycleFailed", "no"), on_failure, false, at(4));
    kept(&mut install, &ledger);
    (install, modules)
}

#[test]
fn whoever_goes_and_never_came_up_knows_to_the_end_whose_handlers_are_called() {
    let (mut install, modules) = failed_over_b(OnFailure::Continue);
    let target = Some(wants(1, &modules).target);
    for second in [10, 20] {
        let mut ledger = Ledger::of(&install);
        ledger.revoke(true, at(second));
        assert_eq!(ledger.flow().unwrap().target, target);
        assert_eq!(ledger.modules(), &modules[..1]);
        assert_eq!(
            (state(&ledger, "Lifecycle/a"), state(&ledger, "Purge")),
            (StageStatus::Queued, StageStatus::Queued)
        );
        kept(&mut install, &ledger);
    }
}

#[test]
fn how_often_a_module_is_called_back_is_counted_anew_and_whichever_flow_called_it() {
    let (a, failed) = (StageName::Lifecycle("a".to_owned()), Because::new("LifecycleFailed", "no"));
    let (install, _) = failed_over_b(OnFailure::Rollback);
    assert_eq!(Ledger::of(&install).stage(&a).unwrap().retries, 0);

    // The second flow only calls `b`, and what the first has called is undone with it.
    let (mut install, modules) = failed_over_b(OnFailure::Continue);
    install.metadata.generation = Some(2);
    let mut ledger = Ledger::of(&install);
    assert_eq!(ledger.course(&wants(1, &modules), at(10)), Course::Runs);
    assert_eq!(ledger.stage(&a), None);
    ledger.enter(&StageName::Lifecycle("b".to_owned()), at(11));
    ledger.fails(&failed, OnFailure::Rollback, false, at(12));
    ledger.will_call_back(&a, at(13));
    ledger.tries_again(&a, &failed, Duration::from_secs(1), at(14));
    ledger.will_call_back(&a, at(15));
    assert_eq!(ledger.stage(&a).unwrap().retries, 1);
    ledger.called("a", None);
    ledger.undone(&a, Some(&failed), at(16));
    ledger.rolled_back(at(17));
    assert_eq!(
        (state(&ledger, "Lifecycle/a"), ledger.flow().unwrap().status),
        (StageStatus::CancellationFailed, StageStatus::CancellationFailed)
    );
}

#[test]
fn what_has_failed_is_undone_though_what_is_asked_for_by_then_cannot_be_had() {
    let (mut install, modules) = failed_over_b(OnFailure::Rollback);
    assert!(Ledger::of(&install).rolls_back().is_some());
    install.metadata.generation = Some(2);
    let mut ledger = Ledger::of(&install);
    assert!(ledger.rolls_back().is_none(), "something else is asked for");
    assert!(ledger.goes_on_undoing(at(19)) && ledger.rolls_back().is_some());
    ledger.rolled_back(at(20));
    assert!(!ledger.goes_on_undoing(at(20)));
    // And once it can be had it begins.
    kept(&mut install, &ledger);
    assert_eq!(Ledger::of(&install).course(&wants(1, &modules), at(21)), Course::Runs);
}

#[test]
fn whoever_goes_is_called_by_what_is_installed_though_an_upgrade_was_undone_before() {
    let from = [module("a", 1), module("b", 1)];
    let mut install = installed(1, &from);
    let mut ledger = Ledger::of(&install);
    ledger.course(&wants(2, &[module("a", 2), module("b", 1)]), at(10));
    ledger.enter(&StageName::Runner, at(11));
    ledger.fails(&Because::new("CapabilityDenied", "no"), OnFailure::Rollback, false, at(12));
    ledger.rolled_back(at(13));
    kept(&mut install, &ledger);
    for second in [20, 30] {
        let mut ledger = Ledger::of(&install);
        ledger.revoke(false, at(second));
        assert_eq!(ledger.flow().unwrap().target, None);
        ledger.called("b", None);
        kept(&mut install, &ledger);
    }
}

#[test]
fn who_only_asks_for_a_host_has_made_nothing() {
    let modules = [module("a", 1)];
    let mut ledger = Ledger::of(&install(json!({})));
    ledger.course(&wants(1, &modules), at(0));
    for (name, expected) in
        [(StageName::Resolve, false), (StageName::DomainClaim, false), (StageName::Runner, true)]
    {
        ledger.enter(&name, at(1));
        assert_eq!(has_made(ledger.flow().unwrap()), expected, "{name}");
    }
    ledger.finishes(at(2));
    assert!(!has_made(ledger.flow().unwrap()));
}

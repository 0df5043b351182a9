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
        again: false,
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
    install.spec.history_limit = 5;
    let long = "ü".repeat(5000);
    for number in 1..10 {
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

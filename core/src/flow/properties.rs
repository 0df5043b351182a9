//! What holds for every plan, tried with arbitrary ones.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::{ContentHash, HostName};

fn content(number: u8) -> ContentHash {
    ContentHash::from_sha256([number; 32])
}

fn host(number: u8) -> HostName {
    format!("h{number}.apps.example").parse().unwrap()
}

fn place(number: u8) -> Place {
    format!("place-{number}")
}

/// Of a few, so that they meet.
fn few() -> impl Strategy<Value = u8> {
    0_u8..3
}

fn modules() -> impl Strategy<Value = Vec<(String, Module)>> {
    let module = (few(), few()).prop_map(|(name, digest)| {
        (format!("m{name}"), Module { version: format!("1.{digest}.0"), digest: content(digest) })
    });
    prop::collection::vec(module, 0..4).prop_map(|all| {
        let mut names = BTreeSet::new();
        all.into_iter().filter(|(name, _)| names.insert(name.clone())).collect()
    })
}

fn installed() -> impl Strategy<Value = Wanted> {
    (few(), few(), few(), modules()).prop_map(|(at, on, of, modules)| Wanted::Installed {
        place: place(at),
        host: host(on),
        content: content(of),
        modules,
    })
}

fn wanted() -> impl Strategy<Value = Wanted> {
    prop_oneof![4 => installed(), 1 => any::<bool>().prop_map(|purge| Wanted::Gone { purge })]
}

/// Whatever flows that began and did not all end can leave behind.
fn held() -> impl Strategy<Value = Held> {
    prop::collection::vec((wanted(), 0_usize..16), 0..4).prop_map(|flows| {
        let mut held = Held::default();
        for (wanted, stages) in flows {
            held = after(&held, plan(&held, &wanted, false).iter().take(stages));
        }
        held
    })
}

fn after<'a>(held: &Held, stages: impl IntoIterator<Item = &'a Stage>) -> Held {
    held.after(stages.into_iter().flat_map(|stage| &stage.does))
}

/// What can be seen of it from outside: a host answers if its content runs where the host leads.
fn answers(held: &Held, host: &HostName) -> Option<ContentHash> {
    let (content, place) = (held.routes.get(host)?, held.mappings.get(host)?);
    held.runners.contains(&(place.clone(), *content)).then_some(*content)
}

proptest! {
    #[test]
    fn a_plan_reaches_what_is_wanted_and_then_there_is_none(held in held(), wanted in wanted()) {
        let held = after(&held, &plan(&held, &wanted, false));
        prop_assert_eq!(plan(&held, &wanted, false), vec![]);
        prop_assert_eq!(action(&held, &wanted, false), None);
        match &wanted {
            Wanted::Gone { purge } => prop_assert!(held.is_gone() && !(*purge && held.data)),
            Wanted::Installed { host, content, modules, .. } => {
                prop_assert_eq!(answers(&held, host), Some(*content));
                prop_assert_eq!(held.modules, modules.iter().cloned().collect());
                prop_assert_eq!(held.routes.len() + held.claims.len() + held.runners.len() + held.places.len(), 4);
            }
        }
    }

    #[test]
    fn whoever_stopped_anywhere_and_plans_anew_gets_there(
        mut held in held(),
        wanted in wanted(),
        crashes in prop::collection::vec((0_usize..16, 0_usize..4), 0..4),
    ) {
        for (stages, effects) in crashes {
            let plan = plan(&held, &wanted, false);
            held = after(&held, plan.iter().take(stages));
            // In the midst of a stage, too.
            let begun = plan.get(stages).into_iter().flat_map(|stage| stage.does.iter().take(effects));
            begun.for_each(|effect| held.apply(effect));
        }
        let held = after(&held, &plan(&held, &wanted, false));
        prop_assert_eq!(plan(&held, &wanted, false), vec![]);
    }

    #[test]
    fn what_is_done_twice_is_done_once(mut held in held(), wanted in wanted()) {
        for stage in plan(&held.clone(), &wanted, false) {
            held = after(&held, [&stage]);
            prop_assert_eq!(&after(&held, [&stage]), &held);
        }
    }

    #[test]
    fn a_flow_that_fails_anywhere_is_undone(before in held(), wanted in installed(), failed in 0_usize..16) {
        let stages = plan(&before, &wanted, false);
        let stages: Vec<_> = stages.iter().filter(|stage| !stage.is_settled).collect();
        let Wanted::Installed { modules, .. } = &wanted else { unreachable!() };
        let order: Vec<&str> = modules.iter().map(|(name, _)| name.as_str()).collect();
        let mut now = after(&before, stages.iter().take(failed).copied());
        // The one that failed has done a part of it, which nobody heard of.
        if let Some(half) = stages.get(failed) {
            half.does.iter().take(1).for_each(|effect| now.apply(effect));
        }
        // Whoever undoes it may stop, too.
        let half = after(&now, rollback(&before, &now, &order).iter().take(2));
        let undone = after(&half, &rollback(&before, &half, &order));
        prop_assert_eq!(&undone, &before);
        prop_assert_eq!(rollback(&before, &undone, &order), vec![]);
    }

    #[test]
    fn what_answers_goes_on_answering_until_the_new_does(first in installed(), then in installed()) {
        let mut held = after(&Held::default(), &plan(&Held::default(), &first, false));
        let Wanted::Installed { host: former, content: former_content, .. } = &first else { unreachable!() };
        let Wanted::Installed { host, content, .. } = &then else { unreachable!() };
        for stage in plan(&held.clone(), &then, false) {
            for effect in &stage.does {
                held.apply(effect);
                if stage.is_settled {
                    prop_assert_eq!(answers(&held, host), Some(*content), "{}", stage.name);
                } else {
                    let is = answers(&held, former);
                    let either = is == Some(*former_content) || former == host && is == Some(*content);
                    prop_assert!(either, "{}: {:?}", stage.name, held);
                }
            }
        }
    }

    #[test]
    fn what_answers_goes_on_answering_while_a_flow_is_undone(
        first in installed(),
        then in installed(),
        failed in 0_usize..16,
    ) {
        let before = after(&Held::default(), &plan(&Held::default(), &first, false));
        let Wanted::Installed { host, content, .. } = &first else { unreachable!() };
        let Wanted::Installed { content: new, .. } = &then else { unreachable!() };
        let stages = plan(&before, &then, false);
        let mut now = after(&before, stages.iter().filter(|stage| !stage.is_settled).take(failed));
        for stage in rollback(&before, &now, &[]) {
            for effect in &stage.does {
                now.apply(effect);
                let is = answers(&now, host);
                prop_assert!(is == Some(*content) || is == Some(*new), "{}: {:?}", stage.name, now);
            }
        }
        prop_assert_eq!(answers(&now, host), Some(*content));
    }

    #[test]
    fn only_modules_that_changed_are_called_and_those_that_go_are_not(first in installed(), then in installed()) {
        let held = after(&Held::default(), &plan(&Held::default(), &first, false));
        let stages = plan(&held, &then, false);
        let (Wanted::Installed { modules: old, .. }, Wanted::Installed { modules: new, .. }) = (&first, &then) else {
            unreachable!()
        };
        let called: Vec<_> = stages.iter().flat_map(|stage| &stage.does).filter_map(|effect| match effect {
            Effect::Call { module, .. } => Some(module.clone()),
            _ => None,
        }).collect();
        let expected: Vec<_> = new.iter().filter(|module| !old.contains(module)).map(|(name, _)| name.clone()).collect();
        prop_assert_eq!(called, expected, "in the order of the release");
    }

    #[test]
    fn what_is_revoked_answers_nobody_before_anything_else_goes(held in held(), purge in any::<bool>()) {
        let mut now = held.clone();
        for stage in plan(&held, &Wanted::Gone { purge }, false) {
            now = after(&now, [&stage]);
            if !matches!(stage.name, StageName::CheckDependents) {
                prop_assert!(now.routes.is_empty(), "{}", stage.name);
            }
        }
    }

    #[test]
    fn names_are_of_one_stage_each(held in held(), wanted in wanted(), again in any::<bool>()) {
        let stages = plan(&held, &wanted, again);
        let names: BTreeSet<_> = stages.iter().map(|stage| stage.name.to_string()).collect();
        prop_assert_eq!(names.len(), stages.len());
        prop_assert!(stages.iter().all(|stage| !stage.does.is_empty()));
    }

    #[test]
    fn once_more_makes_all_of_it_and_changes_nothing(wanted in installed()) {
        let held = after(&Held::default(), &plan(&Held::default(), &wanted, false));
        let stages = plan(&held, &wanted, true);
        prop_assert_eq!(action(&held, &wanted, true), Some(Action::Reprovision));
        let names: Vec<_> = stages.iter().map(|stage| stage.name.to_string()).collect();
        prop_assert_eq!(names, [
            "Resolve", "Verify", "CheckDependencies", "CheckQuota", "Environment", "Runner", "DomainClaim",
            "DomainMapping", "Publish",
        ]);
        prop_assert_eq!(after(&held, &stages), held);
    }
}

#[test]
fn an_upgrade_as_in_the_paper() {
    // seeds/tenant-entitlements.md, "Upgrade Flow".
    let module = |number: u8| Module { version: format!("1.{number}.0"), digest: content(number) };
    let release = |of: u8, modules: &[(&str, u8)]| Wanted::Installed {
        place: place(0),
        host: host(0),
        content: content(of),
        modules: modules.iter().map(|(name, number)| ((*name).to_owned(), module(*number))).collect(),
    };
    let first = release(1, &[("foo", 0), ("bar", 0), ("deprecated", 0)]);
    assert_eq!(action(&Held::default(), &first, false), Some(Action::Install));
    let held = after(&Held::default(), &plan(&Held::default(), &first, false));
    let then = release(2, &[("foo", 1), ("new", 0), ("bar", 0)]);
    assert_eq!(action(&held, &then, false), Some(Action::Upgrade));
    let stages = plan(&held, &then, false);
    let names: Vec<_> = stages.iter().map(|stage| (stage.name.to_string(), stage.is_settled)).collect();
    let names: Vec<_> = names.iter().map(|(name, settled)| (name.as_str(), *settled)).collect();
    assert_eq!(
        names,
        [
            ("Resolve", false),
            ("Verify", false),
            ("CheckDependencies", false),
            ("CheckQuota", false),
            ("Runner", false),
            ("Lifecycle/foo", false),
            ("Lifecycle/new", false),
            ("Publish", false),
            ("Disable", true),
            ("RemoveRunner", true),
        ]
    );
}

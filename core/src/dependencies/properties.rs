//! What holds for every workspace and every catalog, tried with arbitrary ones.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::samples::name;
use super::*;
use crate::{highest, parse_requirement};

/// Of a few, so that they meet.
fn extension() -> impl Strategy<Value = ExtensionName> {
    (0_u8..6).prop_map(|number| name(&format!("com.e{number}")))
}

fn interface() -> impl Strategy<Value = String> {
    (0_u8..4).prop_map(|number| format!("i{number}"))
}

fn version() -> impl Strategy<Value = Version> {
    prop::sample::select(vec!["1.0.0", "1.1.0", "2.0.0", "2.1.0-rc.1"]).prop_map(|text| text.parse().unwrap())
}

fn requirement() -> impl Strategy<Value = VersionReq> {
    let some = prop::sample::select(vec!["^1", "^2", "<2", ">=1.1", ">=2.1.0-rc", "=1.0.0"]);
    prop_oneof![6 => Just("*"), 2 => some].prop_map(|text| parse_requirement(text).unwrap())
}

fn need() -> impl Strategy<Value = Need> {
    let of = prop_oneof![
        3 => extension().prop_map(Needed::Extension),
        2 => interface().prop_map(Needed::Interface),
    ];
    let is_optional = prop::bool::weighted(0.2);
    (of, requirement(), is_optional).prop_map(|(of, version, is_optional)| Need { of, version, is_optional })
}

fn provides() -> impl Strategy<Value = BTreeMap<String, Version>> {
    prop::collection::btree_map(interface(), version(), 0..2)
}

fn needs() -> impl Strategy<Value = Vec<Need>> {
    prop::collection::vec(need(), 0..3)
}

fn offer() -> impl Strategy<Value = Offer> {
    (version(), provides(), needs()).prop_map(|(version, provides, needs)| Offer { version, provides, needs })
}

fn catalog() -> impl Strategy<Value = Catalog> {
    let offers = prop::collection::vec(offer(), 1..4).prop_map(|all| {
        let mut versions = BTreeSet::new();
        all.into_iter().filter(|offer| versions.insert(offer.version.clone())).collect()
    });
    prop::collection::btree_map(extension(), offers, 3..7)
}

fn installed() -> impl Strategy<Value = Installed> {
    (extension(), offer(), any::<bool>())
        .prop_map(|(extension, offer, is_ready)| one(extension, &offer, is_ready))
}

fn one(extension: ExtensionName, offer: &Offer, is_ready: bool) -> Installed {
    let (version, provides) = (offer.version.clone(), offer.provides.clone());
    Installed {
        present: Present { extension, version, provides, is_ready, is_leaving: false },
        needs: offer.needs.clone(),
    }
}

/// One of each at most.
fn there() -> impl Strategy<Value = Vec<Installed>> {
    prop::collection::vec(installed(), 0..6).prop_map(|all| {
        let mut names = BTreeSet::new();
        all.into_iter().filter(|one| names.insert(one.present.extension.clone())).collect()
    })
}

/// The same, where nobody is without what it needs: who would be goes, until nobody would.
fn complete() -> impl Strategy<Value = Vec<Installed>> {
    there().prop_map(|mut all| {
        loop {
            let left: Vec<_> = all.iter().filter(|one| is_complete(one, &all)).cloned().collect();
            if left.len() == all.len() {
                return all;
            }
            all = left;
        }
    })
}

/// Whether nothing that it requires is missing, whether or not that is ready.
fn is_complete(of: &Installed, all: &[Installed]) -> bool {
    let all: Vec<Present> = all.iter().map(|one| one.present.clone()).collect();
    let required = |checked: &Checked| {
        checked.need.is_optional || matches!(checked.state, State::Satisfied { .. } | State::NotReady { .. })
    };
    check(&of.present, &of.needs, &all).iter().all(required)
}

/// The same, and that it gets no wrong version of what is optional.
fn is_content(of: &Installed, all: &[Installed]) -> bool {
    let all: Vec<Present> = all.iter().map(|one| one.present.clone()).collect();
    let is_wrong = |checked: &Checked| matches!(checked.state, State::WrongVersion { .. } | State::Missing);
    !check(&of.present, &of.needs, &all).iter().any(is_wrong)
}

fn without(all: &[Installed], gone: &ExtensionName) -> Vec<Installed> {
    all.iter().filter(|one| one.present.extension != *gone).cloned().collect()
}

/// What is to be installed is not there before.
fn task() -> impl Strategy<Value = (Installed, Vec<Installed>, Catalog)> {
    let needs = prop::collection::vec(need(), 1..4);
    let there = there().prop_map(|all| all.into_iter().take(2).collect());
    (provides(), needs, there, catalog()).prop_map(|(provides, needs, there, catalog): (_, _, Vec<_>, _)| {
        let offer = Offer { version: Version::new(1, 0, 0), provides, needs };
        (one(name("com.own"), &offer, false), there, catalog)
    })
}

/// What is installed when that has come along.
fn come(along: &[Along], catalog: &Catalog) -> Vec<Installed> {
    let one = |along: &Along| {
        let offer = catalog[&along.extension].iter().find(|offer| offer.version == along.version);
        one(along.extension.clone(), offer.unwrap(), false)
    };
    along.iter().map(one).collect()
}

/// Whether each of these is complete when they come in these layers to what is there.
fn can_come(layers: &[Vec<Along>], there: &[Installed], catalog: &Catalog) -> bool {
    let mut there = there.to_vec();
    layers.iter().all(|layer| {
        let new = come(layer, catalog);
        let are_complete = new.iter().all(|one| is_complete(one, &there));
        there.extend(new);
        are_complete
    })
}

proptest! {
    #[test]
    fn nothing_that_comes_along_meets_a_missing_dependency((own, there, catalog) in task()) {
        if let Ok(layers) = to_install(&own, &there, &catalog) {
            prop_assert!(can_come(&layers, &there, &catalog));
        }
    }

    #[test]
    fn what_comes_along_is_all_that_is_needed_and_no_more((own, there, catalog) in task()) {
        if let Ok(layers) = to_install(&own, &there, &catalog) {
            let new = [come(&layers.concat(), &catalog), vec![own]].concat();
            let all = [there, new.clone()].concat();
            prop_assert!(new.iter().all(|one| is_content(one, &all)), "all that is needed");
            for gone in layers.concat() {
                let left = without(&all, &gone.extension);
                let is_missed = |one: &Installed| left.contains(one) && !is_complete(one, &left);
                prop_assert!(new.iter().any(is_missed), "{} is too much", gone.extension);
            }
        }
    }

    #[test]
    fn what_comes_along_is_the_highest_that_is_asked_for((own, there, catalog) in task()) {
        for along in to_install(&own, &there, &catalog).into_iter().flatten().flatten() {
            let all = catalog[&along.extension].iter().map(|offer| (offer.version.clone(), ()));
            prop_assert_eq!(highest(&along.requirement, all), Some((along.version, ())));
            prop_assert!(!along.needed_by.is_empty());
        }
    }

    #[test]
    fn what_is_there_and_the_order_of_the_needs_make_no_difference((own, there, catalog) in task()) {
        let (mut turned, mut there_turned) = (own.clone(), there.clone());
        turned.needs.reverse();
        there_turned.reverse();
        // What is refused first may be another thing.
        let of = |own, there| to_install(own, there, &catalog).ok();
        prop_assert_eq!(of(&own, &there).is_some(), of(&turned, &there_turned).is_some());
    }

    #[test]
    fn what_is_refused_is_in_the_way((own, there, catalog) in task()) {
        let provides = |need: &Need, name: &ExtensionName, offer: &Offer| {
            need.is_met_by(&one(name.clone(), offer, false).present)
        };
        let offered = |need: &Need| -> BTreeSet<ExtensionName> {
            let offers = catalog.iter().flat_map(|(name, all)| all.iter().map(move |offer| (name, offer)));
            offers.filter(|(name, offer)| provides(need, name, offer)).map(|(name, _)| name.clone()).collect()
        };
        let others = &there;
        let is_new = |name: &ExtensionName| others.iter().all(|one| one.present.extension != *name);
        match to_install(&own, &there, &catalog) {
            Err(Refusal::NotOffered(asked)) => {
                // A pre-release comes along for no interface, and what is there is not upgraded.
                let by_name = matches!(asked.need.of, Needed::Extension(_));
                prop_assert!(!by_name || offered(&asked.need).iter().all(|name| !is_new(name)));
                prop_assert!(!others.iter().any(|one| asked.need.is_met_by(&one.present)));
            }
            Err(Refusal::Ambiguous { asked, providers }) => {
                prop_assert!(providers.len() > 1);
                prop_assert!(providers.iter().all(|name| is_new(name) && offered(&asked.need).contains(name)));
            }
            Err(Refusal::Conflict { extension, asked }) => {
                let by_name = asked.iter().any(|asked| matches!(asked.need.of, Needed::Extension(_)));
                let may = |offer: &&Offer| by_name || offer.version.pre.is_empty();
                let does = |offer: &&Offer| {
                    let present = one(extension.clone(), offer, false).present;
                    asked.iter().all(|Asked { need, .. }| {
                        need.is_met_by(&present) || need.is_optional && present.version_of(&need.of).is_none()
                    })
                };
                prop_assert_eq!(catalog[&extension].iter().filter(may).find(does), None);
            }
            Err(Refusal::Unfit { checked, .. }) => {
                let is_wrong = matches!(checked.state, State::WrongVersion { .. });
                prop_assert!(is_wrong);
                prop_assert!(!others.iter().any(|one| checked.need.is_met_by(&one.present)));
            }
            Err(Refusal::Circle(circle)) => prop_assert!(!circle.0.is_empty()),
            Err(other @ (Refusal::TooMany | Refusal::TooIntricate)) => prop_assert!(false, "{}", other),
            Ok(_) => {}
        }
    }

    #[test]
    fn what_is_deleted_altogether_goes(mut there in complete()) {
        there.iter_mut().for_each(|one| one.present.is_leaving = true);
        while !there.is_empty() {
            let before = there.len();
            let stays: Vec<_> = there.iter().filter(|one| !dependents(one, &there).is_empty()).cloned().collect();
            there = stays;
            prop_assert!(there.len() < before, "they wait for each other: {there:?}");
        }
    }

    /// Nor while somebody who stays needs it, though that may be by way of others.
    #[test]
    fn who_stays_keeps_what_it_needs(mut there in complete(), leaving in prop::collection::vec(any::<bool>(), 0..12)) {
        for (one, is_leaving) in there.iter_mut().zip(leaving) {
            one.present.is_leaving = is_leaving;
        }
        loop {
            let (goes, stays): (Vec<_>, Vec<_>) = there
                .iter()
                .cloned()
                .partition(|one| one.present.is_leaving && dependents(one, &there).is_empty());
            there = stays;
            if goes.is_empty() {
                break;
            }
        }
        for one in &there {
            prop_assert!(is_complete(one, &there), "{} lacks something", one.present.extension);
        }
    }

    #[test]
    fn nobody_depends_on_what_can_go(there in complete()) {
        for gone in &there {
            let left = without(&there, &gone.present.extension);
            let blocked = dependents(gone, &there);
            let incomplete: Vec<_> = left.iter().filter(|one| !is_complete(one, &left)).collect();
            prop_assert_eq!(blocked.len(), incomplete.len());
            for (dependent, one) in blocked.iter().zip(incomplete) {
                prop_assert_eq!(&dependent.extension, &one.present.extension);
            }
        }
    }

    #[test]
    fn an_upgrade_that_breaks_nobody_leaves_all_content(there in complete(), to in offer()) {
        let there: Vec<_> = there.iter().filter(|one| is_content(one, &there)).cloned().collect();
        for before in &there {
            let name = &before.present.extension;
            let others = without(&there, name);
            let after = one(name.clone(), &to, true);
            let all = [others.clone(), vec![after.clone()]].concat();
            let broken: BTreeSet<_> =
                breaks(&after.present, &there).into_iter().map(|dependent| dependent.extension).collect();
            for other in others {
                let expected = is_content(&other, &there) && !is_content(&other, &all);
                // Who is not content already may be worse off, too.
                if is_content(&other, &there) {
                    prop_assert_eq!(broken.contains(&other.present.extension), expected);
                }
            }
        }
    }

    #[test]
    fn who_never_becomes_ready_is_in_a_circle_or_waits_for_one(mut there in complete()) {
        let before = there.clone();
        while let Some(next) = (0..there.len()).find(|index| {
            let all: Vec<Present> = there.iter().map(|one| one.present.clone()).collect();
            !all[*index].is_ready && check(&all[*index], &there[*index].needs, &all).iter().all(|checked| {
                checked.is_met() || checked.need.is_optional
            })
        }) {
            there[next].present.is_ready = true;
        }
        let stuck: BTreeSet<_> =
            there.iter().filter(|one| !one.present.is_ready).map(|one| one.present.extension.to_string()).collect();
        let circles: Vec<_> =
            before.iter().filter_map(|one| cycle(&one.present.extension, &before)).map(|circle| circle.0).collect();
        prop_assert_eq!(stuck.is_empty(), circles.is_empty());
        for circle in circles {
            prop_assert!(circle.iter().all(|name| stuck.contains(name)));
            for (name, next) in circle.iter().zip(circle.iter().cycle().skip(1)) {
                let of = |name: &String| before.iter().find(|one| one.present.extension.as_str() == name).unwrap();
                prop_assert!(of(name).required().any(|need| need.is_met_by(&of(next).present)));
            }
        }
    }
}

/// Otherwise the properties above could hold because nothing ever comes along.
#[test]
fn the_arbitrary_tasks_are_of_all_kinds() {
    let mut runner = TestRunner::deterministic();
    let mut kinds = BTreeMap::<&str, usize>::new();
    for _ in 0..4000 {
        let (own, there, catalog) = task().new_tree(&mut runner).unwrap().current();
        let kind = match to_install(&own, &there, &catalog) {
            Ok(layers) if layers.is_empty() => "nothing",
            Ok(layers) if layers.len() == 1 => "one layer",
            Ok(_) => "several layers",
            Err(Refusal::NotOffered(_)) => "not offered",
            Err(Refusal::Unfit { .. }) => "unfit",
            Err(Refusal::Conflict { .. }) => "conflict",
            Err(Refusal::Ambiguous { .. }) => "ambiguous",
            Err(Refusal::Circle(_)) => "circle",
            Err(Refusal::TooMany | Refusal::TooIntricate) => "too much",
        };
        *kinds.entry(kind).or_default() += 1;
    }
    let few = |kind: &&str| kinds.get(*kind).is_none_or(|count| *count < 5);
    let all =
        ["nothing", "one layer", "several layers", "not offered", "unfit", "conflict", "ambiguous", "circle"];
    assert_eq!(all.iter().filter(|kind| few(kind)).collect::<Vec<_>>(), Vec::<&&str>::new(), "{kinds:?}");
}

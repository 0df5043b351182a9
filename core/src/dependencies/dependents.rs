//! Who loses something when an extension goes or becomes another version.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::check::state;
use super::{Installed, Need, Present};
use crate::ExtensionName;

/// An extension that is in the way, with what it needs. Displayed: "com.example.shop needs com.example.base ^1, interface users ^2".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependent {
    /// Which.
    pub extension: ExtensionName,
    /// What it would be without; at least one.
    pub needs: Vec<Need>,
}

impl fmt::Display for Dependent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let needs: Vec<String> = self.needs.iter().map(Need::to_string).collect();
        write!(formatter, "{} needs {}", self.extension, needs.join(", "))
    }
}

/// Those of `there` that cannot do without `of`: it meets a need of theirs which is not optional, and nobody else does who stays, ready or
/// not. They block its removal. Who is without something already is no worse off and blocks nothing.
///
/// Those that are to be deleted and need each other in a circle would wait for each other for ever: they go together, once nobody else
/// needs any of them. Until then whoever does is a dependent of each.
#[must_use]
pub fn dependents(of: &Installed, there: &[Installed]) -> Vec<Dependent> {
    let others = there.iter().filter(|other| other.present.extension != of.present.extension);
    let all: Vec<Installed> = others.chain([of]).cloned().collect();
    let (of, there) = (&of.present, &all[..]);
    let direct = without(of, there);
    let circle = circle(of, &direct, there);
    if circle.is_empty() {
        return direct;
    }
    let is_in =
        |name: &ExtensionName| *name == of.extension || circle.iter().any(|one| one.extension == *name);
    let of_others = circle.iter().flat_map(|member| without(member, there));
    let mut all: Vec<Dependent> = Vec::new();
    for dependent in direct.into_iter().chain(of_others).filter(|dependent| !is_in(&dependent.extension)) {
        match all.iter_mut().find(|known| known.extension == dependent.extension) {
            Some(known) => known.needs.extend(dependent.needs),
            None => all.push(dependent),
        }
    }
    all
}

/// Those of `there` that would be without something if `of` alone went.
fn without(of: &Present, there: &[Installed]) -> Vec<Dependent> {
    let others = || there.iter().filter(|other| other.present.extension != of.extension);
    let stays = |other: &&Installed| !other.present.is_leaving;
    collect(others(), |one, need| {
        let is_own = need.is_met_by(&one.present);
        let has_other = others().filter(stays).any(|other| need.is_met_by(&other.present));
        !need.is_optional && need.is_met_by(of) && !is_own && !has_other
    })
}

/// The others that are to be deleted as `of` is, and wait for each other with it. `direct` are its dependents.
fn circle<'a>(of: &Present, direct: &[Dependent], there: &'a [Installed]) -> Vec<&'a Present> {
    let leaving: BTreeMap<&ExtensionName, &Present> = there
        .iter()
        .map(|one| &one.present)
        .filter(|one| one.is_leaving && one.extension != of.extension)
        .map(|one| (&one.extension, one))
        .collect();
    if !of.is_leaving || !direct.iter().any(|dependent| leaving.contains_key(&dependent.extension)) {
        return Vec::new();
    }
    // Whom each of them waits for.
    let names = |dependents: &[Dependent]| -> Vec<ExtensionName> {
        dependents.iter().map(|dependent| dependent.extension.clone()).collect()
    };
    let waits_for: BTreeMap<&ExtensionName, Vec<ExtensionName>> =
        leaving.iter().map(|(name, present)| (*name, names(&without(present, there)))).collect();
    let reached_from = |first: Vec<ExtensionName>| {
        let (mut reached, mut next) = (BTreeSet::new(), first);
        while let Some(name) = next.pop() {
            if let Some(further) = waits_for.get(&name).filter(|_| !reached.contains(&name)) {
                next.extend(further.iter().cloned());
            }
            reached.insert(name);
        }
        reached
    };
    let ahead = reached_from(names(direct));
    leaving
        .into_iter()
        .filter(|(name, _)| ahead.contains(*name))
        .filter(|(name, _)| reached_from(vec![(*name).clone()]).contains(&of.extension))
        .map(|(_, present)| present)
        .collect()
}

/// Those of `there` whose needs were met before `of` is what it is to be, and are not after that. They block the upgrade. A need that is
/// optional counts once the version that is there will do, and where the new version brings what nobody had, but as a wrong version.
///
/// `there` has the extension as it is before, or does not have it: then this says who would be in the way of its being there at all.
#[must_use]
pub fn breaks(of: &Present, there: &[Installed]) -> Vec<Dependent> {
    let others = || there.iter().filter(|other| other.present.extension != of.extension);
    let before = there.iter().find(|one| one.present.extension == of.extension);
    collect(others(), |one, need| {
        let touches = |present: &Present| present.version_of(&need.of).is_some();
        if !touches(of) && !before.is_some_and(|before| touches(&before.present)) {
            return false;
        }
        let was = state(need, &one.present, there.iter().map(|other| &other.present));
        let will_be = state(need, &one.present, others().map(|other| &other.present).chain([of]));
        was.fits() && !will_be.fits()
    })
}

fn collect<'a>(
    of: impl Iterator<Item = &'a Installed>,
    is_affected: impl Fn(&Installed, &Need) -> bool,
) -> Vec<Dependent> {
    of.map(|one| Dependent {
        extension: one.present.extension.clone(),
        needs: one.needs.iter().filter(|need| is_affected(one, need)).cloned().collect(),
    })
    .filter(|dependent| !dependent.needs.is_empty())
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::samples::{installed, leaving, need, optional, present, waiting};
    use super::*;

    fn say(dependents: &[Dependent]) -> Vec<String> {
        dependents.iter().map(Dependent::to_string).collect()
    }

    #[test]
    fn who_would_be_without_something_is_named_with_what_it_needs() {
        let idp = installed("com.example.idp 1.2.0 users=1.0.0 groups=1.0.0", &[]);
        let there = [
            installed("com.example.idp 1.2.0 users=1.0.0 groups=1.0.0", &["com.example.base 1"]),
            installed(
                "com.example.a 1.0.0",
                &["com.example.idp ^1", "interface users 1", "com.example.base 1"],
            ),
            waiting("com.example.b 1.0.0", &["interface groups 1"]),
            installed("com.example.base 1.0.0", &[]),
        ];
        assert_eq!(
            say(&dependents(&idp, &there)),
            [
                "com.example.a needs com.example.idp ^1, interface users ^1",
                "com.example.b needs interface groups ^1"
            ]
        );
        assert_eq!(
            say(&dependents(&installed("com.example.base 1.0.0", &[]), &there)),
            ["com.example.idp needs com.example.base ^1", "com.example.a needs com.example.base ^1"]
        );
        assert_eq!(dependents(&installed("com.example.b 1.0.0", &[]), &there), []);
    }

    #[test]
    fn who_has_another_provider_or_none_already_does_not_block() {
        let idp = installed("com.example.idp 1.0.0 users=1.0.0", &[]);
        let there =
            |others: &[Installed]| [&[installed("com.example.idp 1.0.0 users=1.0.0", &[])], others].concat();
        let user = installed("com.example.a 1.0.0", &["interface users ^1"]);
        let other = |text: &str| there(&[user.clone(), installed(text, &[])]);
        assert_eq!(dependents(&idp, &other("com.example.other 1.0.0 users=1.5.0")), []);
        assert_eq!(dependents(&idp, &other("com.example.other 1.0.0 users=2.0.0")).len(), 1);

        let itself = installed("com.example.a 1.0.0 users=1.0.0", &["interface users ^1"]);
        assert_eq!(dependents(&idp, &there(&[itself])), []);
        let already = installed("com.example.a 1.0.0", &["com.example.idp ^2", "interface users ^2"]);
        assert_eq!(dependents(&idp, &there(&[already])), []);
        let mut could = installed("com.example.a 1.0.0", &[]);
        could.needs = vec![optional("com.example.idp ^1")];
        assert_eq!(dependents(&idp, &there(&[could])), []);
    }

    #[test]
    fn who_is_to_be_deleted_is_no_other_provider() {
        let user = installed("com.example.a 1.0.0", &["interface users ^1"]);
        let there =
            |other: Installed| [installed("com.example.idp 1.0.0 users=1.0.0", &[]), user.clone(), other];
        let idp = installed("com.example.idp 1.0.0 users=1.0.0", &[]);
        let stays = installed("com.example.other 1.0.0 users=1.0.0", &[]);
        assert_eq!(dependents(&idp, &there(stays)), []);
        let goes = leaving("com.example.other 1.0.0 users=1.0.0", &[]);
        assert_eq!(say(&dependents(&idp, &there(goes))), ["com.example.a needs interface users ^1"]);
        let itself = leaving("com.example.a 1.0.0 users=1.0.0", &["interface users ^1"]);
        assert_eq!(dependents(&idp, &[itself]), [], "it has what it needs for as long as it is there");
    }

    #[test]
    fn who_need_each_other_and_are_deleted_go_together() {
        let of = |name: &str, there: &[Installed]| {
            let one = there.iter().find(|one| one.present.extension.as_str() == name).unwrap();
            say(&dependents(one, &there.iter().filter(|other| *other != one).cloned().collect::<Vec<_>>()))
        };
        let base = || leaving("com.example.base 1.1.0", &["com.example.shop ^1"]);
        let shop = || leaving("com.example.shop 1.0.0", &["com.example.base ^1"]);
        let pair = [base(), shop()];
        assert_eq!(of("com.example.base", &pair), Vec::<String>::new());
        assert_eq!(of("com.example.shop", &pair), Vec::<String>::new());

        let stays = [base(), installed("com.example.shop 1.0.0", &["com.example.base ^1"])];
        assert_eq!(of("com.example.base", &stays), ["com.example.shop needs com.example.base ^1"]);

        // Somebody outside needs one of them, and so all of them stay.
        let needed = [base(), shop(), installed("com.example.cart 1.0.0", &["com.example.shop ^1"])];
        for one in ["com.example.base", "com.example.shop"] {
            assert_eq!(of(one, &needed), ["com.example.cart needs com.example.shop ^1"], "{one}");
        }

        // Who leaves, too, but is in no circle goes first.
        let before = [base(), shop(), leaving("com.example.cart 1.0.0", &["com.example.base ^1"])];
        assert_eq!(of("com.example.cart", &before), Vec::<String>::new());
        for one in ["com.example.base", "com.example.shop"] {
            assert_eq!(of(one, &before), ["com.example.cart needs com.example.base ^1"], "{one}");
        }
    }

    #[test]
    fn a_circle_of_three_goes_together() {
        let there = [
            leaving("com.example.a 1.0.0", &["com.example.b ^1"]),
            leaving("com.example.b 1.0.0", &["com.example.c ^1"]),
            leaving("com.example.c 1.0.0", &["com.example.a ^1"]),
            leaving("com.example.under 1.0.0", &[]),
            leaving("com.example.over 1.0.0", &["com.example.under ^1"]),
        ];
        for one in &there[..3] {
            assert_eq!(dependents(one, &there), [], "{}", one.present.extension);
        }
        assert_eq!(
            say(&dependents(&there[3], &there)),
            ["com.example.over needs com.example.under ^1"],
            "who waits in no circle goes one after the other"
        );
    }

    #[test]
    fn an_upgrade_is_blocked_by_those_whose_needs_it_would_not_meet() {
        let mut optionally = installed("com.example.c 1.0.0", &[]);
        optionally.needs = vec![optional("com.example.idp ~1.2"), optional("interface users ^1")];
        let there = [
            installed("com.example.idp 1.2.0 users=1.0.0", &[]),
            installed("com.example.a 1.0.0", &["com.example.idp ^1", "interface users ^1"]),
            installed("com.example.b 1.0.0", &["com.example.idp *"]),
            optionally,
        ];
        let say = |to: &str| say(&breaks(&present(to), &there));
        assert_eq!(say("com.example.idp 1.2.1 users=1.1.0"), Vec::<String>::new());
        assert_eq!(
            say("com.example.idp 1.3.0"),
            ["com.example.a needs interface users ^1", "com.example.c needs com.example.idp ~1.2"],
            "an interface that is there no more is no wrong version of it"
        );
        assert_eq!(
            say("com.example.idp 2.0.0 users=2.0.0"),
            [
                "com.example.a needs com.example.idp ^1, interface users ^1",
                "com.example.c needs com.example.idp ~1.2, interface users ^1",
            ]
        );
        assert_eq!(
            say("com.example.idp 2.0.0-rc.1 users=1.0.0"),
            [
                "com.example.a needs com.example.idp ^1",
                "com.example.b needs com.example.idp *",
                "com.example.c needs com.example.idp ~1.2",
            ]
        );
    }

    #[test]
    fn who_was_without_it_before_the_upgrade_does_not_block_it() {
        let there = [
            installed("com.example.idp 1.0.0 users=1.0.0", &[]),
            installed(
                "com.example.a 1.0.0",
                &["com.example.idp ^3", "interface users ^3", "com.example.none *"],
            ),
            installed("com.example.b 1.0.0", &["interface users ^1"]),
            installed("com.example.other 1.0.0 users=1.0.0", &[]),
        ];
        assert_eq!(breaks(&present("com.example.idp 2.0.0 users=2.0.0"), &there), []);
    }

    #[test]
    fn what_is_new_must_not_be_a_wrong_version_for_those_who_could_use_it() {
        let mut could = installed("com.example.a 1.0.0", &[]);
        could.needs = vec![optional("com.example.idp ^1")];
        let there = [could];
        assert_eq!(breaks(&present("com.example.idp 1.0.0"), &there), []);
        let expected = Dependent {
            extension: "com.example.a".parse().unwrap(),
            needs: vec![Need { is_optional: true, ..need("com.example.idp ^1") }],
        };
        assert_eq!(breaks(&present("com.example.idp 2.0.0"), &there), [expected]);
    }
}

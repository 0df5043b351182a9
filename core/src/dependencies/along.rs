//! What has to be installed along with an extension.

mod search;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use semver::{Comparator, Op, Version, VersionReq};

use self::search::Search;
use super::circle::{Cycle, Waiting};
use super::{Checked, Installed, Need, Needed, Present};
use crate::{ExtensionName, highest, parse_requirement};

/// How many extensions one brings along at most.
pub const MAX_ALONG: usize = 64;

/// How long the text of a requirement may be: as much as an Install takes.
const MAX_REQUIREMENT: usize = 128;

/// How many names a refusal shows. There may be as many as the catalog has.
const MAX_SHOWN: usize = 8;

/// A version that can be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Which.
    pub version: Version,
    /// The interfaces that it provides.
    pub provides: BTreeMap<String, Version>,
    /// What it needs.
    pub needs: Vec<Need>,
}

/// What the tenant may install: none that is yanked, not verified, or of an extension that is not allowed to them.
pub type Catalog = BTreeMap<ExtensionName, Vec<Offer>>;

/// An extension to be installed along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Along {
    /// Which.
    pub extension: ExtensionName,
    /// What of it is wanted. `version` is the highest of the catalog that satisfies it; it has at most 128 characters.
    pub requirement: VersionReq,
    /// The version that was chosen.
    pub version: Version,
    /// Who needs it, the extension that all this is for included.
    pub needed_by: BTreeSet<ExtensionName>,
}

/// A need and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Who needs it.
    pub by: ExtensionName,
    /// What it needs.
    pub need: Need,
}

impl fmt::Display for Asked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} needs {}", self.by, self.need)
    }
}

/// Why nothing can be installed along. Displayed, it names at most eight extensions, whatever there is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The catalog has nothing that meets a need.
    #[error("{0}, and the catalog has none")]
    NotOffered(Asked),
    /// What is there already is a wrong version. It is the tenant's to change.
    #[error("{by}: {checked}")]
    Unfit {
        /// Who needs it.
        by: ExtensionName,
        /// What it needs, and how that stands.
        checked: Box<Checked>,
    },
    /// No version of an extension meets all that is needed of it.
    #[error("no version of {extension} will do for all: {}", shown(.asked, "; "))]
    Conflict {
        /// Of which.
        extension: ExtensionName,
        /// What is needed of it.
        asked: Vec<Asked>,
    },
    /// Several extensions of the catalog provide an interface. The tenant has to install one of them.
    #[error("{asked}, which several provide: install one of {}", shown(.providers, ", "))]
    Ambiguous {
        /// What is needed.
        asked: Asked,
        /// Who provides it.
        providers: Vec<ExtensionName>,
    },
    /// It would be more than [`MAX_ALONG`].
    #[error("more than {MAX_ALONG} extensions would have to be installed along")]
    TooMany,
    /// No versions that fit each other were found with reasonable effort.
    #[error("too many versions exclude each other, install some of what is needed first")]
    TooIntricate,
    /// Some would wait for each other for ever.
    #[error(transparent)]
    Circle(#[from] Cycle),
}

fn shown<T: fmt::Display>(all: &[T], separator: &str) -> String {
    let mut shown: Vec<String> = all.iter().take(MAX_SHOWN).map(T::to_string).collect();
    if let more @ 1.. = all.len().saturating_sub(MAX_SHOWN) {
        shown.push(format!("and {more} more"));
    }
    shown.join(separator)
}

/// What has to be installed along with `own` so that all that it needs is there: in layers, each of which needs none but earlier ones and what
/// is `there`. Empty where nothing is missing. `own` is not ready, unless others may count on it already; what `there` has of the same extension
/// does not count.
///
/// It is all that is needed and no more. What is optional is not installed, but nobody gets a wrong version of it either. What is `there` stays
/// as it is. Of an extension the highest version is chosen that will do for all who need it; whoever needs it is not lowered for that, because
/// nobody but the tenant decides to take less than the highest. Where an interface is needed, it is the only extension of the catalog that
/// provides it.
///
/// # Errors
/// [`Refusal`]: the first thing that is in the way.
pub fn to_install(
    own: &Installed,
    there: &[Installed],
    catalog: &Catalog,
) -> Result<Vec<Vec<Along>>, Refusal> {
    let is_other = |one: &&Installed| one.present.extension != own.present.extension;
    let there: Vec<&Installed> = there.iter().filter(is_other).collect();
    let chosen = Search::new(own, &there, catalog).chosen()?;
    let installed: Vec<Installed> = chosen.values().map(|choice| choice.installed()).collect();
    let mine = || installed.iter().chain([own]);
    // With what is there and waits: it may wait for what is about to wait for it.
    let waiting = Waiting::among(there.iter().copied().chain(mine()));
    if let Some(circle) = mine().find_map(|one| waiting.circle(&one.present.extension)) {
        return Err(circle.into());
    }
    let own_there = Some(own).filter(|own| own.present.is_ready);
    let is_there =
        |need: &Need| there.iter().copied().chain(own_there).any(|one| need.is_met_by(&one.present));
    let layers = layers(&installed, is_there)?;
    let along = |one: &Installed| {
        let offers = catalog.get(&one.present.extension).map(Vec::as_slice).unwrap_or_default();
        along(&one.present, mine(), is_there, offers)
    };
    Ok(layers.into_iter().map(|layer| layer.into_iter().map(along).collect()).collect())
}

/// Each needs none but earlier ones and what `is_there`. That this is possible is known already: there is no circle, and nothing is missing.
fn layers(all: &[Installed], is_there: impl Fn(&Need) -> bool) -> Result<Vec<Vec<&Installed>>, Cycle> {
    let missing = |one: &Installed| one.required().filter(|need| !is_there(need)).cloned().collect();
    let mut left: Vec<(&Installed, Vec<Need>)> = all.iter().map(|one| (one, missing(one))).collect();
    let mut layers = Vec::new();
    while !left.is_empty() {
        let (layer, rest): (Vec<_>, Vec<_>) = left.into_iter().partition(|(_, missing)| missing.is_empty());
        if layer.is_empty() {
            return Err(Cycle(rest.iter().map(|(one, _)| one.present.extension.to_string()).collect()));
        }
        let layer: Vec<&Installed> = layer.into_iter().map(|(one, _)| one).collect();
        left = rest;
        for (_, missing) in &mut left {
            missing.retain(|need| !layer.iter().any(|one| need.is_met_by(&one.present)));
        }
        layers.push(layer);
    }
    Ok(layers)
}

fn along<'a>(
    chosen: &Present,
    all: impl Iterator<Item = &'a Installed>,
    is_there: impl Fn(&Need) -> bool,
    offers: &[Offer],
) -> Along {
    let mut needed_by = BTreeSet::new();
    let mut comparators: Vec<Comparator> = Vec::new();
    for one in all {
        if one.required().any(|need| need.is_met_by(chosen) && !is_there(need)) {
            needed_by.insert(one.present.extension.clone());
        }
        let by_name = one.needs.iter().filter(|need| need.of == Needed::Extension(chosen.extension.clone()));
        for comparator in by_name.flat_map(|need| &need.version.comparators) {
            if !comparators.contains(comparator) {
                comparators.push(comparator.clone());
            }
        }
    }
    Along {
        extension: chosen.extension.clone(),
        requirement: requirement(comparators, &chosen.version, offers),
        version: chosen.version.clone(),
        needed_by,
    }
}

/// What all ask for, as long as it means the version that was chosen. It may mean a higher one, which does not provide an interface that is
/// needed; and many may ask for so much that no Install could say it.
fn requirement(comparators: Vec<Comparator>, version: &Version, offers: &[Offer]) -> VersionReq {
    let only = |op| Comparator {
        op,
        major: version.major,
        minor: Some(version.minor),
        patch: Some(version.patch),
        pre: version.pre.clone(),
    };
    let mut requirement = VersionReq { comparators };
    let all = offers.iter().map(|offer| (offer.version.clone(), ()));
    if highest(&requirement, all).is_none_or(|(highest, ())| highest != *version) {
        requirement.comparators.push(only(Op::LessEq));
    }
    let text = requirement.to_string();
    if text.len() > MAX_REQUIREMENT || parse_requirement(&text).is_err() {
        requirement.comparators = vec![only(Op::Exact)];
    }
    requirement
}

#[cfg(test)]
mod tests {
    use super::super::samples::{installed, name, offer, optional, waiting};
    use super::*;

    fn catalog(all: &[(&str, &[Offer])]) -> Catalog {
        all.iter().map(|(extension, offers)| (name(extension), offers.to_vec())).collect()
    }

    /// Each as `name requirement version`, the layers apart.
    fn say(needs: &[&str], there: &[Installed], catalog: &Catalog) -> Result<Vec<Vec<String>>, String> {
        let layers = to_install(&waiting("com.own 1.0.0", needs), there, catalog);
        let say = |along: &Along| format!("{} {} {}", along.extension, along.requirement, along.version);
        let say =
            |layers: Vec<Vec<Along>>| layers.iter().map(|layer| layer.iter().map(say).collect()).collect();
        layers.map(say).map_err(|refusal| refusal.to_string())
    }

    fn layers(all: &[&[&str]]) -> Result<Vec<Vec<String>>, String> {
        Ok(all.iter().map(|layer| layer.iter().map(|text| (*text).to_owned()).collect()).collect())
    }

    fn refused(text: &str) -> Result<Vec<Vec<String>>, String> {
        Err(text.to_owned())
    }

    #[test]
    fn all_that_is_missing_comes_along_in_layers_and_each_in_its_highest_version() {
        let catalog = catalog(&[
            ("com.a", &[offer("1.0.0", &[]), offer("1.2.0", &["com.b ^1", "com.c *"]), offer("2.0.0", &[])]),
            ("com.b", &[offer("1.9.0", &["com.c >=1,<3"]), offer("1.10.0", &["com.c >=1,<3"])]),
            ("com.c", &[offer("2.0.0", &["com.there ^1"]), offer("3.0.0-rc.1", &[])]),
            ("com.d", &[offer("1.0.0", &[])]),
        ]);
        let there = [installed("com.there 1.0.0", &[])];
        assert_eq!(
            say(&["com.a ^1", "com.d *"], &there, &catalog),
            layers(&[&["com.c >=1, <3 2.0.0", "com.d * 1.0.0"], &["com.b ^1 1.10.0"], &["com.a ^1 1.2.0"]])
        );
        assert_eq!(say(&["com.there ^1"], &there, &catalog), layers(&[]));
        assert_eq!(say(&[], &[], &Catalog::new()), layers(&[]));
        assert_eq!(say(&["com.c >=3.0.0-rc"], &there, &catalog), layers(&[&["com.c >=3.0.0-rc 3.0.0-rc.1"]]));
    }

    #[test]
    fn who_needs_what_comes_along_is_told() {
        let catalog =
            catalog(&[("com.a", &[offer("1.0.0", &["com.b *"])]), ("com.b", &[offer("1.0.0 i=1.0.0", &[])])]);
        let own = waiting("com.own 1.0.0", &["com.a *", "interface i ^1"]);
        let along = to_install(&own, &[], &catalog).unwrap().concat();
        let needed_by: Vec<_> = along.iter().map(|along| (&along.extension, &along.needed_by)).collect();
        assert_eq!(
            needed_by,
            [
                (&name("com.b"), &BTreeSet::from([name("com.a"), name("com.own")])),
                (&name("com.a"), &BTreeSet::from([name("com.own")])),
            ]
        );
    }

    #[test]
    fn a_version_that_is_too_high_for_a_later_one_is_left_with_all_that_it_brought() {
        let catalog = catalog(&[
            ("com.a", &[offer("1.0.0", &[]), offer("2.0.0", &["com.brought *"])]),
            ("com.b", &[offer("1.0.0", &["com.a ^1"])]),
            ("com.brought", &[offer("1.0.0", &[])]),
        ]);
        assert_eq!(
            say(&["com.a *", "com.b *"], &[], &catalog),
            layers(&[&["com.a ^1 1.0.0"], &["com.b * 1.0.0"]])
        );
    }

    #[test]
    fn what_no_version_does_for_is_named_with_who_needs_it() {
        let catalog = catalog(&[
            ("com.a", &[offer("1.0.0", &["com.c ^1"])]),
            ("com.b", &[offer("1.0.0", &["com.c ^2", "com.none *"])]),
            ("com.c", &[offer("1.0.0", &[]), offer("2.0.0", &[])]),
        ]);
        assert_eq!(
            say(&["com.a *", "com.b *"], &[], &catalog),
            refused("no version of com.c will do for all: com.b needs com.c ^2; com.a needs com.c ^1")
        );
        assert_eq!(
            say(&["com.b *"], &[], &catalog),
            refused("com.b needs com.none *, and the catalog has none")
        );
        assert_eq!(
            say(&["com.c ^3"], &[], &catalog),
            refused("com.own needs com.c ^3, and the catalog has none")
        );
        assert_eq!(
            say(&["interface i ^3"], &[], &catalog),
            refused("com.own needs interface i ^3, and the catalog has none")
        );
    }

    #[test]
    fn what_is_there_stays_as_it_is() {
        let catalog = catalog(&[
            ("com.a", &[offer("1.0.0 i=1.0.0", &[]), offer("2.0.0 i=2.0.0", &[])]),
            ("com.b", &[offer("1.0.0", &["com.own ^2"])]),
        ]);
        let there = [installed("com.a 1.0.0 i=1.0.0", &[])];
        assert_eq!(
            say(&["com.a ^2"], &there, &catalog),
            refused("com.own: com.a ^2 is needed, but 1.0.0 is there")
        );
        assert_eq!(
            say(&["interface i ^2"], &there, &catalog),
            refused("com.own: interface i ^2 is needed, but com.a provides 1.0.0")
        );
        assert_eq!(
            say(&["com.b *"], &there, &catalog),
            refused("com.b: com.own ^2 is needed, but 1.0.0 is there")
        );
    }

    #[test]
    fn an_interface_is_met_by_who_comes_along_or_else_by_the_only_one_that_provides_it() {
        let catalog = catalog(&[
            ("com.a", &[offer("1.0.0 i=1.0.0", &[]), offer("2.0.0 i=2.0.0", &[])]),
            ("com.b", &[offer("1.0.0 i=2.1.0 j=1.0.0", &[])]),
            ("com.c", &[offer("1.0.0", &["interface i ^2"])]),
        ]);
        assert_eq!(
            say(&["interface i ^1"], &[], &catalog),
            layers(&[&["com.a <=1.0.0 1.0.0"]]),
            "and not in a higher version, which does not provide it"
        );
        assert_eq!(
            say(&["interface i ^2"], &[], &catalog),
            refused("com.own needs interface i ^2, which several provide: install one of com.a, com.b")
        );
        assert_eq!(
            say(&["interface i ^2", "com.b *"], &[], &catalog),
            layers(&[&["com.b * 1.0.0"]]),
            "who is needed by name comes before"
        );
        assert_eq!(
            say(&["com.c *", "interface j ^1"], &[], &catalog),
            layers(&[&["com.b * 1.0.0"], &["com.c * 1.0.0"]]),
            "what only one provides comes before what several do"
        );
        let there = [waiting("com.a 2.0.0 i=2.0.0", &[])];
        assert_eq!(say(&["com.c *"], &there, &catalog), layers(&[&["com.c * 1.0.0"]]));
    }

    #[test]
    fn who_is_needed_by_name_and_for_an_interface_is_as_high_as_both_allow() {
        let catalog = catalog(&[(
            "com.a",
            &[offer("1.0.0 i=1.0.0", &[]), offer("1.1.0 i=1.1.0", &[]), offer("1.2.0 i=2.0.0", &[])],
        )]);
        assert_eq!(
            say(&["com.a ^1", "interface i ^1"], &[], &catalog),
            layers(&[&["com.a ^1, <=1.1.0 1.1.0"]])
        );
        assert_eq!(
            say(&["com.a ~1.2", "interface i ^1"], &[], &catalog),
            refused(
                "no version of com.a will do for all: com.own needs interface i ^1; com.own needs com.a ~1.2"
            )
        );
    }

    #[test]
    fn what_is_optional_does_not_come_along_and_is_not_there_in_a_wrong_version() {
        let mut picky = offer("1.0.0", &["com.c *"]);
        picky.needs.extend([optional("com.a ^1"), optional("interface i ^1"), optional("com.none *")]);
        let catalog = catalog(&[
            ("com.a", &[offer("1.0.0", &[]), offer("2.0.0", &[])]),
            ("com.b", &[picky]),
            ("com.c", &[offer("1.0.0 i=1.0.0", &[]), offer("2.0.0", &[]), offer("3.0.0 i=3.0.0", &[])]),
        ]);
        assert_eq!(say(&["com.b *"], &[], &catalog), layers(&[&["com.c <=2.0.0 2.0.0"], &["com.b * 1.0.0"]]));
        let with_a = &["com.b *", "com.a *"];
        assert_eq!(
            say(with_a, &[], &catalog),
            layers(&[&["com.a ^1 1.0.0", "com.c <=2.0.0 2.0.0"], &["com.b * 1.0.0"]])
        );
        let there = [installed("com.a 2.0.0", &[])];
        assert_eq!(
            say(&["com.b *"], &there, &catalog),
            refused("com.b: com.a ^1 is needed, but 2.0.0 is there")
        );
    }

    #[test]
    fn those_that_would_wait_for_each_other_are_named() {
        let catalog = catalog(&[
            ("com.a", &[offer("1.0.0", &["com.b *"])]),
            ("com.b", &[offer("1.0.0", &["com.a *"])]),
            ("com.c", &[offer("1.0.0", &["com.own *"])]),
            ("com.d", &[offer("1.0.0", &["com.there *"])]),
        ]);
        assert_eq!(
            say(&["com.a *"], &[], &catalog),
            refused("they need each other in a circle: com.a → com.b")
        );
        assert_eq!(
            say(&["com.c *"], &[], &catalog),
            refused("they need each other in a circle: com.c → com.own")
        );
        let mut ready = waiting("com.own 1.0.0", &["com.c *"]);
        ready.present.is_ready = true;
        assert_eq!(to_install(&ready, &[], &catalog).unwrap().concat().len(), 1);
        let there = [waiting("com.there 1.0.0", &["com.own *"])];
        assert_eq!(
            say(&["com.d *"], &there, &catalog),
            refused("they need each other in a circle: com.d → com.there → com.own"),
            "also by way of what is there and waits"
        );
        let there = [installed("com.there 1.0.0", &["com.own *"])];
        assert_eq!(say(&["com.d *"], &there, &catalog), layers(&[&["com.d * 1.0.0"]]));
    }

    /// `com.e0` needs `com.e1`, and so on.
    fn chain(length: usize) -> Catalog {
        let link = |number: usize| {
            let next = format!("com.e{} *", number + 1);
            let needs: &[&str] = if number + 1 < length { &[&next] } else { &[] };
            (name(&format!("com.e{number}")), vec![offer("1.0.0", needs)])
        };
        (0..length).map(link).collect()
    }

    #[test]
    fn sixty_four_come_along_and_no_more() {
        let layers = to_install(&waiting("com.own 1.0.0", &["com.e0 *"]), &[], &chain(MAX_ALONG)).unwrap();
        assert_eq!((layers.len(), layers.concat().len()), (MAX_ALONG, MAX_ALONG));
        assert_eq!(
            say(&["com.e0 *"], &[], &chain(MAX_ALONG + 1)),
            refused("more than 64 extensions would have to be installed along")
        );
    }

    #[test]
    fn a_refusal_names_only_some_of_many() {
        let catalog =
            (0..100).map(|number| (name(&format!("com.e{number:03}")), vec![offer("1.0.0 i=1.0.0", &[])]));
        let refusal = say(&["interface i *"], &[], &catalog.collect()).unwrap_err();
        assert!(refusal.ends_with("com.e006, com.e007, and 92 more"), "{refusal}");
    }

    #[test]
    fn a_requirement_that_no_install_could_say_names_the_version() {
        let needs: Vec<String> = (0..40).map(|number| format!("com.a >=0.{number}.1")).collect();
        let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
        let catalog = catalog(&[("com.a", &[offer("1.2.3-rc.1", &[]), offer("1.2.3", &[])])]);
        assert_eq!(say(&needs, &[], &catalog), layers(&[&["com.a =1.2.3 1.2.3"]]));
    }

    #[test]
    fn publishers_cannot_make_the_search_go_on_for_ever() {
        // Each version of each wants all later ones just one lower: there is always one more that was chosen too high.
        let versions = 0..200;
        let lower = |extension: usize| {
            (0..extension)
                .map(move |other| move |version: usize| format!("com.e{other} <=0.{}.0", version.max(1) - 1))
        };
        let catalog: Catalog = (0..MAX_ALONG)
            .map(|extension| {
                let offers = versions.clone().map(|version| {
                    let needs: Vec<String> = lower(extension).map(|need| need(version)).collect();
                    let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
                    offer(&format!("0.{version}.0"), &needs)
                });
                (name(&format!("com.e{extension}")), offers.collect())
            })
            .collect();
        let needs: Vec<String> = (0..MAX_ALONG).map(|extension| format!("com.e{extension} *")).collect();
        let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
        assert_eq!(
            say(&needs, &[], &catalog),
            refused("too many versions exclude each other, install some of what is needed first")
        );
    }
}

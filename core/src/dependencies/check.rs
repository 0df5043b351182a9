//! Whether what an extension needs is there.

use std::cmp::Reverse;
use std::fmt;

use semver::Version;

use super::{Need, Needed, Present};
use crate::ExtensionName;

/// How a need stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// What is needed is there and ready.
    Satisfied {
        /// Who provides it: for a needed extension that one, for an interface perhaps the one that needs it.
        by: ExtensionName,
        /// In which version.
        version: Version,
    },
    /// It is there in a version that will do, but not ready.
    NotReady {
        /// Who is to provide it.
        by: ExtensionName,
        /// In which version.
        version: Version,
    },
    /// It is there, but in no version that will do.
    WrongVersion {
        /// Who provides it.
        by: ExtensionName,
        /// In which version; the highest, if there are several.
        version: Version,
    },
    /// Nobody provides it.
    Missing,
    /// Nobody provides it, and it is optional.
    Absent,
}

impl State {
    /// Whether it is there in a version that will do, ready or not.
    pub(super) fn is_there(&self) -> bool {
        matches!(self, Self::Satisfied { .. } | Self::NotReady { .. })
    }

    /// Whether there is nothing wrong with it, other than that somebody may not be ready yet.
    pub(super) fn fits(&self) -> bool {
        self.is_there() || *self == Self::Absent
    }
}

/// A need, and how it stands. Displayed, it is a reason for people: "com.example.base ^2 is missing".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// What is needed.
    pub need: Need,
    /// How it stands.
    pub state: State,
}

impl Checked {
    /// Whether it holds nothing up. What is optional is never waited for: two that could use each other would wait for ever.
    #[must_use]
    pub fn is_met(&self) -> bool {
        match self.state {
            State::NotReady { .. } => self.need.is_optional,
            _ => self.state.fits(),
        }
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let need = &self.need;
        // Of an interface it has to be said who provides it; an extension is that itself.
        let is_interface = matches!(need.of, Needed::Interface(_));
        match &self.state {
            State::Satisfied { by, version } if is_interface => {
                write!(formatter, "{need} is there, {by} provides {version}")
            }
            State::Satisfied { version, .. } => write!(formatter, "{need} is there as {version}"),
            State::NotReady { by, .. } if is_interface => {
                write!(formatter, "{need} waits for {by} to be ready")
            }
            State::NotReady { .. } => write!(formatter, "{need} is not ready yet"),
            State::WrongVersion { by, version } if is_interface => {
                write!(formatter, "{need} is needed, but {by} provides {version}")
            }
            State::WrongVersion { version, .. } => {
                write!(formatter, "{need} is needed, but {version} is there")
            }
            State::Missing => write!(formatter, "{need} is missing"),
            State::Absent => write!(formatter, "{need} is optional and not there"),
        }
    }
}

/// Each of the needs of `own`, and how it stands among what is `there`. What `own` provides itself counts if it will do, and it counts as ready;
/// what `there` has of the same extension, such as the version before an upgrade, does not.
#[must_use]
pub fn check(own: &Present, needs: &[Need], there: &[Present]) -> Vec<Checked> {
    needs.iter().map(|need| Checked { need: need.clone(), state: state(need, own, there.iter()) }).collect()
}

/// The best that can be said of a need: a fitting version before a wrong one, the own before others', a ready one before one that is not. What
/// is the same in all that is decided by version and name, so that the order in which they are listed does not matter.
pub(super) fn state<'a>(need: &Need, own: &'a Present, there: impl Iterator<Item = &'a Present>) -> State {
    let others = there.filter(|other| other.extension != own.extension);
    // That it provides another version of an interface is no reason to refuse what it could use of others.
    let own = Some(own).filter(|own| matches!(need.of, Needed::Extension(_)) || need.is_met_by(own));
    let best = others
        .map(|other| (other, false))
        .chain(own.map(|own| (own, true)))
        .filter_map(|(present, is_own)| {
            let version = present.version_of(&need.of)?;
            let fits = need.version.matches(version);
            Some((fits, is_own, is_own || present.is_ready, version, Reverse(&present.extension)))
        })
        .max();
    let Some((fits, _, is_ready, version, Reverse(by))) = best else {
        return if need.is_optional { State::Absent } else { State::Missing };
    };
    let (by, version) = (by.clone(), version.clone());
    match (fits, is_ready) {
        (false, _) => State::WrongVersion { by, version },
        (true, false) => State::NotReady { by, version },
        (true, true) => State::Satisfied { by, version },
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{need, optional, present};
    use super::*;

    fn say(needs: &[Need], there: &[Present]) -> Vec<(String, bool)> {
        let own = present("com.example.own 1.0.0 search=1.5.0");
        check(&own, needs, there).iter().map(|checked| (checked.to_string(), checked.is_met())).collect()
    }

    fn one(need: Need, there: &[Present]) -> (String, bool) {
        say(&[need], there).remove(0)
    }

    fn said(text: &str, is_met: bool) -> (String, bool) {
        (text.to_owned(), is_met)
    }

    fn not_ready(text: &str) -> Present {
        Present { is_ready: false, ..present(text) }
    }

    #[test]
    fn each_need_is_answered_in_its_place() {
        let there = [present("com.example.base 1.2.0"), not_ready("com.example.idp 3.0.0 users=1.0.0")];
        let needs = [
            need("com.example.base ^1.1"),
            need("interface users ^1"),
            need("com.example.base ^2"),
            need("com.example.none *"),
            need("interface users ^2"),
        ];
        assert_eq!(
            say(&needs, &there),
            [
                said("com.example.base ^1.1 is there as 1.2.0", true),
                said("interface users ^1 waits for com.example.idp to be ready", false),
                said("com.example.base ^2 is needed, but 1.2.0 is there", false),
                said("com.example.none * is missing", false),
                said("interface users ^2 is needed, but com.example.idp provides 1.0.0", false),
            ]
        );
        assert_eq!(
            one(need("com.example.idp 3"), &there),
            said("com.example.idp ^3 is not ready yet", false),
            "what only provides something is needed by its own name, too"
        );
    }

    #[test]
    fn what_is_optional_may_be_absent_or_late_but_not_wrong() {
        let optional = optional("com.example.base ^1");
        assert_eq!(one(optional.clone(), &[]), said("com.example.base ^1 is optional and not there", true));
        assert_eq!(
            one(optional.clone(), &[not_ready("com.example.base 1.0.0")]),
            said("com.example.base ^1 is not ready yet", true)
        );
        assert_eq!(
            one(optional, &[present("com.example.base 2.0.0")]),
            said("com.example.base ^1 is needed, but 2.0.0 is there", false)
        );
    }

    #[test]
    fn any_fitting_provider_of_an_interface_will_do_and_a_ready_one_is_preferred() {
        let mut there = vec![
            present("com.example.old 1.0.0 users=1.0.0"),
            not_ready("com.example.late 1.0.0 users=2.9.0"),
            present("com.example.b 1.0.0 users=2.1.0"),
            present("com.example.a 1.0.0 users=2.1.0"),
            present("com.example.new 1.0.0 users=3.0.0"),
        ];
        for _ in 0..there.len() {
            there.rotate_left(1);
            assert_eq!(
                one(need("interface users ^2"), &there),
                said("interface users ^2 is there, com.example.a provides 2.1.0", true)
            );
            assert_eq!(
                one(need("interface users ^4"), &there),
                said("interface users ^4 is needed, but com.example.new provides 3.0.0", false)
            );
        }
    }

    #[test]
    fn what_it_provides_itself_it_has() {
        let own = said("interface search ^1 is there, com.example.own provides 1.5.0", true);
        assert_eq!(one(need("interface search ^1"), &[]), own);
        let other = [present("com.example.search 1.0.0 search=1.9.0")];
        assert_eq!(one(need("interface search ^1"), &other), own);
        let other = [present("com.example.search 1.0.0 search=2.0.0")];
        let by_other = said("interface search ^2 is there, com.example.search provides 2.0.0", true);
        assert_eq!(one(need("interface search ^2"), &other), by_other);
        assert!(one(optional("interface search ^2"), &[]).1, "a wrong version of its own is none");
    }

    #[test]
    fn what_it_was_before_an_upgrade_does_not_count() {
        let before = [present("com.example.own 0.9.0 users=1.0.0")];
        assert_eq!(one(need("interface users ^1"), &before), said("interface users ^1 is missing", false));
    }

    #[test]
    fn a_pre_release_will_do_only_where_the_need_names_one() {
        let there = [present("com.example.base 2.0.0-rc.1")];
        assert!(!one(need("com.example.base *"), &there).1);
        assert!(!one(need("com.example.base >=1"), &there).1);
        assert!(one(need("com.example.base >=2.0.0-rc"), &there).1);
    }
}

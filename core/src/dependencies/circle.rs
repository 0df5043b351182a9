//! Extensions that wait for each other.

use std::collections::{BTreeMap, VecDeque};

use super::{Installed, Need, Needed, Present};
use crate::ExtensionName;

/// Extensions that need each other in a circle: each the next one, and the last the first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("they need each other in a circle: {}", .0.join(" → "))]
pub struct Cycle(pub Vec<String>);

/// The circle of required needs that `of` takes part in, from `of` on; none where it does not wait for itself.
///
/// `all` has `of`, what is to be installed along with it, and what is there. Who is ready waits for nobody. For an interface it is waited only
/// where none of those that provide it can become ready without it.
#[must_use]
pub fn cycle(of: &ExtensionName, all: &[Installed]) -> Option<Cycle> {
    Waiting::among(all.iter()).circle(of)
}

/// Those that never become ready, and what they wait for.
pub(super) struct Waiting<'a> {
    all: BTreeMap<&'a ExtensionName, &'a Installed>,
    /// Who waits, by what is needed; only what nobody who becomes ready provides.
    unmet: BTreeMap<&'a Needed, Vec<(&'a Need, &'a ExtensionName)>>,
}

impl<'a> Waiting<'a> {
    /// Lets become ready whoever can. Each need is looked at once for each that provides what it is of, whatever the order: a workspace may
    /// have many extensions, and publishers choose what they need.
    pub(super) fn among(all: impl Iterator<Item = &'a Installed>) -> Self {
        let all: BTreeMap<_, _> = all.map(|one| (&one.present.extension, one)).collect();
        let mut unmet: BTreeMap<&Needed, Vec<(&Need, &ExtensionName)>> = BTreeMap::new();
        let mut counts: BTreeMap<&ExtensionName, usize> = BTreeMap::new();
        let mut ready: Vec<&Present> = Vec::new();
        for (name, one) in &all {
            let needs: Vec<&Need> = one.required().filter(|_| !one.present.is_ready).collect();
            if needs.is_empty() {
                ready.push(&one.present);
            }
            counts.insert(name, needs.len());
            needs.into_iter().for_each(|need| unmet.entry(&need.of).or_default().push((need, name)));
        }
        while let Some(present) = ready.pop() {
            for needed in present.brings() {
                let Some(waiting) = unmet.get_mut(&needed) else { continue };
                waiting.retain(|(need, name)| {
                    if !need.is_met_by(present) {
                        return true;
                    }
                    if let Some(count) = counts.get_mut(name) {
                        *count = count.saturating_sub(1);
                        if *count == 0 {
                            ready.extend(all.get(name).map(|one| &one.present));
                        }
                    }
                    false
                });
            }
        }
        Self { all, unmet }
    }

    /// The shortest way from `of` back to it, along those of which each waits for the next one.
    pub(super) fn circle(&self, of: &ExtensionName) -> Option<Cycle> {
        let (of, _) = self.all.get_key_value(of)?;
        let waits_for = self.waits_for();
        let mut came_from: BTreeMap<&ExtensionName, &ExtensionName> = BTreeMap::new();
        let mut next = VecDeque::from([*of]);
        while let Some(name) = next.pop_front() {
            for other in waits_for.get(name).into_iter().flatten() {
                if other == of {
                    return Some(way(of, name, &came_from));
                }
                came_from.entry(other).or_insert_with(|| {
                    next.push_back(other);
                    name
                });
            }
        }
        None
    }

    /// For each that waits, those that provide what it waits for. All of them wait themselves, or it would not.
    fn waits_for(&self) -> BTreeMap<&'a ExtensionName, Vec<&'a ExtensionName>> {
        let mut edges: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (name, one) in &self.all {
            for needed in one.present.brings() {
                let waiting = self.unmet.get(&needed).into_iter().flatten();
                for (_, by) in waiting.filter(|(need, _)| need.is_met_by(&one.present)) {
                    edges.entry(*by).or_default().push(*name);
                }
            }
        }
        edges
    }
}

fn way(
    of: &ExtensionName,
    last: &ExtensionName,
    came_from: &BTreeMap<&ExtensionName, &ExtensionName>,
) -> Cycle {
    let mut way = vec![last.to_string()];
    let mut name = last;
    while name != of {
        let Some(former) = came_from.get(name) else { break };
        way.push(former.to_string());
        name = former;
    }
    way.reverse();
    Cycle(way)
}

#[cfg(test)]
mod tests {
    use super::super::samples::{installed, name, optional, waiting};
    use super::*;

    fn say(of: &str, all: &[Installed]) -> Option<String> {
        cycle(&name(of), all).map(|Cycle(names)| names.join(" "))
    }

    #[test]
    fn who_waits_for_itself_is_told_along_whom() {
        let all = [
            waiting("com.a 1.0.0", &["com.b *"]),
            waiting("com.b 1.0.0", &["com.ready *", "interface i ^1"]),
            waiting("com.c 1.0.0 i=1.0.0", &["com.a *"]),
            waiting("com.d 1.0.0", &["com.a *"]),
            installed("com.ready 1.0.0", &["com.a *"]),
        ];
        assert_eq!(say("com.a", &all).as_deref(), Some("com.a com.b com.c"));
        assert_eq!(say("com.c", &all).as_deref(), Some("com.c com.a com.b"));
        assert_eq!(say("com.d", &all), None, "it only leads there");
        assert_eq!(say("com.ready", &all), None, "it is there already");
        assert_eq!(say("com.none", &all), None);
    }

    #[test]
    fn the_shortest_circle_is_told() {
        let all = [
            waiting("com.a 1.0.0", &["com.b *", "com.d *"]),
            waiting("com.b 1.0.0", &["com.c *"]),
            waiting("com.c 1.0.0", &["com.a *"]),
            waiting("com.d 1.0.0", &["com.a *"]),
        ];
        assert_eq!(say("com.a", &all).as_deref(), Some("com.a com.d"));
    }

    #[test]
    fn an_interface_is_no_circle_where_somebody_outside_provides_it() {
        let circle = [
            waiting("com.a 1.0.0", &["interface i ^1"]),
            waiting("com.b 1.0.0 i=1.1.0", &["com.a *"]),
            waiting("com.c 1.0.0 i=2.0.0", &[]),
        ];
        assert_eq!(say("com.a", &circle).as_deref(), Some("com.a com.b"));
        let with = |other: Installed| [&circle[..], &[other]].concat();
        assert_eq!(say("com.a", &with(waiting("com.d 1.0.0 i=1.0.0", &[]))), None);
        assert_eq!(say("com.a", &with(installed("com.d 1.0.0 i=1.0.0", &["com.none *"]))), None);
        let stuck = with(waiting("com.d 1.0.0 i=1.0.0", &["com.none *"]));
        assert_eq!(say("com.a", &stuck).as_deref(), Some("com.a com.b"));
    }

    #[test]
    fn what_is_optional_own_or_of_a_wrong_version_makes_no_circle() {
        let mut optionally = waiting("com.a 1.0.0", &[]);
        optionally.needs = vec![optional("com.b *")];
        assert_eq!(say("com.a", &[optionally, waiting("com.b 1.0.0", &["com.a *"])]), None);
        assert_eq!(say("com.a", &[waiting("com.a 1.0.0 i=1.0.0", &["interface i *", "com.a 1"])]), None);
        let wrong = [waiting("com.a 1.0.0", &["com.b ^2"]), waiting("com.b 1.0.0", &["com.a *"])];
        assert_eq!(say("com.a", &wrong), None);
    }

    #[test]
    fn ten_thousand_in_a_row_are_no_matter() {
        let all = |last: &str| -> Vec<Installed> {
            let needed =
                |number| if number == 9999 { last.to_owned() } else { format!("com.e{} *", number + 1) };
            (0..10_000).map(|number| waiting(&format!("com.e{number} 1.0.0"), &[&needed(number)])).collect()
        };
        assert_eq!(cycle(&name("com.e0"), &all("com.none *")), None);
        assert_eq!(cycle(&name("com.e0"), &all("com.e0 *")).map(|Cycle(names)| names.len()), Some(10_000));
    }
}

//! Which versions of what meet all needs.

use std::collections::{BTreeMap, VecDeque};

use semver::VersionReq;

use super::{Asked, Catalog, MAX_ALONG, Offer, Refusal};
use crate::ExtensionName;
use crate::dependencies::check::state;
use crate::dependencies::{Checked, Installed, Need, Needed, Present, State};

/// How many versions, limits and providers are looked at before it is given up. Sixty-four extensions with fifty versions each are some ten
/// thousand; what publishers write decides how often the search begins anew.
const MAX_EFFORT: usize = 1 << 20;

/// A need and whose it is.
#[derive(Clone, Copy, PartialEq)]
struct Demand<'a> {
    by: &'a ExtensionName,
    need: &'a Need,
}

impl Demand<'_> {
    fn asked(&self) -> Asked {
        Asked { by: self.by.clone(), need: self.need.clone() }
    }
}

fn demands<'a>(by: &'a ExtensionName, needs: &'a [Need]) -> impl Iterator<Item = Demand<'a>> {
    needs.iter().map(move |need| Demand { by, need })
}

/// A version that was chosen.
pub(super) struct Choice<'a> {
    offer: &'a Offer,
    present: Present,
}

impl Choice<'_> {
    pub(super) fn installed(&self) -> Installed {
        Installed { present: self.present.clone(), needs: self.offer.needs.clone() }
    }
}

pub(super) type Chosen<'a> = BTreeMap<&'a ExtensionName, Choice<'a>>;

/// Begins anew each time that a version turns out to be too high for somebody who was found later: it may have brought others, which are not
/// needed with a lower one. What was found out about it is kept, so that each time the search gets further.
pub(super) struct Search<'a> {
    own: &'a Installed,
    there: BTreeMap<Needed, Vec<&'a Present>>,
    catalog: &'a Catalog,
    /// The releases that provide an interface.
    providers: BTreeMap<&'a str, Vec<(&'a ExtensionName, &'a Offer)>>,
    /// What the version of an extension has to meet, if it is chosen.
    limits: BTreeMap<&'a ExtensionName, Vec<Demand<'a>>>,
    effort: usize,
}

/// How far one attempt is.
struct Attempt<'a> {
    chosen: Chosen<'a>,
    to_meet: VecDeque<Demand<'a>>,
    interfaces: Vec<Demand<'a>>,
    optional: Vec<Demand<'a>>,
    /// The first thing in the way. The attempt goes on: it may be in the way of a version only that is about to turn out to be too high.
    refusal: Option<Refusal>,
}

impl Attempt<'_> {
    fn refuse(&mut self, refusal: Refusal) {
        self.refusal.get_or_insert(refusal);
    }
}

/// Why an attempt ends before all is chosen.
enum Stop<'a> {
    /// Another one would end so, too.
    Refused(Refusal),
    /// The version that was chosen of an extension does not meet this.
    TooHigh(&'a ExtensionName, Demand<'a>),
}

impl From<Refusal> for Stop<'_> {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl<'a> Search<'a> {
    /// `there` is without `own`.
    pub(super) fn new(own: &'a Installed, there: &[&'a Installed], catalog: &'a Catalog) -> Self {
        let mut by_needed: BTreeMap<Needed, Vec<&Present>> = BTreeMap::new();
        for one in there.iter().chain([&own]) {
            for needed in one.present.brings() {
                by_needed.entry(needed).or_default().push(&one.present);
            }
        }
        let may = |name: &ExtensionName| !by_needed.contains_key(&Needed::Extension(name.clone()));
        let mut providers: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for (name, offers) in catalog.iter().filter(|(name, _)| may(name)) {
            // Who is wanted for an interface is wanted in a release. Who is needed by name has been asked about that.
            for offer in offers.iter().filter(|offer| VersionReq::STAR.matches(&offer.version)) {
                for interface in offer.provides.keys() {
                    providers.entry(interface).or_default().push((name, offer));
                }
            }
        }
        Self { own, there: by_needed, catalog, providers, limits: BTreeMap::new(), effort: MAX_EFFORT }
    }

    pub(super) fn chosen(mut self) -> Result<Chosen<'a>, Refusal> {
        loop {
            match self.attempt() {
                Ok(chosen) => return Ok(chosen),
                Err(Stop::Refused(refusal)) => return Err(refusal),
                Err(Stop::TooHigh(extension, demand)) => {
                    self.limits.entry(extension).or_default().push(demand);
                }
            }
        }
    }

    /// Chooses the highest versions that the limits allow. Who is needed by name comes before interfaces, which it may provide; what is optional
    /// comes last, when it is known what there will be.
    fn attempt(&mut self) -> Result<Chosen<'a>, Stop<'a>> {
        let mut attempt = Attempt {
            chosen: Chosen::new(),
            to_meet: demands(&self.own.present.extension, &self.own.needs).collect(),
            interfaces: Vec::new(),
            optional: Vec::new(),
            refusal: None,
        };
        loop {
            while let Some(demand) = attempt.to_meet.pop_front() {
                match &demand.need.of {
                    _ if demand.need.is_optional => attempt.optional.push(demand),
                    Needed::Interface(_) => attempt.interfaces.push(demand),
                    Needed::Extension(name) => match self.state(demand, &attempt.chosen)? {
                        State::Satisfied { .. } | State::NotReady { .. } => {}
                        State::Missing | State::Absent => self.choose(name, demand, &mut attempt)?,
                        wrong @ State::WrongVersion { .. } => misfit(demand, wrong, &mut attempt)?,
                    },
                }
            }
            let Some((name, demand)) = self.provider(&mut attempt)? else { break };
            if attempt.chosen.contains_key(name) {
                return Err(Stop::TooHigh(name, demand));
            }
            self.choose(name, demand, &mut attempt)?;
        }
        for demand in std::mem::take(&mut attempt.optional) {
            let state = self.state(demand, &attempt.chosen)?;
            if !state.fits() {
                misfit(demand, state, &mut attempt)?;
            }
        }
        attempt.refusal.map_or(Ok(attempt.chosen), |refusal| Err(Stop::Refused(refusal)))
    }

    /// Adds the highest version of `name` that meets the demand and the limits.
    fn choose(
        &mut self,
        name: &'a ExtensionName,
        demand: Demand<'a>,
        attempt: &mut Attempt<'a>,
    ) -> Result<(), Refusal> {
        let mut all = self.limits.get(name).cloned().unwrap_or_default();
        if !all.contains(&demand) {
            all.push(demand);
        }
        let offers = self.catalog.get(name).map(Vec::as_slice).unwrap_or_default();
        self.spend(all.len().saturating_mul(offers.len()))?;
        let Some(offer) = best(name, offers, &all) else {
            attempt.refuse(match best(name, offers, &[demand]) {
                None => Refusal::NotOffered(demand.asked()),
                Some(_) => Refusal::Conflict {
                    extension: name.clone(),
                    asked: all.iter().map(Demand::asked).collect(),
                },
            });
            return Ok(());
        };
        if attempt.chosen.len() == MAX_ALONG {
            return Err(Refusal::TooMany);
        }
        attempt.to_meet.extend(demands(name, &offer.needs));
        attempt.chosen.insert(name, Choice { offer, present: present(name, offer) });
        Ok(())
    }

    /// Takes the first of the interfaces that nobody provides yet and only one extension can; none where none is left. Those that several can
    /// provide wait for that: one of these may come along.
    fn provider(
        &mut self,
        attempt: &mut Attempt<'a>,
    ) -> Result<Option<(&'a ExtensionName, Demand<'a>)>, Refusal> {
        let mut only = None;
        let mut left = Vec::new();
        let mut refusal = None;
        for demand in std::mem::take(&mut attempt.interfaces) {
            let state = self.state(demand, &attempt.chosen)?;
            if state.is_there() {
                continue;
            }
            match self.providers(demand.need)?.as_slice() {
                [provider] if only.is_none() => {
                    only = Some((*provider, demand));
                    continue;
                }
                [_] => {}
                [] => refusal = refusal.or(Some(unmet(demand, state))),
                several => {
                    let providers = several.iter().copied().cloned().collect();
                    refusal = refusal.or(Some(Refusal::Ambiguous { asked: demand.asked(), providers }));
                }
            }
            left.push(demand);
        }
        attempt.interfaces = left;
        if let (None, Some(refusal)) = (&only, refusal) {
            attempt.refuse(refusal);
        }
        Ok(only)
    }

    /// Who of the catalog can provide an interface as it is needed.
    fn providers(&mut self, need: &Need) -> Result<Vec<&'a ExtensionName>, Refusal> {
        let Needed::Interface(interface) = &need.of else { return Ok(Vec::new()) };
        let all = self.providers.get(interface.as_str()).map(Vec::len).unwrap_or_default();
        self.spend(all)?;
        let all = self.providers.get(interface.as_str()).into_iter().flatten();
        let mut names: Vec<_> =
            all.filter(|(name, offer)| allows(name, offer, need)).map(|(name, _)| *name).collect();
        names.dedup();
        Ok(names)
    }

    /// How a need stands when the chosen ones are there.
    fn state(&mut self, demand: Demand<'a>, chosen: &Chosen<'a>) -> Result<State, Refusal> {
        let there = self.there.get(&demand.need.of).map(Vec::len).unwrap_or_default();
        self.spend(there.saturating_add(chosen.len()))?;
        let there = self.there.get(&demand.need.of).into_iter().flatten().copied();
        let own = chosen.get(demand.by).map_or(&self.own.present, |choice| &choice.present);
        Ok(state(demand.need, own, there.chain(chosen.values().map(|choice| &choice.present))))
    }

    fn spend(&mut self, effort: usize) -> Result<(), Refusal> {
        let left = self.effort.checked_sub(effort.saturating_add(1)).ok_or(Refusal::TooIntricate)?;
        self.effort = left;
        Ok(())
    }
}

/// The highest that all allow. A pre-release only where somebody needs the extension by its name, and so has been asked about pre-releases.
fn best<'a>(name: &ExtensionName, offers: &'a [Offer], all: &[Demand]) -> Option<&'a Offer> {
    let by_name = all.iter().any(|demand| matches!(demand.need.of, Needed::Extension(_)));
    offers
        .iter()
        .filter(|offer| by_name || VersionReq::STAR.matches(&offer.version))
        .filter(|offer| all.iter().all(|demand| allows(name, offer, demand.need)))
        .max_by(|a, b| a.version.cmp(&b.version))
}

/// Whether it meets the need, or does not have to because it has nothing to do with what is only optional.
fn allows(name: &ExtensionName, offer: &Offer, need: &Need) -> bool {
    let version = match &need.of {
        Needed::Extension(other) => (other == name).then_some(&offer.version),
        Needed::Interface(interface) => offer.provides.get(interface),
    };
    version.map_or(need.is_optional, |version| need.version.matches(version))
}

fn present(name: &ExtensionName, offer: &Offer) -> Present {
    Present {
        extension: name.clone(),
        version: offer.version.clone(),
        provides: offer.provides.clone(),
        is_ready: false,
        is_leaving: false,
    }
}

/// What is wrong is chosen once more, unless it is there already.
fn misfit<'a>(demand: Demand<'a>, state: State, attempt: &mut Attempt<'a>) -> Result<(), Stop<'a>> {
    if let State::WrongVersion { by, .. } = &state
        && let Some((name, _)) = attempt.chosen.get_key_value(by)
    {
        return Err(Stop::TooHigh(name, demand));
    }
    attempt.refuse(unmet(demand, state));
    Ok(())
}

fn unmet(demand: Demand<'_>, state: State) -> Refusal {
    match state {
        State::WrongVersion { .. } => {
            let checked = Box::new(Checked { need: demand.need.clone(), state });
            Refusal::Unfit { by: demand.by.clone(), checked }
        }
        _ => Refusal::NotOffered(demand.asked()),
    }
}

//! What is there of an install, and what changes it.

use std::collections::{BTreeMap, BTreeSet};

use crate::{ContentHash, HostName};

/// Where runners are: a namespace on a cluster, by a name that is its own.
pub type Place = String;

/// A module's version, as its manifest says it. Only the digest tells modules apart.
pub type Version = String;

/// A part of an extension that is enabled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// For its lifecycle handlers, and for people.
    pub version: Version,
    /// The same digest is the same module.
    pub digest: ContentHash,
}

/// What is there of one install. Whatever a flow does changes this, and what is not in it is no flow's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// Places that were made ready for it.
    pub places: BTreeSet<Place>,
    /// What can be run, and where: its bytes are verified, and a runner there has them.
    pub runners: BTreeSet<(Place, ContentHash)>,
    /// Host names that nobody else gets.
    pub claims: BTreeSet<HostName>,
    /// To which place a host leads.
    pub mappings: BTreeMap<HostName, Place>,
    /// The modules that are enabled, by name.
    pub modules: BTreeMap<String, Module>,
    /// What answers on a host.
    pub routes: BTreeMap<HostName, ContentHash>,
    /// Whether the extension may have stored something.
    pub data: bool,
}

/// One change. Each may be done twice, and undone without having been done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Nothing is changed: something is found out, without which the rest makes no sense.
    Check,
    /// Makes a place ready.
    Prepare(Place),
    /// Leaves a place.
    Leave(Place),
    /// Has a content ready at a place.
    Start(Place, ContentHash),
    /// Has it there no more.
    Stop(Place, ContentHash),
    /// Takes a host name.
    Claim(HostName),
    /// Gives it back.
    Release(HostName),
    /// Leads a host to a place.
    Map(HostName, Place),
    /// Leads it nowhere.
    Unmap(HostName),
    /// Calls the lifecycle handler of a module: from one state to another, of which none is "not there".
    Call {
        /// Its name.
        module: String,
        /// What it was.
        from: Option<Module>,
        /// What it is to be.
        to: Option<Module>,
        /// Whether what it stored is to go.
        purge: bool,
    },
    /// A module is there no more, and is not called for it.
    Disable(String),
    /// From now on this answers on the host.
    Publish(HostName, ContentHash),
    /// Nothing answers there.
    Withdraw(HostName),
    /// Removes what the extension stored.
    Purge,
}

impl Held {
    /// As it is once that is done.
    pub fn apply(&mut self, effect: &Effect) {
        match effect {
            Effect::Check => {}
            Effect::Prepare(place) => {
                self.places.insert(place.clone());
            }
            Effect::Leave(place) => {
                self.places.remove(place);
            }
            Effect::Start(place, content) => {
                self.runners.insert((place.clone(), *content));
                self.data = true;
            }
            Effect::Stop(place, content) => {
                self.runners.remove(&(place.clone(), *content));
            }
            Effect::Claim(host) => {
                self.claims.insert(host.clone());
            }
            Effect::Release(host) => {
                self.claims.remove(host);
            }
            Effect::Map(host, place) => {
                self.mappings.insert(host.clone(), place.clone());
            }
            Effect::Unmap(host) => {
                self.mappings.remove(host);
            }
            Effect::Call { module, to: Some(to), .. } => {
                self.modules.insert(module.clone(), to.clone());
            }
            Effect::Call { module, to: None, .. } | Effect::Disable(module) => {
                self.modules.remove(module);
            }
            Effect::Publish(host, content) => {
                self.routes.insert(host.clone(), *content);
            }
            Effect::Withdraw(host) => {
                self.routes.remove(host);
            }
            Effect::Purge => self.data = false,
        }
    }

    /// As it is once all of them are done.
    #[must_use]
    pub fn after<'a>(&self, effects: impl IntoIterator<Item = &'a Effect>) -> Self {
        let mut held = self.clone();
        effects.into_iter().for_each(|effect| held.apply(effect));
        held
    }

    /// Whether nothing is left but, at the most, what the extension stored.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        *self == Self { data: self.data, ..Self::default() }
    }
}

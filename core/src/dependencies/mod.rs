//! What the extensions of a workspace need of each other.
//!
//! Pure. What is there is a value ([`Present`], or [`Installed`] with what it needs itself), and so is what the catalog offers ([`Catalog`]).
//! An extension needs another by its name, or an interface, which several may provide; how versions are matched is said at
//! [`highest`](crate::highest), pre-releases included.
//!
//! | question | answered by |
//! |---|---|
//! | is what it needs there? | [`check`] |
//! | who would be without something if it went? | [`dependents`] |
//! | who would be without something if it were another version? | [`breaks`] |
//! | does it wait for itself? | [`cycle`] |
//! | what has to be installed along, and in which order? | [`to_install`] |

mod along;
mod check;
mod circle;
mod dependents;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod samples;

use std::collections::BTreeMap;
use std::fmt;

use semver::{Version, VersionReq};

use crate::ExtensionName;

pub use along::{Along, Asked, Catalog, MAX_ALONG, Offer, Refusal, to_install};
pub use check::{Checked, State, check};
pub use circle::{Cycle, cycle};
pub use dependents::{Dependent, breaks, dependents};

/// What can be needed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Needed {
    /// That very extension.
    Extension(ExtensionName),
    /// Whoever provides this interface.
    Interface(String),
}

impl fmt::Display for Needed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Extension(name) => write!(formatter, "{name}"),
            Self::Interface(name) => write!(formatter, "interface {name}"),
        }
    }
}

/// What an extension needs in its workspace.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Need {
    /// What.
    pub of: Needed,
    /// The versions that will do: of the extension, or of the interface and not of who provides it.
    pub version: VersionReq,
    /// True: it does without, but not with a wrong version.
    pub is_optional: bool,
}

impl fmt::Display for Need {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.of, self.version)
    }
}

impl Need {
    /// Whether that one has it in a version that will do, ready or not.
    #[must_use]
    pub fn is_met_by(&self, present: &Present) -> bool {
        present.version_of(&self.of).is_some_and(|version| self.version.matches(version))
    }
}

/// An extension that is installed in the workspace, or is just being installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// Which.
    pub extension: ExtensionName,
    /// In which version.
    pub version: Version,
    /// The interfaces that it provides, each in a version of its own.
    pub provides: BTreeMap<String, Version>,
    /// False: it is still being installed, or does not work.
    pub is_ready: bool,
    /// True: it is to be deleted, as soon as nobody needs it.
    pub is_leaving: bool,
}

impl Present {
    /// In which version it is, or provides, what is needed.
    #[must_use]
    pub fn version_of(&self, needed: &Needed) -> Option<&Version> {
        match needed {
            Needed::Extension(name) => (*name == self.extension).then_some(&self.version),
            Needed::Interface(name) => self.provides.get(name),
        }
    }

    /// All that can be needed of it.
    fn brings(&self) -> impl Iterator<Item = Needed> {
        let interfaces = self.provides.keys().cloned().map(Needed::Interface);
        interfaces.chain([Needed::Extension(self.extension.clone())])
    }
}

/// The same, with what it needs. There is one of an extension in a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// What it is.
    pub present: Present,
    /// What it needs.
    pub needs: Vec<Need>,
}

impl Installed {
    /// What it cannot do without and does not provide itself.
    fn required(&self) -> impl Iterator<Item = &Need> {
        self.needs.iter().filter(|need| !need.is_optional && !need.is_met_by(&self.present))
    }
}

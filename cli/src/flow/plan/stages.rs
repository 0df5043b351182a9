//! What the stages of a plan do, in a few words. Pure.

use annex_apis::ExtensionVersion;
use annex_core::HostName;
use annex_core::flow::{Effect, Module, Place, Stage, StageName};
use serde::Serialize;

use crate::printable::one_line;

/// A stage that would run. Printed as JSON, its field names are an interface.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Step {
    pub(super) name: String,
    /// What it does, in this order.
    pub(super) does: Vec<String>,
}

/// What the words depend on.
pub(super) struct Scene<'a> {
    /// What is to be there; none in a revoke.
    pub(super) to: Option<&'a ExtensionVersion>,
    /// What is there.
    pub(super) from: Option<&'a ExtensionVersion>,
    /// What stands for a place that is not known yet.
    pub(super) nowhere: &'a Place,
    /// What stands for a host name that is not known yet.
    pub(super) nobody: &'a HostName,
}

impl Scene<'_> {
    /// The stage as it is told.
    pub(super) fn step(&self, stage: &Stage) -> Step {
        let does = stage.does.iter().map(|effect| one_line(&self.effect(&stage.name, effect))).collect();
        Step { name: one_line(&stage.name.to_string()), does }
    }

    fn effect(&self, stage: &StageName, effect: &Effect) -> String {
        match effect {
            Effect::Check => self.check(stage),
            Effect::Prepare(place) => format!("makes a place ready{}", self.named(place)),
            Effect::Leave(place) => format!("leaves the place{}", self.named(place)),
            Effect::Start(place, content) => {
                format!("has {} ready on a runner{}", self.version(&content.to_string()), self.named(place))
            }
            Effect::Stop(place, content) => {
                format!("takes {} off its runner{}", self.version(&content.to_string()), self.named(place))
            }
            Effect::Claim(host) => format!("takes {}", self.host(host)),
            Effect::Release(host) => format!("gives {} back", self.host(host)),
            Effect::Map(host, place) => {
                format!("leads {} to the runner{}", self.host(host), self.named(place))
            }
            Effect::Unmap(host) => format!("leads {} nowhere", self.host(host)),
            Effect::Call { module, from, to, purge } => self.call(module, from.as_ref(), to.as_ref(), *purge),
            Effect::Disable(module) => format!("the module {module} goes, without being called"),
            Effect::Publish(host, content) => {
                format!("{} answers on {}", self.version(&content.to_string()), self.host(host))
            }
            Effect::Withdraw(host) => format!("nothing answers on {} any more", self.host(host)),
            Effect::Purge => "removes all that the extension stored".to_owned(),
        }
    }

    fn check(&self, stage: &StageName) -> String {
        match (stage, self.to) {
            (StageName::Resolve, Some(to)) => format!("chooses version {}", to.spec.version),
            (StageName::Resolve, None) => "chooses a version".to_owned(),
            (StageName::Verify, _) => "sees that a trusted publisher signed its bytes".to_owned(),
            (StageName::CheckDependencies, _) => "sees that what it needs is there".to_owned(),
            (StageName::CheckDependents, _) => "sees that nobody needs it any more".to_owned(),
            (StageName::CheckQuota, _) => "sees that the tenant may have it".to_owned(),
            _ => "sees that it can go on".to_owned(),
        }
    }

    /// The handlers are those of the version that is to be there, and of what is there where that goes.
    fn call(&self, module: &str, from: Option<&Module>, to: Option<&Module>, purge: bool) -> String {
        let lifecycle = if to.is_some() { self.to } else { self.from };
        let lifecycle = lifecycle.and_then(|version| version.spec.lifecycle.as_ref());
        let (what, handler) = match (from, to) {
            (None, _) => ("install", lifecycle.and_then(|lifecycle| lifecycle.install.as_deref())),
            (Some(_), Some(_)) => ("upgrade", lifecycle.and_then(|lifecycle| lifecycle.upgrade.as_deref())),
            (Some(_), None) => ("uninstall", lifecycle.and_then(|lifecycle| lifecycle.uninstall.as_deref())),
        };
        let change = match (from, to) {
            (None, Some(to)) => format!("new in {}", to.version),
            (Some(from), Some(to)) => format!("{} → {}", from.version, to.version),
            (Some(from), None) if purge => format!("{}, with what it stored", from.version),
            (Some(from), None) => from.version.clone(),
            (None, None) => "none".to_owned(),
        };
        match handler {
            Some(handler) => format!("calls the {what} handler {handler} of the module {module} ({change})"),
            None => format!("calls nobody: there is no {what} handler for the module {module} ({change})"),
        }
    }

    fn version(&self, content: &str) -> String {
        let known = [self.to, self.from].into_iter().flatten();
        let mut known = known.filter(|version| version.spec.content_hash == content);
        known.next().map_or_else(|| "what was there".to_owned(), |version| version.spec.version.clone())
    }

    fn host(&self, host: &HostName) -> String {
        if host == self.nobody { "its host name".to_owned() } else { host.to_string() }
    }

    /// A place that is not known is not printed: it would be taken for a name.
    fn named(&self, place: &Place) -> String {
        if place == self.nowhere || place == annex_apis::DIRECT {
            String::new()
        } else {
            format!(" ({place})")
        }
    }
}

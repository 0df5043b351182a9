//! Stage Verify: before anything is provisioned, the bytes are looked at.
//!
//! The condition Verified of an ExtensionVersion is what the registry says. That would make the registry, its store and whoever writes the
//! catalog all that has to be believed. So the controller fetches the bundle and judges it by files of its own: trust bundle, denylist and
//! the registry's public keys.

mod args;

use std::{collections::HashMap, sync::Arc, time::Duration};

use annex_bundle::{Discard, check_loadable};
use annex_bundle_client::{LoadError, Policy, Source, Vouched};
use annex_core::{ContentHash, InstallIdentity};
use annex_service::Followed;
use parking_lot::Mutex;
use tokio::{sync::Semaphore, time::Instant};

pub(crate) use args::VerifyArgs;

use crate::context::Context;

/// Bundles that are fetched at a time: each keeps a processor busy while it is read.
const AT_A_TIME: usize = 2;
/// How long a bundle may take. Less than a reconcile may.
const WITHIN: Duration = Duration::from_secs(90);
/// What was refused is not fetched again for so long, however many Installs want it.
pub(crate) const REFUSED_FOR: Duration = Duration::from_secs(60);
const TOO_LONG: &str = "the trust bundle, the denylist or the registry's keys have more than 100 KiB: runners that are pods have them as \
    environment variables, which hold no more, and show no pages";
/// Some kilobytes each.
const MOST_KNOWN: usize = 4096;

/// Why an Install does not get a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unverified {
    /// It was looked at and is not good.
    Refused(String),
    /// It could not be looked at.
    Unknown(String),
}

/// Bundles, as the registry hands them out.
pub(crate) struct Bundles {
    source: Source,
    token: Followed<Option<String>>,
    policy: Policy,
    known: Mutex<HashMap<ContentHash, Known>>,
    places: Semaphore,
}

/// What was found out about a content.
#[derive(Clone)]
enum Known {
    /// Its bytes are those of this signature. Whether that is trusted is asked each time.
    Bytes(Arc<Vouched>),
    Refused(String, Instant),
}

impl Bundles {
    /// Whether the content may be installed as what the catalog says that it is.
    pub(crate) async fn verify(&self, identity: &InstallIdentity, version: &str) -> Result<(), Unverified> {
        let content = &identity.content_hash;
        let refused =
            |why: String| Unverified::Refused(format!("version {version} did not pass verification: {why}"));
        let vouched = match self.known(content) {
            Some(known) => known.map_err(refused)?,
            None => {
                let _place = self.places.acquire().await.map_err(|_| unknown("the controller ends"))?;
                // Another Install may have waited for the same.
                match self.known(content) {
                    Some(known) => known.map_err(refused)?,
                    None => self.look(content).await?.map_err(refused)?,
                }
            }
        };
        let held = self.policy.now();
        let loadable = check_loadable(Some(&vouched.signature), Some(&vouched.receipt), &held.load());
        let statement = match loadable {
            Ok(loadable) => loadable.signed.statement,
            Err(refusal) => return Err(refused(format!("{}: {refusal}", refusal.code()))),
        };
        let same = statement.content_hash == *content
            && statement.name.as_str() == identity.extension_id.as_str()
            && statement.version.to_string() == version;
        if same {
            Ok(())
        } else {
            Err(refused("CatalogMismatch: the bundle is another extension's or version's".to_owned()))
        }
    }

    fn known(&self, content: &ContentHash) -> Option<Result<Arc<Vouched>, String>> {
        match self.known.lock().get(content)? {
            Known::Bytes(vouched) => Some(Ok(vouched.clone())),
            Known::Refused(why, until) => (*until > Instant::now()).then(|| Err(why.clone())),
        }
    }

    /// Fetches the bundle and reads all of it.
    async fn look(&self, content: &ContentHash) -> Result<Result<Arc<Vouched>, String>, Unverified> {
        let held = self.policy.now();
        let looked = match self.source.load(content, held.clone(), WITHIN, Discard).await {
            Ok((_, vouched)) => Ok(Arc::new(vouched)),
            Err(LoadError::Unavailable(why)) => return Err(unknown(&why)),
            // By what held when it was begun. Whoever has forgotten what was refused by that must not find it again.
            Err(_) if !self.policy.is_still(&held) => {
                return Err(unknown("what is judged by has changed"));
            }
            Err(refused) => Err(refused.to_string()),
        };
        let known = match &looked {
            Ok(vouched) => Known::Bytes(vouched.clone()),
            Err(why) => Known::Refused(why.clone(), Instant::now() + REFUSED_FOR),
        };
        let mut all = self.known.lock();
        if all.len() >= MOST_KNOWN {
            all.clear();
        }
        all.insert(*content, known);
        Ok(looked)
    }

    /// Installs are made again: their contents are looked at again, too.
    pub(crate) fn forget(&self, content: &ContentHash) {
        self.known.lock().remove(content);
    }

    /// By what is judged.
    pub(crate) fn policy(&self) -> Policy {
        self.policy.clone()
    }

    /// What an operator has to know.
    pub(crate) fn notes(&self) -> Vec<String> {
        let too_long = self.policy.now().environment().is_none().then(|| TOO_LONG.to_owned());
        self.policy.notes().into_iter().chain(self.token.note()).chain(too_long).collect()
    }
}

fn unknown(why: &str) -> Unverified {
    Unverified::Unknown(format!("{why}; it is tried again by itself"))
}

/// Follows what bundles are judged by: when it changes, every Install is looked at.
pub(crate) async fn follow(context: Arc<Context>) {
    let Some(bundles) = &context.bundles else { return };
    let changed = || {
        bundles.known.lock().retain(|_, known| matches!(known, Known::Bytes(_)));
        context.wake_all();
    };
    tokio::join!(bundles.policy.follow(changed), bundles.token.follow());
}

#[cfg(test)]
mod tests;

//! Stage Verify: before anything is provisioned, the bytes are looked at.
//!
//! The condition Verified of an ExtensionVersion is what the registry says. That would make the registry, its store and whoever writes the
//! catalog all that has to be believed. So the controller fetches the bundle and judges it by files of its own: trust bundle, denylist and
//! the registry's public keys.

mod args;
mod chunks;

use std::{collections::HashMap, sync::Arc, time::Duration};

use annex_bundle::{
    Denylist, Discard, Limits, LoadPolicy, RegistryKeys, TrustBundle, check_loadable, verify_at_load,
};
use annex_core::{ContentHash, InstallIdentity};
use annex_service::Followed;
use bytes::Bytes;
use parking_lot::Mutex;
use reqwest::{StatusCode, Url};
use tokio::{sync::Semaphore, time::Instant};

pub(crate) use args::VerifyArgs;

use crate::context::Context;

/// Bundles that are fetched at a time: each keeps a processor busy while it is read.
const AT_A_TIME: usize = 2;
/// How long a bundle may take. Less than a reconcile may.
const WITHIN: Duration = Duration::from_secs(90);
/// What was refused is not fetched again for so long, however many Installs want it.
const REFUSED_FOR: Duration = Duration::from_secs(60);
/// Some kilobytes each.
const MOST_KNOWN: usize = 4096;
/// A signature has 64 KiB at the most, a receipt less.
const LARGEST_SMALL: usize = 128 << 10;

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
    http: reqwest::Client,
    base: Url,
    token: Followed<Option<String>>,
    policy: Policy,
    known: Mutex<HashMap<ContentHash, Known>>,
    places: Semaphore,
}

/// By what bundles are judged.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    trust: Followed<TrustBundle>,
    denylist: Followed<Denylist>,
    keys: Followed<RegistryKeys>,
}

/// What was found out about a content.
#[derive(Clone)]
enum Known {
    /// Its bytes are those of this signature. Whether that is trusted is asked each time.
    Bytes(Arc<Vouched>),
    Refused(String, Instant),
}

struct Vouched {
    signature: Bytes,
    receipt: Bytes,
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
        let looked = tokio::time::timeout(WITHIN, self.fetch(content)).await;
        let looked = looked.map_err(|_| unknown("the registry did not send the bundle in time"))??;
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

    async fn fetch(&self, content: &ContentHash) -> Result<Result<Arc<Vouched>, String>, Unverified> {
        const MISSING: &str = "BundleMissing: the registry does not have it";
        let Some(signature) = self.small(content, "bundle.sig").await? else {
            return Ok(Err(MISSING.to_owned()));
        };
        let Some(receipt) = self.small(content, "receipt.json").await? else {
            return Ok(Err(MISSING.to_owned()));
        };
        let Some(archive) = self.get(content, "bundle.tar.zst").await? else {
            return Ok(Err(MISSING.to_owned()));
        };
        let vouched = Arc::new(Vouched { signature, receipt });
        let (chunks, feed) = chunks::from_response(archive);
        let verifying = tokio::task::spawn_blocking({
            let (vouched, held) = (vouched.clone(), self.policy.now());
            move || {
                verify_at_load(
                    chunks,
                    Some(&vouched.signature),
                    Some(&vouched.receipt),
                    &held.load(),
                    Discard,
                )
            }
        });
        let (fed, verdict) = tokio::join!(feed, verifying);
        let verdict = verdict.map_err(|_| unknown("verifying the bundle failed"))?;
        match verdict {
            Ok(loaded) if loaded.verified.unpacked.content_hash == *content => Ok(Ok(vouched)),
            Ok(_) => Ok(Err("DigestMismatch: the registry sent another bundle".to_owned())),
            // What broke on the way says nothing of the bundle.
            Err(_) if fed.is_err() => Err(unknown("the registry's answer broke off")),
            Err(refusal) => Ok(Err(format!("{}: {refusal}", refusal.code()))),
        }
    }

    async fn small(&self, content: &ContentHash, file: &str) -> Result<Option<Bytes>, Unverified> {
        let Some(mut response) = self.get(content, file).await? else { return Ok(None) };
        let mut bytes = Vec::new();
        while let Some(chunk) =
            response.chunk().await.map_err(|_| unknown("the registry's answer broke off"))?
        {
            if bytes.len() + chunk.len() > LARGEST_SMALL {
                return Err(unknown("the registry's answer is too large"));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Some(bytes.into()))
    }

    /// None: there is none.
    async fn get(&self, content: &ContentHash, file: &str) -> Result<Option<reqwest::Response>, Unverified> {
        let mut url = self.base.clone();
        url.set_path(&format!(
            "{}/bundles/sha256/{}/{file}",
            url.path().trim_end_matches('/'),
            content.hex()
        ));
        let mut request = self.http.get(url);
        if let Some(token) = &*self.token.get() {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.map_err(|error| {
            tracing::warn!(error = %error.without_url(), "the registry cannot be reached");
            unknown("the registry cannot be reached")
        })?;
        match response.status() {
            StatusCode::OK => Ok(Some(response)),
            StatusCode::NOT_FOUND => Ok(None),
            status => {
                tracing::warn!(%status, "the registry does not hand out a bundle");
                Err(unknown("the registry does not hand out bundles just now"))
            }
        }
    }

    /// Installs are made again: their contents are looked at again, too.
    pub(crate) fn forget(&self, content: &ContentHash) {
        self.known.lock().remove(content);
    }

    /// What an operator has to know.
    pub(crate) fn notes(&self) -> Vec<String> {
        let Policy { trust, denylist, keys } = &self.policy;
        [trust.note(), denylist.note(), keys.note(), self.token.note()].into_iter().flatten().collect()
    }
}

fn unknown(why: &str) -> Unverified {
    Unverified::Unknown(format!("{why}; it is tried again by itself"))
}

/// All of the policy at one moment.
struct Held {
    trust: Arc<TrustBundle>,
    denylist: Arc<Denylist>,
    keys: Arc<RegistryKeys>,
    limits: Limits,
}

impl Policy {
    fn now(&self) -> Held {
        Held {
            trust: self.trust.get(),
            denylist: self.denylist.get(),
            keys: self.keys.get(),
            limits: Limits::default(),
        }
    }
}

impl Held {
    fn load(&self) -> LoadPolicy<'_> {
        LoadPolicy {
            trust: &self.trust,
            registry_keys: &self.keys,
            denylist: &self.denylist,
            limits: &self.limits,
        }
    }
}

/// Follows what bundles are judged by: when it changes, every Install is looked at.
pub(crate) async fn follow(context: Arc<Context>) {
    let Some(bundles) = &context.bundles else { return };
    let Policy { trust, denylist, keys } = &bundles.policy;
    let turns = async {
        let (mut trust, mut denylist, mut keys) = (trust.subscribe(), denylist.subscribe(), keys.subscribe());
        loop {
            let changed = tokio::select! {
                changed = trust.changed() => changed,
                changed = denylist.changed() => changed,
                changed = keys.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
            bundles.known.lock().retain(|_, known| matches!(known, Known::Bytes(_)));
            context.wake_all();
        }
    };
    tokio::join!(turns, trust.follow(), denylist.follow(), keys.follow(), bundles.token.follow());
}

#[cfg(test)]
mod tests;

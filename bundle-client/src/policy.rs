//! By what bundles are judged.

use std::path::PathBuf;
use std::sync::Arc;

use annex_bundle::{Denylist, Limits, LoadPolicy, RegistryKeys, TrustBundle};
use annex_service::Followed;

/// By what bundles are judged, as command line arguments.
#[derive(clap::Args, Clone, Debug)]
pub struct PolicyArgs {
    /// The PEM file that says which publishers are trusted. Absent or empty: none is. Read again when it changes.
    #[arg(long = "trust-bundle", env = "SIGNING_TRUST_BUNDLE", value_name = "FILE")]
    trust: Option<PathBuf>,
    /// What is revoked. Absent: nothing. Read again when it changes.
    #[arg(long = "denylist", env = "SIGNING_DENYLIST", value_name = "FILE")]
    denylist: Option<PathBuf>,
    /// The JSON file of the registry's public keys. Absent: no receipt counts. Read again when it changes.
    #[arg(long = "registry-keys", env = "REGISTRY_KEYS_FILE", value_name = "FILE")]
    keys: Option<PathBuf>,
}

impl PolicyArgs {
    /// Whether anything can pass: somebody may be trusted, and a receipt may count.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.trust.is_some() && self.keys.is_some()
    }

    /// What the files hold. `limits` is how much a bundle may be.
    ///
    /// # Errors
    /// A file cannot be read, or does not hold what it should.
    pub fn load(&self, limits: Limits) -> anyhow::Result<Policy> {
        let first = |contents: &[Vec<u8>]| contents.first().map_or(&[][..], Vec::as_slice).to_vec();
        let files = |file: &Option<PathBuf>| file.iter().cloned().collect::<Vec<_>>();
        Ok(Policy {
            trust: Followed::load("the trust bundle", files(&self.trust), move |contents| {
                TrustBundle::parse(&first(contents)).map_err(|error| error.to_string())
            })?,
            denylist: Followed::load("the denylist", files(&self.denylist), move |contents| {
                Denylist::parse(&first(contents)).map_err(|error| error.to_string())
            })?,
            keys: Followed::load("the registry's keys", files(&self.keys), |contents| {
                match contents.first() {
                    Some(keys) => RegistryKeys::from_json(keys).map_err(|error| error.to_string()),
                    None => Ok(RegistryKeys::default()),
                }
            })?,
            limits,
        })
    }
}

/// By what bundles are judged, kept equal to the operator's files. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Policy {
    trust: Followed<TrustBundle>,
    denylist: Followed<Denylist>,
    keys: Followed<RegistryKeys>,
    limits: Limits,
}

impl Policy {
    /// All of it at this moment.
    #[must_use]
    pub fn now(&self) -> Held {
        Held {
            trust: self.trust.get(),
            denylist: self.denylist.get(),
            keys: self.keys.get(),
            limits: self.limits,
        }
    }

    /// Follows the files for ever, and says after each change that there was one.
    pub async fn follow(&self, mut changed: impl FnMut()) {
        let Self { trust, denylist, keys, .. } = self;
        let tell = async {
            let mut turns = (trust.subscribe(), denylist.subscribe(), keys.subscribe());
            loop {
                let turn = tokio::select! {
                    turn = turns.0.changed() => turn,
                    turn = turns.1.changed() => turn,
                    turn = turns.2.changed() => turn,
                };
                if turn.is_err() {
                    return;
                }
                changed();
            }
        };
        tokio::join!(tell, trust.follow(), denylist.follow(), keys.follow());
    }

    /// Looks at the files now.
    pub async fn check(&self) {
        tokio::join!(self.trust.check(), self.denylist.check(), self.keys.check());
    }

    /// What an operator has to know.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        [self.trust.note(), self.denylist.note(), self.keys.note()].into_iter().flatten().collect()
    }
}

/// All of a policy at one moment. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Held {
    trust: Arc<TrustBundle>,
    denylist: Arc<Denylist>,
    keys: Arc<RegistryKeys>,
    limits: Limits,
}

impl Held {
    /// As it is asked.
    #[must_use]
    pub fn load(&self) -> LoadPolicy<'_> {
        LoadPolicy {
            trust: &self.trust,
            registry_keys: &self.keys,
            denylist: &self.denylist,
            limits: &self.limits,
        }
    }

    /// Whether nothing has changed between the two: what was judged by one is judged by the other.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.trust, &other.trust)
            && Arc::ptr_eq(&self.denylist, &other.denylist)
            && Arc::ptr_eq(&self.keys, &other.keys)
    }
}

//! What the operator's files say about trust.

use std::path::PathBuf;

use annex_bundle::{Denylist, Limits, LoadPolicy, PublishPolicy, RegistryKeys, SigningKey, TrustBundle};
use annex_service::Followed;
use jiff::Timestamp;

/// Trust, as command line arguments.
#[derive(clap::Args, Clone, Debug)]
pub struct TrustArgs {
    /// The PEM file that says which publishers are trusted. Absent or empty: none is. Read again when it changes.
    #[arg(long = "trust-bundle", env = "SIGNING_TRUST_BUNDLE", value_name = "FILE")]
    pub trust: Option<PathBuf>,
    /// What is revoked. Absent: nothing. Read again when it changes.
    #[arg(long = "denylist", env = "SIGNING_DENYLIST", value_name = "FILE")]
    pub denylist: Option<PathBuf>,
    /// The PEM private key that receipts are signed with. Read again when it changes.
    #[arg(long = "signing-key", env = "REGISTRY_SIGNING_KEY_FILE", value_name = "FILE")]
    pub key: PathBuf,
    /// The JSON file of all public keys that receipts were ever signed with, that one's too. Read again when it changes.
    #[arg(long = "keys", env = "REGISTRY_KEYS_FILE", value_name = "FILE")]
    pub keys: PathBuf,
}

/// What the registry decides by. Each of it follows its files; what cannot be used leaves the former in place.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Which publishers are trusted.
    pub trust: Followed<TrustBundle>,
    /// What is revoked.
    pub denylist: Followed<Denylist>,
    /// What receipts are signed with.
    pub keys: Followed<Keys>,
}

/// The registry's own keys.
#[derive(Debug)]
pub struct Keys {
    signing: SigningKey,
    published: RegistryKeys,
}

/// All of it at one moment.
pub(crate) struct Decided {
    trust: std::sync::Arc<TrustBundle>,
    denylist: std::sync::Arc<Denylist>,
    keys: std::sync::Arc<Keys>,
    limits: Limits,
}

impl Policy {
    /// Reads the files.
    ///
    /// # Errors
    /// One cannot be used: better not to start than to trust nobody, or everybody, by a mistake.
    pub fn load(args: &TrustArgs) -> anyhow::Result<Self> {
        let nothing_is_nobody =
            |contents: &[Vec<u8>]| contents.first().map_or(&[][..], Vec::as_slice).to_vec();
        Ok(Self {
            trust: Followed::load(
                "the trust bundle",
                args.trust.iter().cloned().collect(),
                move |contents| {
                    TrustBundle::parse(&nothing_is_nobody(contents)).map_err(|error| error.to_string())
                },
            )?,
            denylist: Followed::load(
                "the denylist",
                args.denylist.iter().cloned().collect(),
                move |contents| {
                    Denylist::parse(&nothing_is_nobody(contents)).map_err(|error| error.to_string())
                },
            )?,
            keys: Followed::load(
                "the registry's keys",
                vec![args.key.clone(), args.keys.clone()],
                |contents| Keys::parse(contents, Timestamp::now()),
            )?,
        })
    }

    /// What holds now.
    pub(crate) fn now(&self) -> Decided {
        Decided {
            trust: self.trust.get(),
            denylist: self.denylist.get(),
            keys: self.keys.get(),
            limits: Limits::default(),
        }
    }

    /// Follows the files for ever.
    pub async fn follow(&self) {
        tokio::join!(self.trust.follow(), self.denylist.follow(), self.keys.follow());
    }

    /// What an operator has to know.
    pub fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> =
            [self.trust.note(), self.denylist.note(), self.keys.note()].into_iter().flatten().collect();
        if self.trust.get().is_empty() {
            notes.push("the trust bundle is empty: nobody can publish, and nothing is verified".to_owned());
        }
        notes
    }
}

impl Keys {
    /// Of the private key and the published set.
    pub(crate) fn parse(contents: &[Vec<u8>], now: Timestamp) -> Result<Self, String> {
        let [signing, published] = contents else { return Err("two files make them".to_owned()) };
        let signing = SigningKey::from_pem(signing).map_err(|error| format!("the signing key {error}"))?;
        let published =
            RegistryKeys::from_json(published).map_err(|error| format!("in the published keys, {error}"))?;
        // What nobody can check must not be signed.
        if !published.signs_at(&signing.id(), now) {
            return Err(
                "the signing key is not among the published keys, or does not sign at this time".to_owned()
            );
        }
        Ok(Self { signing, published })
    }

    /// What receipts are signed with.
    pub(crate) fn signing(&self) -> &SigningKey {
        &self.signing
    }

    /// What is published of them.
    pub(crate) fn published(&self) -> &RegistryKeys {
        &self.published
    }
}

impl Decided {
    pub(crate) fn publish(&self, now: Timestamp) -> PublishPolicy<'_> {
        PublishPolicy { trust: &self.trust, denylist: &self.denylist, now, limits: &self.limits }
    }

    pub(crate) fn load(&self) -> LoadPolicy<'_> {
        LoadPolicy {
            trust: &self.trust,
            registry_keys: self.keys.published(),
            denylist: &self.denylist,
            limits: &self.limits,
        }
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }
}

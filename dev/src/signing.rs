//! Keys of one run: what is served is signed and verified as ever, by nobody who is trusted anywhere else.

use std::path::Path;

use annex_bundle::{
    Denylist, Discard, KeyType, Limits, PublishPolicy, RegistryKey, RegistryKeys, SigningKey, TrustBundle,
    Unpacked, issue_receipt, sign, verify_at_publish,
};
use anyhow::{Context as _, Result, anyhow};
use jiff::Timestamp;

/// The publisher's key and the registry's. They are in memory alone.
pub(crate) struct Keys {
    publisher: SigningKey,
    registry: SigningKey,
}

/// The three files of a bundle, as a registry hands them out.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) archive: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    pub(crate) receipt: Vec<u8>,
}

impl Keys {
    /// Makes them.
    pub(crate) fn generate() -> Result<Self> {
        let key = || {
            SigningKey::generate(KeyType::Ed25519).map_err(|error| anyhow!("making a key failed: {error}"))
        };
        Ok(Self { publisher: key()?, registry: key()? })
    }

    /// Writes what a runner judges by into `folder`: `trust.pem`, `keys.json` and an empty `denylist`.
    pub(crate) fn write_public(&self, folder: &Path) -> Result<()> {
        let key = RegistryKey::new(self.registry.public_key().clone(), Timestamp::UNIX_EPOCH, None);
        let files = [
            ("trust.pem", self.trusted()),
            ("keys.json", RegistryKeys::new(vec![key]).to_json()),
            ("denylist", String::new()),
        ];
        for (name, content) in files {
            std::fs::write(folder.join(name), content)
                .with_context(|| format!("writing {}", folder.join(name).display()))?;
        }
        Ok(())
    }

    /// Signs an archive as its publisher, and takes it in as the registry does.
    ///
    /// # Errors
    /// It would be refused when it is published; the text begins with the code.
    pub(crate) fn publish(&self, unpacked: &Unpacked, archive: Vec<u8>) -> Result<Published> {
        let now = Timestamp::now();
        let signature = sign(unpacked, &self.publisher, &[], now)
            .map_err(|error| anyhow!("{}: {error}", error.code()))?;
        let trust = TrustBundle::parse(self.trusted().as_bytes()).map_err(|error| anyhow!("{error}"))?;
        let policy =
            PublishPolicy { trust: &trust, denylist: &Denylist::default(), now, limits: &Limits::default() };
        let verified = verify_at_publish(&archive[..], Some(&signature), &policy, Discard)
            .map_err(|error| anyhow!("{}: {error}", error.code()))?;
        let receipt = issue_receipt(&verified, &self.registry).map_err(|error| anyhow!("{error}"))?;
        Ok(Published { archive, signature, receipt })
    }

    /// For any publisher: what the manifest says is not known before it is read, and may change.
    fn trusted(&self) -> String {
        format!("# annex-publisher: *\n{}", self.publisher.public_key().to_pem())
    }
}

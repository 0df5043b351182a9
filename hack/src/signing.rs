//! What an operator would make: the registry's keys, whom it trusts, the runners' token, and what grants are signed with. But for grants, whose crate is small, only the
//! formats are known here, so that what a newcomer waits for stays small.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use annex_grant::{Audience, KeyRing};
use anyhow::{Context as _, Result};
use rcgen::KeyPair;
use serde_json::json;

use crate::paths::Paths;
use crate::private_file;

/// Makes what is missing; what is there stays, so that what was published stays verified.
pub(crate) fn ensure(paths: &Paths) -> Result<()> {
    let registry = key(&paths.registry_key())?;
    missing(&paths.registry_keys(), || {
        let key = json!({ "publicKey": registry.public_key_pem(), "notBefore": "2020-01-01T00:00:00Z" });
        Ok(json!({ "keys": [key] }).to_string())
    })?;
    let publisher = key(&paths.publisher_key())?;
    missing(&paths.trust_bundle(), || Ok(format!("# annex-publisher: *\n{}", publisher.public_key_pem())))?;
    missing(&paths.denylist(), || Ok("# nothing is revoked\n".to_owned()))?;
    missing(&paths.runner_tokens(), random)?;
    missing(&paths.grant_keys().join(GRANT_KEY), random)?;
    derive(paths)
}

/// What the gateway's grants are signed with.
const GRANT_KEY: &str = "dev";
/// Who the runner of this machine is to the gateway.
const DIRECT: &str = "direct";

/// What the runner of this machine verifies them by, of the key as it is: it may have been replaced by hand.
fn derive(paths: &Paths) -> Result<()> {
    let key = paths.grant_keys().join(GRANT_KEY);
    let key = fs::read(&key).with_context(|| format!("cannot read {}", key.display()))?;
    let ring = KeyRing::parse(&[(GRANT_KEY.to_owned(), key)]).context("the key of grants")?;
    let audience: Audience = DIRECT.parse().context("the audience of the runner of this machine")?;
    ring.derived(&audience).into_iter().try_for_each(|(id, derived)| {
        private_file::write(&paths.runner_grant_keys().join(id.as_str()), derived.as_bytes())
    })
}

/// 32 bytes in hex, and a line's end.
fn random() -> Result<String> {
    let mut bytes = [0; 32];
    let random = File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes));
    random.context("cannot read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n")
}

fn missing(path: &Path, content: impl FnOnce() -> Result<String>) -> Result<()> {
    if path.is_file() { Ok(()) } else { private_file::write(path, content()?.as_bytes()) }
}

fn key(path: &Path) -> Result<KeyPair> {
    if path.is_file() {
        let pem = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        return KeyPair::from_pem(&pem).with_context(|| format!("{} holds no key", path.display()));
    }
    let key = KeyPair::generate().context("cannot make a key")?;
    private_file::write(path, key.serialize_pem().as_bytes())?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Sandbox;

    #[test]
    fn what_is_there_stays_and_what_is_missing_is_made() {
        let sandbox = Sandbox::new("signing");
        let paths = Paths::new(sandbox.path());
        ensure(&paths).unwrap();
        let files =
            [paths.registry_key(), paths.registry_keys(), paths.trust_bundle(), paths.runner_tokens()];
        let grant_key = paths.grant_keys().join("dev");
        let read = || files.clone().map(|file| fs::read_to_string(file).unwrap());
        let first = read();
        let first_grant_key = fs::read_to_string(&grant_key).unwrap();
        let derived = fs::read_to_string(paths.runner_grant_keys().join("dev")).unwrap();
        assert!(derived.starts_with("aud.direct.") && !derived.contains(first_grant_key.trim()));
        ensure(&paths).unwrap();
        assert_eq!((read(), fs::read_to_string(&grant_key).unwrap()), (first.clone(), first_grant_key));
        fs::remove_file(paths.runner_tokens()).unwrap();
        ensure(&paths).unwrap();
        let again = read();
        assert_eq!(again[..3], first[..3]);
        assert!(again[3] != first[3] && again[3].trim().len() == 64);
    }
}

//! The wildcard certificate of the installs' domains, and the authority that a person's client checks it by.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::kubectl::Kubectl;
use crate::paths::Paths;
use crate::private_file;

/// The Secret that the controller copies for the workspaces' mappings, as `EXT_DOMAIN_TLS_SECRET` names it.
pub(crate) const SECRET: &str = "annex-system/annex-domain-tls";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const VALID: Duration = DAY.saturating_mul(30);
/// An environment that is brought up should not lose its domains while somebody works with it.
const RENEWED_BEFORE_END: Duration = DAY.saturating_mul(7);
/// A cluster elsewhere may have a clock that is behind.
const CLOCK_SKEW: Duration = Duration::from_secs(60 * 60);

/// What the files were made for. Without it they count for nothing.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    domain_root: String,
    /// In seconds since 1970.
    ends: u64,
}

impl Made {
    fn serves(&self, domain_root: &str, now: SystemTime) -> bool {
        let renewal = seconds(now).saturating_add(RENEWED_BEFORE_END.as_secs());
        self.domain_root == domain_root && renewal < self.ends
    }
}

/// An authority, and a certificate of it for the whole domain root; all in PEM.
struct Certificates {
    authority: String,
    certificate: String,
    key: String,
}

/// Makes authority, certificate and key, unless those that are there serve this domain root for a while yet.
pub(crate) fn ensure(paths: &Paths, domain_root: &str) -> Result<()> {
    ensure_at(paths, domain_root, SystemTime::now())
}

fn ensure_at(paths: &Paths, domain_root: &str, now: SystemTime) -> Result<()> {
    let record = paths.domains_record();
    let files = [paths.domains_ca(), paths.domains_certificate(), paths.domains_key()];
    let made = fs::read(&record).ok().and_then(|text| serde_json::from_slice::<Made>(&text).ok());
    if made.is_some_and(|made| made.serves(domain_root, now)) && files.iter().all(|file| file.is_file()) {
        return Ok(());
    }
    // First and last: a run that was interrupted in between leaves no record, and begins again.
    if record.exists() {
        fs::remove_file(&record).with_context(|| format!("cannot remove {}", record.display()))?;
    }
    let certificates = make(domain_root, now)?;
    private_file::write(&paths.domains_key(), certificates.key.as_bytes())?;
    private_file::write(&paths.domains_certificate(), certificates.certificate.as_bytes())?;
    private_file::write(&paths.domains_ca(), certificates.authority.as_bytes())?;
    let made = Made { domain_root: domain_root.to_owned(), ends: seconds(now + VALID) };
    private_file::write(&record, &serde_json::to_vec(&made).context("cannot render JSON")?)
}

/// Hands the certificate to the compute cluster, as an operator does.
pub(crate) fn apply_secret(paths: &Paths, admin: &Kubectl) -> Result<()> {
    let read =
        |path: std::path::PathBuf| fs::read(&path).with_context(|| format!("cannot read {}", path.display()));
    let secret = secret(&read(paths.domains_certificate())?, &read(paths.domains_key())?)?;
    // Without force: on a cluster elsewhere this may be the certificate of real domains, which then is a conflict.
    admin
        .run_with_input(&["apply", "--server-side", "--filename=-"], &secret.to_string())
        .with_context(|| format!("cannot apply Secret {SECRET}"))
        .map(drop)
}

fn secret(certificate: &[u8], key: &[u8]) -> Result<Value> {
    let (namespace, name) = SECRET.split_once('/').context("a Secret has a namespace")?;
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": name, "namespace": namespace},
        "data": {"tls.crt": STANDARD.encode(certificate), "tls.key": STANDARD.encode(key)},
    }))
}

/// The authority's own key is forgotten here: whoever lets a browser trust the authority trusts this one certificate, and nothing
/// that somebody could sign later.
fn make(domain_root: &str, now: SystemTime) -> Result<Certificates> {
    let failed = || format!("cannot make the certificate of *.{domain_root}");
    let mut authority = params(Vec::new(), "Annex development domains", now).with_context(failed)?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority_key = KeyPair::generate().with_context(failed)?;
    let root = authority.self_signed(&authority_key).with_context(failed)?;

    // The address, because the controller asks for the runner's health by it.
    let names = vec![format!("*.{domain_root}"), "127.0.0.1".to_owned()];
    let mut leaf = params(names, &format!("*.{domain_root}"), now).with_context(failed)?;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().with_context(failed)?;
    let certificate = leaf.signed_by(&key, &Issuer::new(authority, authority_key)).with_context(failed)?;
    Ok(Certificates { authority: root.pem(), certificate: certificate.pem(), key: key.serialize_pem() })
}

fn params(names: Vec<String>, subject: &str, now: SystemTime) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, subject);
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + VALID).into();
    Ok(params)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::*;
    use crate::sandbox::Sandbox;

    const ROOT: &str = "apps.localhost";

    fn all(paths: &Paths) -> Vec<Vec<u8>> {
        [paths.domains_ca(), paths.domains_certificate(), paths.domains_key()]
            .iter()
            .map(|path| fs::read(path).unwrap())
            .collect()
    }

    #[test]
    fn what_serves_stays_and_what_does_not_is_made_anew() {
        let sandbox = Sandbox::new("domain-tls");
        let paths = Paths::new(sandbox.path());
        let now = SystemTime::now();
        ensure_at(&paths, ROOT, now).unwrap();
        let first = all(&paths);
        ensure_at(&paths, ROOT, now + 22 * DAY).unwrap();
        assert_eq!(all(&paths), first);

        ensure_at(&paths, ROOT, now + 24 * DAY).unwrap();
        let renewed = all(&paths);
        assert!(first.iter().zip(&renewed).all(|(old, new)| old != new));
        ensure_at(&paths, "apps.test", now + 24 * DAY).unwrap();
        let moved = all(&paths);
        assert!(renewed.iter().zip(&moved).all(|(old, new)| old != new));
        ensure_at(&paths, "apps.test", now + 24 * DAY).unwrap();
        assert_eq!(all(&paths), moved);
    }

    #[test]
    fn what_is_missing_or_half_made_is_made_anew_as_a_whole() {
        let sandbox = Sandbox::new("domain-tls-half");
        let paths = Paths::new(sandbox.path());
        ensure(&paths, ROOT).unwrap();
        let first = all(&paths);
        for gone in [paths.domains_key(), paths.domains_record()] {
            fs::remove_file(gone).unwrap();
            ensure(&paths, ROOT).unwrap();
            assert!(first.iter().zip(all(&paths)).all(|(old, new)| *old != new));
        }
    }

    #[test]
    fn the_key_is_its_owners_alone_and_the_authoritys_is_nowhere() {
        let sandbox = Sandbox::new("domain-tls-key");
        let paths = Paths::new(sandbox.path());
        ensure(&paths, ROOT).unwrap();
        assert_eq!(fs::metadata(paths.domains_key()).unwrap().permissions().mode() & 0o777, 0o600);
        let files = fs::read_dir(sandbox.path()).unwrap().map(|entry| entry.unwrap().path());
        let keys = files.filter(|path| fs::read_to_string(path).unwrap().contains("PRIVATE KEY"));
        assert_eq!(keys.collect::<Vec<_>>(), [paths.domains_key()]);
        assert!(Paths::new(Path::new("/s")).written().contains(&Paths::new(Path::new("/s")).domains_key()));
    }

    #[test]
    fn the_secret_is_what_knative_takes() {
        let secret = secret(b"certificate", b"key").unwrap();
        let at = |pointer: &str| secret.pointer(pointer).unwrap().as_str().unwrap();
        assert_eq!((at("/metadata/namespace"), at("/metadata/name")), ("annex-system", "annex-domain-tls"));
        assert_eq!(at("/type"), "kubernetes.io/tls");
        assert_eq!(STANDARD.decode(at("/data/tls.crt")).unwrap(), b"certificate");
        assert_eq!(STANDARD.decode(at("/data/tls.key")).unwrap(), b"key");
    }
}

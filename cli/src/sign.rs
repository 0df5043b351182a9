//! `kubectl annex sign`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use annex_bundle::signature::MAX_SIGNATURE;
use annex_bundle::{Certificate, Discard, Limits, SigningKey, cosign, sign, unpack};
use clap::Args;
use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::files;
use crate::outcome::Failure;
use crate::shell::quoted;

pub(crate) const HELP: &str = "\
Reads the archive as the registry will, and writes the signature to FILE.sig, in place of one that is there. What is signed is \
the archive's bytes, its content hash, and name, version, publisher and capabilities of its manifest.

With --cert the signature carries the certificate of the key, and those between it and an authority that the platform \
trusts. Without, the platform must trust the key itself. With --add the signature is added to those in FILE.sig, as \
when a key is replaced by another.

Examples:
  kubectl annex sign notes.tar.zst --key publisher.key
  kubectl annex sign notes.tar.zst --key ci.key --cert ci-chain.pem

Exit codes: 0 FILE.sig is written, 1 the archive is no bundle, or the key or a certificate is refused (the code is one of \
docs/bundle-format.md), 2 wrong usage, 3 a file could not be read or written.";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The archive
    pub(crate) file: PathBuf,
    /// The private key: PKCS#8 in PEM, as keygen writes it
    #[arg(long, value_name = "KEY")]
    pub(crate) key: PathBuf,
    /// The key's certificate and those above it, in PEM
    #[arg(long, value_name = "PEM")]
    pub(crate) cert: Option<PathBuf>,
    /// Add the signature to those that are in FILE.sig
    #[arg(long)]
    pub(crate) add: bool,
}

/// More than any key or chain has.
const MAX_PEM: usize = 1 << 20;

/// Signs the archive.
pub(crate) fn run(arguments: &Arguments) -> Result<String, Failure> {
    let key = Zeroizing::new(files::read(&arguments.key, MAX_PEM)?);
    let key = SigningKey::from_pem(&key).map_err(|error| {
        Failure::refused(error.code(), format!("the key {}: {error}", arguments.key.display()))
    })?;
    let certificates = arguments.cert.as_deref().map_or(Ok(Vec::new()), certificates)?;
    let archive = files::open(&arguments.file)?;
    let unpacked = unpack(archive, &Limits::default(), Discard)
        .map_err(|error| Failure::refused(error.code(), format!("{}: {error}", arguments.file.display())))?;
    let target = files::signature_of(&arguments.file);
    let signature = if arguments.add {
        let others = files::read_if_there(&target, MAX_SIGNATURE)?.ok_or_else(|| {
            Failure::Usage(format!("{} is not there; leave --add out to make it", target.display()))
        })?;
        cosign(&others, &unpacked, &key, &certificates)
    } else {
        sign(&unpacked, &key, &certificates, Timestamp::now())
    };
    let signature = signature.map_err(|error| Failure::refused(error.code(), error))?;
    files::write(&target, |out| {
        out.write_all(&signature).map_err(|error| Failure::file("writing", &target, &error))
    })?;
    let manifest = &unpacked.manifest;
    let warning = warning(&arguments.key);
    Ok(format!(
        "signed {} {} of {}, {}, with key {}\nsignature: {}{warning}",
        manifest.name,
        manifest.version,
        manifest.publisher,
        unpacked.content_hash,
        key.id(),
        target.display(),
    ))
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, Failure> {
    let refused = |code: &str, message: String| {
        Failure::refused(code, format!("the certificates in {}: {message}", path.display()))
    };
    let found = Certificate::all_from_pem(&files::read(path, MAX_PEM)?)
        .map_err(|error| refused(error.code(), error.to_string()))?;
    if found.is_empty() {
        // Signing without would go well, and verifying nowhere.
        return Err(refused("PemInvalid", "the file has no PEM block CERTIFICATE".to_owned()));
    }
    Ok(found)
}

/// What is to be said of a key that others can read.
#[cfg(unix)]
fn warning(key: &Path) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let open = key.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0);
    let path = quoted(&key.display().to_string());
    if open {
        format!("\nWarning: others on this machine may read the key; chmod 600 {path}")
    } else {
        String::new()
    }
}

#[cfg(not(unix))]
fn warning(_: &Path) -> String {
    String::new()
}

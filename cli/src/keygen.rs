//! `kubectl annex keygen`.

use std::fs;
use std::path::PathBuf;

use annex_bundle::{KeyType, Publisher, SigningKey};
use clap::{Args, ValueEnum};
use zeroize::Zeroizing;

use crate::files;
use crate::outcome::Failure;

pub(crate) const HELP: &str = "\
Writes the private key to KEY, readable by you alone, and the public one to KEY.pub. A file that is there is never \
overwritten. The private key is not encrypted: keep it in a secret store, or on a disk that is.

With --publisher, KEY.pub says for whom the key speaks and is a trust bundle as it is: `verify --trust KEY.pub` takes it, and \
an operator can append it to SIGNING_TRUST_BUNDLE.

Example:
  kubectl annex keygen -o publisher.key --publisher example.com

Exit codes: 0 both files are written, 1 one of them is there already, 2 wrong usage, 3 a file could not be written, or \
the system gives no randomness.";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Where to write the private key; the public one goes to KEY.pub
    #[arg(short, long, value_name = "KEY")]
    pub(crate) output: PathBuf,
    /// The type of key
    #[arg(long, value_enum, default_value_t)]
    pub(crate) algorithm: Algorithm,
    /// For whom the key speaks: a DNS name, as in the manifest
    #[arg(long, value_name = "DNS")]
    pub(crate) publisher: Option<Publisher>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Algorithm {
    /// Small and quick
    #[default]
    Ed25519,
    /// ECDSA over P-256
    EcdsaP256,
    /// ECDSA over P-384
    EcdsaP384,
    /// RSA-PSS with 3072 bits
    #[value(name = "rsa-3072")]
    Rsa3072,
    /// RSA-PSS with 4096 bits
    #[value(name = "rsa-4096")]
    Rsa4096,
}

impl From<Algorithm> for KeyType {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Ed25519 => Self::Ed25519,
            Algorithm::EcdsaP256 => Self::EcdsaP256,
            Algorithm::EcdsaP384 => Self::EcdsaP384,
            Algorithm::Rsa3072 => Self::Rsa3072,
            Algorithm::Rsa4096 => Self::Rsa4096,
        }
    }
}

/// Makes a key and writes both halves.
pub(crate) fn run(arguments: &Arguments) -> Result<String, Failure> {
    let private = &arguments.output;
    let mut public = private.as_os_str().to_owned();
    public.push(".pub");
    let public = PathBuf::from(public);
    // RSA takes its time. What is there is said before it is spent.
    for path in [private, &public] {
        if path.symlink_metadata().is_ok() {
            return Err(Failure::Refused(files::exists(path)));
        }
    }
    let key = SigningKey::generate(arguments.algorithm.into())
        .map_err(|error| Failure::Unable(format!("{}: {error}", error.code())))?;
    let speaks_for = arguments.publisher.as_ref().map(|name| format!("# annex-publisher: {name}\n"));
    let pem = format!("{}{}", speaks_for.unwrap_or_default(), key.public_key().to_pem());
    let secret: Zeroizing<String> = key.to_pem();
    files::write_new(private, secret.as_bytes(), true)?;
    files::write_new(&public, pem.as_bytes(), false).inspect_err(|_| {
        // A private key whose public half nobody has is of no use, and would be in the way of the next attempt.
        let _ = fs::remove_file(private);
    })?;
    Ok(format!(
        "private key  {}  (keep it where only you can read it)\npublic key   {}  {}",
        private.display(),
        public.display(),
        key.id(),
    ))
}

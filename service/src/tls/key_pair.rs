use std::{
    fs,
    hash::{BuildHasher as _, RandomState},
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
};
use x509_cert::{Certificate, der::Decode as _};

use super::args::KeyPairFiles;

/// Why two files are no certificate with its key. Never quotes what is in them.
#[derive(Debug, thiserror::Error)]
pub enum KeyPairError {
    /// Missing, a folder, or not for us.
    #[error("{path} cannot be read: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What happened.
        error: io::Error,
    },
    /// Text that is no PEM, or nothing in it that is asked for.
    #[error("{path} holds no PEM {what}")]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// The key is another certificate's, or of a kind that nobody takes.
    #[error("{cert} and {key} cannot be served together: {error}")]
    Unfit {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What TLS says.
        error: rustls::Error,
    },
}

/// What two files held at one moment.
pub(super) struct Content {
    cert: Vec<u8>,
    key: Vec<u8>,
}

/// A certificate with its key, ready to be served.
pub(super) struct KeyPair {
    pub(super) config: Arc<ServerConfig>,
    /// None where the certificate's dates cannot be read, which keeps nobody from serving it.
    pub(super) not_after: Option<SystemTime>,
}

impl Content {
    /// Needs the disk.
    pub(super) fn read(files: &KeyPairFiles) -> Result<Self, KeyPairError> {
        let read =
            |path: &PathBuf| fs::read(path).map_err(|error| KeyPairError::Read { path: path.clone(), error });
        Ok(Self { cert: read(&files.cert)?, key: read(&files.key)? })
    }

    /// The same for the same content. The hasher has a random key: nobody can aim at a collision.
    pub(super) fn fingerprint(&self, hasher: &RandomState) -> u64 {
        hasher.hash_one((&self.cert, &self.key))
    }

    /// Checks that it can be served: both are PEM, and the key is the certificate's. `files` are for the message.
    pub(super) fn parse(&self, files: &KeyPairFiles) -> Result<KeyPair, KeyPairError> {
        let not_pem = |path: &PathBuf, what| KeyPairError::NotPem { path: path.clone(), what };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&self.cert)
            .collect::<Result<_, pem::Error>>()
            .map_err(|_| not_pem(&files.cert, "certificate"))?;
        let leaf = chain.first().ok_or_else(|| not_pem(&files.cert, "certificate"))?;
        let not_after = not_after(leaf);
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| not_pem(&files.key, "private key"))?;
        let config = server_config(chain, key).map_err(|error| KeyPairError::Unfit {
            cert: files.cert.clone(),
            key: files.key.clone(),
            error,
        })?;
        Ok(KeyPair { config: Arc::new(config), not_after })
    }
}

/// TLS 1.2 and 1.3. A new one has no memory of sessions, so that nobody resumes what a former certificate began.
fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn not_after(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let since_epoch: Duration = certificate.tbs_certificate().validity().not_after.to_unix_duration();
    SystemTime::UNIX_EPOCH.checked_add(since_epoch)
}

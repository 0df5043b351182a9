//! The request to the registry.

use std::path::Path;
use std::time::Duration;

use futures::StreamExt as _;
use reqwest::header::ACCEPT;
use reqwest::multipart::{Form, Part};
use reqwest::{Body, Certificate, Client, Response, redirect};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::{Instant, sleep};
use tokio_util::io::ReaderStream;

use super::answer::{Published, read};
use super::progress::Progress;
use super::registry::RegistryUrl;
use crate::outcome::Failure;
use crate::server::chain;

/// Bytes of the archive that are read at once.
const CHUNK: usize = 128 << 10;
/// How long the registry may take nothing and say nothing. Verifying takes it seconds, and what kcp has to write a few more.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is sent, where and as whom.
pub(super) struct Upload<'a> {
    pub(super) registry: &'a RegistryUrl,
    pub(super) authorities: Option<&'a [u8]>,
    pub(super) token: SecretString,
    pub(super) archive: &'a Path,
    pub(super) size: u64,
    pub(super) signature: Vec<u8>,
}

impl Upload<'_> {
    /// Sends it and reads the answer.
    pub(super) async fn send(self) -> Result<Published, Failure> {
        let registry = self.registry;
        let client = client(registry, self.authorities)?;
        let progress = Progress::new(self.size);
        let form = self.form(&progress).await?;
        let request = client
            .post(registry.join("api/bundles"))
            .bearer_auth(self.token.expose_secret())
            .header(ACCEPT, "application/json")
            .multipart(form)
            .send();
        let answer = tokio::select! {
            answer = request => answer.map_err(|error| unreachable(registry, error)),
            () = stalled(&progress) => Err(Failure::Unable(format!(
                "{registry} took nothing and said nothing for {} s; the same command can be run again",
                PATIENCE.as_secs()
            ))),
        };
        progress.finish();
        read(registry, answer?).await
    }

    /// The signature first: without one that is trusted the registry need not see the archive.
    async fn form(&self, progress: &Progress) -> Result<Form, Failure> {
        let file = tokio::fs::File::open(self.archive).await;
        let file = file.map_err(|error| Failure::file("opening", self.archive, &error))?;
        let counted = progress.clone();
        let stream = ReaderStream::with_capacity(file, CHUNK).inspect(move |chunk| {
            if let Ok(chunk) = chunk {
                counted.add(chunk.len());
            }
        });
        let archive = Part::stream_with_length(Body::wrap_stream(stream), self.size);
        Ok(Form::new()
            .part("signature", Part::bytes(self.signature.clone()).file_name("bundle.sig"))
            .part("archive", archive.file_name("bundle.tar.zst")))
    }
}

fn client(registry: &RegistryUrl, authorities: Option<&[u8]>) -> Result<Client, Failure> {
    // An error means that one is installed already, which is what was wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("kubectl-annex/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(30))
        // The token is for this registry, and for nobody that it names.
        .redirect(redirect::Policy::none());
    let authorities = match authorities {
        // Without it the client reads the system's root certificates even for http, and fails where there are none.
        None if !registry.is_https() => Some(Vec::new()),
        None => None,
        Some(pem) => {
            let found = Certificate::from_pem_bundle(pem).unwrap_or_default();
            if found.is_empty() {
                return Err(Failure::Usage(
                    "--certificate-authority has no PEM block CERTIFICATE".to_owned(),
                ));
            }
            Some(found)
        }
    };
    if !registry.is_https() {
        // What a proxy from the environment is asked in plain http it reads, the token too.
        builder = builder.no_proxy();
    }
    if let Some(authorities) = authorities {
        builder = builder.tls_certs_only(authorities);
    }
    builder.build().map_err(|error| Failure::Unable(format!("setting up the client: {}", chain(&error))))
}

/// Ends when nothing has moved for too long.
async fn stalled(progress: &Progress) {
    let mut seen = progress.sent();
    let mut since = Instant::now();
    while since.elapsed() < PATIENCE {
        sleep(Duration::from_secs(1)).await;
        if progress.sent() != seen {
            seen = progress.sent();
            since = Instant::now();
        }
    }
}

fn unreachable(registry: &RegistryUrl, error: reqwest::Error) -> Failure {
    // Its address is said once.
    let error = error.without_url();
    if error.is_connect() {
        return Failure::Unable(format!("cannot reach {registry}: {}", chain(&error)));
    }
    Failure::Unable(format!(
        "{registry} ended the connection without an answer: {}; the same command can be run again",
        chain(&error)
    ))
}

/// Reads at most `limit` bytes of an answer.
pub(super) async fn body(mut answer: Response, limit: usize) -> Result<Vec<u8>, reqwest::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        bytes.extend(chunk.iter().take(limit - bytes.len()));
        if bytes.len() == limit {
            break;
        }
    }
    Ok(bytes)
}

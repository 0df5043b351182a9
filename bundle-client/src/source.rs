//! Bundles, as the registry hands them out (`docs/registry-api.md`).

use std::time::Duration;

use annex_bundle::{ArchiveError, Loaded, Refusal, Sink, verify_at_load};
use annex_core::ContentHash;
use annex_service::Followed;
use bytes::Bytes;
use reqwest::{StatusCode, Url};

use crate::chunks;
use crate::policy::Held;

/// A signature has 64 KiB at the most, a receipt less.
const LARGEST_SMALL: usize = 128 << 10;

/// The registry's bundles. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Source {
    http: reqwest::Client,
    base: Url,
    token: Followed<Option<String>>,
}

/// What vouches for a bundle's bytes: both files as the registry has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vouched {
    /// `bundle.sig`.
    pub signature: Bytes,
    /// `receipt.json`.
    pub receipt: Bytes,
}

/// Why a bundle was not loaded. The first two say something of the bundle, and are worth remembering; the last does not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The registry does not have it.
    #[error("BundleMissing: the registry does not have it")]
    Missing,
    /// It was looked at and is not good: a code of `docs/bundle-format.md` and why.
    #[error("{code}: {message}")]
    Refused {
        /// The code.
        code: &'static str,
        /// For people.
        message: String,
    },
    /// It could not be looked at.
    #[error("{0}")]
    Unavailable(String),
}

impl Source {
    /// `http` is to follow no redirect and to use no proxy of the environment: either would let another party hand out bundles.
    /// `token` is what the registry knows the caller by.
    #[must_use]
    pub fn new(http: reqwest::Client, base: Url, token: Followed<Option<String>>) -> Self {
        Self { http, base, token }
    }

    /// Fetches the bundle and reads all of it, in `within`. The files go to `sink` while they come: they are to be thrown away unless
    /// this returns `Ok`.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn load<S: Sink + Send + 'static>(
        &self,
        content: &ContentHash,
        held: Held,
        within: Duration,
        sink: S,
    ) -> Result<(Loaded, Vouched), LoadError> {
        tokio::time::timeout(within, self.fetch(content, held, within, sink))
            .await
            .unwrap_or_else(|_| Err(unavailable("the registry did not send the bundle in time")))
    }

    async fn fetch<S: Sink + Send + 'static>(
        &self,
        content: &ContentHash,
        held: Held,
        within: Duration,
        sink: S,
    ) -> Result<(Loaded, Vouched), LoadError> {
        let signature = self.small(content, "bundle.sig", within).await?;
        let receipt = self.small(content, "receipt.json", within).await?;
        let archive = self.get(content, "bundle.tar.zst", within).await?;
        let vouched = Vouched { signature, receipt };
        let (chunks, feed) = chunks::from_response(archive);
        let verifying = tokio::task::spawn_blocking({
            let vouched = vouched.clone();
            move || {
                let (signature, receipt) = (Some(&vouched.signature[..]), Some(&vouched.receipt[..]));
                verify_at_load(chunks, signature, receipt, &held.load(), sink)
            }
        });
        let (fed, verdict) = tokio::join!(feed, verifying);
        match verdict.map_err(|_| unavailable("verifying the bundle failed"))? {
            Ok(loaded) if loaded.verified.unpacked.content_hash == *content => Ok((loaded, vouched)),
            Ok(_) => Err(LoadError::Refused {
                code: "DigestMismatch",
                message: "the registry sent another bundle".to_owned(),
            }),
            // What broke on the way, or found no room here, says nothing of the bundle.
            Err(Refusal::Archive(error @ ArchiveError::Store { .. })) => {
                Err(LoadError::Unavailable(error.to_string()))
            }
            Err(_) if fed.is_err() => Err(unavailable("the registry's answer broke off")),
            Err(refusal) => Err(LoadError::Refused { code: refusal.code(), message: refusal.to_string() }),
        }
    }

    async fn small(&self, content: &ContentHash, file: &str, within: Duration) -> Result<Bytes, LoadError> {
        let mut response = self.get(content, file, within).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) =
            response.chunk().await.map_err(|_| unavailable("the registry's answer broke off"))?
        {
            if bytes.len() + chunk.len() > LARGEST_SMALL {
                return Err(unavailable("the registry's answer is too large"));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.into())
    }

    async fn get(
        &self,
        content: &ContentHash,
        file: &str,
        within: Duration,
    ) -> Result<reqwest::Response, LoadError> {
        let mut url = self.base.clone();
        url.set_path(&format!(
            "{}/bundles/sha256/{}/{file}",
            url.path().trim_end_matches('/'),
            content.hex()
        ));
        // Instead of the client's own, which may be made for small answers.
        let mut request = self.http.get(url).timeout(within);
        if let Some(token) = &*self.token.get() {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.map_err(|error| {
            tracing::warn!(error = %error.without_url(), "the registry cannot be reached");
            unavailable("the registry cannot be reached")
        })?;
        match response.status() {
            StatusCode::OK => Ok(response),
            StatusCode::NOT_FOUND => Err(LoadError::Missing),
            status => {
                tracing::warn!(%status, "the registry does not hand out a bundle");
                Err(unavailable("the registry does not hand out bundles just now"))
            }
        }
    }
}

fn unavailable(why: &str) -> LoadError {
    LoadError::Unavailable(why.to_owned())
}

//! The bodies of requests, in memory until they were sent on.

use std::{sync::Arc, time::Duration};

use annex_answering::Refusal;
use axum::{
    body::{Body, HttpBody as _},
    http::{HeaderMap, header::CONTENT_LENGTH},
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::refusals::{body_too_slow, too_busy};

/// The most bytes of a request's or an answer's body: 10 MiB.
pub const LARGEST_BODY: usize = 10 << 20;

/// So much memory in one unit of the semaphore.
const UNIT: usize = 1 << 10;

/// How much memory all bodies together take. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bodies {
    free: Arc<Semaphore>,
    all: usize,
}

/// A body, and its place in memory until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) bytes: Bytes,
    _place: OwnedSemaphorePermit,
}

impl Bodies {
    /// So many MiB.
    #[must_use]
    pub fn new(mib: u32) -> Self {
        let all = usize::try_from(mib)
            .unwrap_or(usize::MAX)
            .saturating_mul((1 << 20) / UNIT)
            .min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(all)), all }
    }

    /// How many bytes are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.all.saturating_sub(self.free.available_permits()).saturating_mul(UNIT)
    }

    /// Reads a body. A place is taken for as many bytes as it says that it has, or for the most.
    ///
    /// # Errors
    /// It is too large or too slow, breaks off, or there is no place.
    pub(crate) async fn read(
        &self,
        headers: &HeaderMap,
        body: Body,
        within: Duration,
    ) -> Result<Held, Refusal> {
        // hyper has checked it: one number, or none.
        let said = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let said = said.map(|said| usize::try_from(said).unwrap_or(usize::MAX));
        let most = if body.is_end_stream() { 0 } else { said.unwrap_or(LARGEST_BODY) };
        if most > LARGEST_BODY {
            return Err(too_large());
        }
        let units = u32::try_from(most.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let place = self.free.clone().try_acquire_many_owned(units).map_err(|_| too_busy())?;
        let read = tokio::time::timeout(within, Limited::new(body, LARGEST_BODY).collect()).await;
        let bytes = match read {
            Err(_) => return Err(body_too_slow()),
            Ok(Ok(collected)) => collected.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
            Ok(Err(_)) => return Err(Refusal::malformed("the request's body broke off")),
        };
        Ok(Held { bytes, _place: place })
    }
}

fn too_large() -> Refusal {
    Refusal::too_large("the request's body", LARGEST_BODY as u64)
}

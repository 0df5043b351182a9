//! The body of `POST /api/bundles`: from the wire to a file, within limits of size and time.

use std::{
    io::{self, SeekFrom},
    time::Duration,
};

use annex_answering::Refusal;
use annex_bundle::Limits;
use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
};
use bytes::Bytes;
use multer::{Field, Multipart};
use tokio::{
    fs::File,
    io::{AsyncSeekExt as _, AsyncWriteExt as _},
    time::{Instant, timeout, timeout_at},
};

use crate::{
    pace::{Pace, Patience},
    refusal::disk_full,
    scratch::Scratch,
    store::is_full,
};

/// A signature file's limit, which `annex-bundle` has as well.
const LARGEST_SIGNATURE: u64 = 64 << 10;

/// How long a client may go on sending what was refused.
const LINGER: Duration = Duration::from_secs(5);

/// A body that is being read, part by part.
pub(crate) struct Upload {
    parts: Multipart<'static>,
    pace: Pace,
}

/// A part that came.
#[derive(Debug)]
pub(crate) enum Part {
    /// The signature file, not more than 64 KiB.
    Signature(Bytes),
    /// The archive begins; [`Upload::save`] reads it.
    Archive(Box<Field<'static>>),
}

impl Upload {
    /// Nothing is read yet.
    pub(crate) fn begin(headers: &HeaderMap, body: Body, patience: Patience) -> Result<Self, Refusal> {
        let content_type =
            headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let boundary = multer::parse_boundary(content_type).map_err(|_| {
            Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "UnsupportedMediaType",
                "the body is not multipart/form-data with a boundary",
            )
        })?;
        let parts = Multipart::new(body.into_data_stream(), boundary);
        Ok(Self { parts, pace: Pace::begin(patience, Instant::now()) })
    }

    /// The next part. None: that was all.
    pub(crate) async fn next(&mut self) -> Result<Option<Part>, Refusal> {
        let until = self.pace.until(Instant::now());
        let next = timeout_at(until, self.parts.next_field()).await.map_err(|_| too_slow())?;
        let Some(mut field) = next.map_err(|error| broken(&error))? else { return Ok(None) };
        match field.name() {
            Some("signature") => {
                let mut signature = Vec::new();
                while let Some(chunk) = self.chunk(&mut field).await? {
                    signature.extend_from_slice(&chunk);
                    within(signature.len() as u64, "the part signature", LARGEST_SIGNATURE)?;
                }
                Ok(Some(Part::Signature(signature.into())))
            }
            Some("archive") => Ok(Some(Part::Archive(Box::new(field)))),
            _ => Err(Refusal::malformed("a part is named neither archive nor signature")),
        }
    }

    /// Writes the archive into a file without a name, which is at its beginning then.
    pub(crate) async fn save(
        &mut self,
        mut archive: Box<Field<'static>>,
        scratch: &Scratch,
    ) -> Result<File, Refusal> {
        let mut file = scratch.file().await.map_err(|error| disk(&error))?;
        let (mut size, most) = (0, Limits::default().archive);
        while let Some(chunk) = self.chunk(&mut archive).await? {
            size += chunk.len() as u64;
            within(size, "the part archive", most)?;
            file.write_all(&chunk).await.map_err(|error| disk(&error))?;
        }
        // A file of tokio's tells of a failed write at the next one.
        file.flush().await.map_err(|error| disk(&error))?;
        file.seek(SeekFrom::Start(0)).await.map_err(|error| disk(&error))?;
        Ok(file)
    }

    /// Lets a client that is still sending come to its end, or to the answer, for a while.
    pub(crate) async fn drain(mut self) {
        let drained = async {
            while let Ok(Some(mut field)) = self.parts.next_field().await {
                while let Ok(Some(_)) = field.chunk().await {}
            }
        };
        let _ = timeout(LINGER, drained).await;
    }

    async fn chunk(&mut self, field: &mut Field<'static>) -> Result<Option<Bytes>, Refusal> {
        let until = self.pace.until(Instant::now());
        let chunk = timeout_at(until, field.chunk()).await.map_err(|_| too_slow())?;
        let chunk = chunk.map_err(|error| broken(&error))?;
        let came = chunk.as_ref().map_or(0, Bytes::len);
        if !self.pace.came(came, Instant::now()) {
            return Err(too_slow());
        }
        Ok(chunk)
    }
}

fn within(size: u64, what: &str, most: u64) -> Result<(), Refusal> {
    if size > most { Err(Refusal::too_large(what, most)) } else { Ok(()) }
}

fn too_slow() -> Refusal {
    Refusal::busy(
        StatusCode::REQUEST_TIMEOUT,
        "UploadTimeout",
        "the upload comes too slowly, or not at all any more",
    )
}

/// Whoever sent it learns what is wrong with it, but nothing of what it was.
fn broken(error: &multer::Error) -> Refusal {
    tracing::debug!(%error, "an upload is broken");
    Refusal::malformed("the body is no whole multipart/form-data")
}

pub(crate) fn disk(error: &io::Error) -> Refusal {
    if is_full(error) {
        tracing::warn!("there is no room for an upload; see --upload-folder");
        return disk_full();
    }
    tracing::error!(%error, "an upload cannot be kept; see --upload-folder");
    Refusal::internal()
}

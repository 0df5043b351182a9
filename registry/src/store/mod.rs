//! Where bundles are kept.
//!
//! ```text
//! sha256/<64 hex digits of the content hash>/
//!     <upload>.tar.zst   the archive
//!     <upload>.sig       its signature file
//!     <upload>.receipt   the registry's receipt
//!     bundle.json        names the three
//! ```
//! A bundle exists if there is a `bundle.json`, and that is written last and at once. No name but that one is ever written twice: each
//! upload has names of its own. So whatever is older than the longest upload and in no `bundle.json` is garbage, whoever is at work.

mod collect;
mod marker;
mod open;

use std::{error::Error as _, io, path::PathBuf, sync::Arc};

use annex_bundle::{ArchiveDigest, SignatureDigest};
use annex_core::ContentHash;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::{
    GetOptions, MultipartUpload, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload,
    path::Path,
};
use tokio::{fs::File, io::AsyncReadExt};
use uuid::Uuid;

pub use collect::Collected;
pub use marker::Marker;
pub use open::{S3Args, StoreArgs};

/// How much of an archive is written at a time: S3 takes no less than 5 MiB.
const PART: usize = 8 << 20;
/// The largest file that is read whole: a signature has 64 KiB at the most.
const SMALL: u64 = 128 << 10;

/// The content store.
#[derive(Clone, Debug)]
pub struct BundleStore {
    objects: Arc<dyn ObjectStore>,
    /// Where a folder is the store: what an interrupted write leaves there no list shows.
    folder: Option<PathBuf>,
}

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no room.
    #[error("the content store is full")]
    Full,
    /// A bundle whose files are missing or are not what its marker says.
    #[error("the bundle {0} is damaged: {1}")]
    Damaged(ContentHash, &'static str),
    /// The archive that is to be stored cannot be read.
    #[error("the archive cannot be read")]
    Source(#[source] io::Error),
    /// Anything else.
    #[error("the content store fails")]
    Failed(#[source] object_store::Error),
}

/// A bundle that is there, without its archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// What it consists of.
    pub marker: Marker,
    /// The signature file.
    pub signature: Bytes,
    /// The registry's receipt.
    pub receipt: Bytes,
}

/// A bundle that is to be there.
#[derive(Debug)]
pub struct NewBundle<'a> {
    /// Its content hash.
    pub content: ContentHash,
    /// Its archive's digest.
    pub archive: ArchiveDigest,
    /// Its archive's size in bytes.
    pub size: u64,
    /// The signature file.
    pub signature: &'a [u8],
    /// The receipt.
    pub receipt: &'a [u8],
}

/// A part of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundleFile {
    /// The archive.
    Archive,
    /// Its signature file.
    Signature,
    /// The registry's receipt.
    Receipt,
}

impl BundleStore {
    /// Keeps bundles in any object store.
    pub fn over(objects: Arc<dyn ObjectStore>) -> Self {
        Self { objects, folder: None }
    }

    /// What a content hash leads to. None: there is no such bundle.
    ///
    /// # Errors
    /// The store does not answer, or `bundle.json` is none.
    pub async fn marker(&self, content: &ContentHash) -> Result<Option<Marker>, StoreError> {
        let Some(bytes) = self.small(&marker_path(content)).await? else { return Ok(None) };
        let marker = Marker::from_json(&bytes);
        marker.map(Some).ok_or(StoreError::Damaged(*content, "bundle.json is malformed"))
    }

    /// A bundle's marker, signature and receipt.
    ///
    /// # Errors
    /// The store does not answer, or the bundle is not whole.
    pub async fn get(&self, content: &ContentHash) -> Result<Option<Stored>, StoreError> {
        let Some(marker) = self.marker(content).await? else { return Ok(None) };
        let read = async |file| {
            let found = self.small(&path(content, &marker.upload, file)).await?;
            found.ok_or(StoreError::Damaged(*content, "a file that bundle.json names is missing"))
        };
        let (signature, receipt) = (read(BundleFile::Signature).await?, read(BundleFile::Receipt).await?);
        if SignatureDigest::of(&signature) != marker.signature {
            return Err(StoreError::Damaged(*content, "the signature is not the one that bundle.json names"));
        }
        Ok(Some(Stored { marker, signature, receipt }))
    }

    /// The same, and its archive has the size that it should have.
    ///
    /// # Errors
    /// See [`BundleStore::get`].
    pub async fn get_whole(&self, content: &ContentHash) -> Result<Option<Stored>, StoreError> {
        let Some(stored) = self.get(content).await? else { return Ok(None) };
        let at = path(content, &stored.marker.upload, BundleFile::Archive);
        match self.objects.head(&at).await {
            Ok(archive) if archive.size == stored.marker.size => Ok(Some(stored)),
            Ok(_) => Err(StoreError::Damaged(*content, "the archive has another size than bundle.json says")),
            Err(object_store::Error::NotFound { .. }) => {
                Err(StoreError::Damaged(*content, "a file that bundle.json names is missing"))
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Stores a bundle, unless there is one of this content already. True: it is the one that is there now. `replace`: also where there is one.
    ///
    /// The archive is read from `source`. Whenever this ends before its end, there is no bundle, or the former one.
    ///
    /// # Errors
    /// The store does not answer or is full, or `source` cannot be read.
    pub async fn put(
        &self,
        bundle: &NewBundle<'_>,
        source: &mut File,
        replace: bool,
    ) -> Result<bool, StoreError> {
        let marker = Marker {
            upload: Uuid::new_v4(),
            archive: bundle.archive,
            size: bundle.size,
            signature: SignatureDigest::of(bundle.signature),
        };
        let written = self.write(bundle, &marker, source, replace).await;
        // Where it is not known whether the marker came to be there, what it names must stay; the collector knows better later.
        if matches!(written, Ok(false)) {
            self.forget(&bundle.content, &marker.upload).await;
        }
        written
    }

    async fn write(
        &self,
        bundle: &NewBundle<'_>,
        marker: &Marker,
        source: &mut File,
        replace: bool,
    ) -> Result<bool, StoreError> {
        let at = |file| path(&bundle.content, &marker.upload, file);
        self.write_archive(&at(BundleFile::Archive), source).await?;
        for (file, content) in
            [(BundleFile::Signature, bundle.signature), (BundleFile::Receipt, bundle.receipt)]
        {
            self.objects.put(&at(file), PutPayload::from(content.to_vec())).await.map_err(failed)?;
        }
        let mode = if replace { PutMode::Overwrite } else { PutMode::Create };
        let json = PutPayload::from(marker.to_json());
        match self.objects.put_opts(&marker_path(&bundle.content), json, PutOptions::from(mode)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                Ok(false)
            }
            Err(error) => Err(failed(error)),
        }
    }

    async fn write_archive(&self, at: &Path, source: &mut File) -> Result<(), StoreError> {
        let mut upload = self.objects.put_multipart(at).await.map_err(failed)?;
        let written = write_parts(&mut *upload, source).await;
        if written.is_err()
            && let Err(error) = upload.abort().await
        {
            tracing::debug!(%error, "an upload to the content store cannot be aborted; its garbage is collected later");
        }
        written
    }

    async fn forget(&self, content: &ContentHash, upload: &Uuid) {
        for file in [BundleFile::Archive, BundleFile::Signature, BundleFile::Receipt] {
            if let Err(error) = self.objects.delete(&path(content, upload, file)).await {
                tracing::debug!(%error, "garbage in the content store is left for later");
            }
        }
    }

    /// The bytes of a bundle's file, all of them or `range`.
    ///
    /// # Errors
    /// The store does not answer, or the file is not there.
    pub async fn read(
        &self,
        content: &ContentHash,
        marker: &Marker,
        file: BundleFile,
        range: Option<std::ops::Range<u64>>,
    ) -> Result<BoxStream<'static, object_store::Result<Bytes>>, StoreError> {
        let options = GetOptions::new().with_range(range);
        match self.objects.get_opts(&path(content, &marker.upload, file), options).await {
            Ok(found) => Ok(found.into_stream()),
            Err(object_store::Error::NotFound { .. }) => {
                Err(StoreError::Damaged(*content, "a file that bundle.json names is missing"))
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Whether the store answers: it is asked for something that is not there.
    ///
    /// # Errors
    /// It does not.
    pub async fn probe(&self) -> Result<(), StoreError> {
        match self.objects.head(&Path::from("readiness")).await {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    async fn small(&self, at: &Path) -> Result<Option<Bytes>, StoreError> {
        match self.objects.get_opts(at, GetOptions::new()).await {
            Ok(found) if found.meta.size > SMALL => Ok(Some(Bytes::new())),
            Ok(found) => found.bytes().await.map(Some).map_err(failed),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }
}

async fn write_parts(upload: &mut dyn MultipartUpload, source: &mut File) -> Result<(), StoreError> {
    let most = u64::try_from(PART).unwrap_or(u64::MAX);
    loop {
        let mut part = Vec::with_capacity(PART);
        AsyncReadExt::take(&mut *source, most).read_to_end(&mut part).await.map_err(StoreError::Source)?;
        if part.is_empty() {
            return upload.complete().await.map(drop).map_err(failed);
        }
        upload.put_part(PutPayload::from(part)).await.map_err(failed)?;
    }
}

fn folder(content: &ContentHash) -> Path {
    Path::from_iter(["sha256", &content.hex()])
}

fn marker_path(content: &ContentHash) -> Path {
    folder(content).join(MARKER)
}

const MARKER: &str = "bundle.json";

fn path(content: &ContentHash, upload: &Uuid, file: BundleFile) -> Path {
    let extension = match file {
        BundleFile::Archive => "tar.zst",
        BundleFile::Signature => "sig",
        BundleFile::Receipt => "receipt",
    };
    folder(content).join(format!("{upload}.{extension}"))
}

/// A full disk is told from other failures: its operator has to know, and whoever publishes has not to try again.
fn failed(error: object_store::Error) -> StoreError {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if inner.downcast_ref::<io::Error>().is_some_and(is_full) {
            return StoreError::Full;
        }
        cause = inner.source();
    }
    StoreError::Failed(error)
}

/// Whether there is no room any more, or none for us.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

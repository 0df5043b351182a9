//! Verified bundles on the disk of this runner.
//!
//! A bundle is fetched once, verified while it is unpacked ([`annex_bundle_client`]), and kept until others need its place. What is kept
//! survives a restart, and is believed then only as far as its content hash goes (`bundle.rs`). Whether somebody who signed is still
//! trusted is asked again each time after the operator's files changed.

mod bundle;
mod folder;
mod kept;
mod unpack;

use std::cmp::Reverse;
use std::io::Read as _;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use annex_bundle::{BundlePath, FileEntry, Limits};
use annex_bundle_client::{LoadError, Policy, PolicyArgs, Source};
use annex_core::{ContentHash, InstallIdentity};
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

pub(crate) use bundle::{Bundle, Content};
use folder::Folder;
use kept::Kept;
use unpack::Unpack;

use crate::metrics::Metrics;

/// Bundles that are fetched at a time: each keeps a processor busy while it is read, and holds a place on the disk.
const AT_A_TIME: usize = 2;
/// The bytes of files that stay in memory, so that a page that many look at does not come from the disk for each of them.
const IN_MEMORY: u64 = 64 << 20;
/// What a file takes besides its bytes.
const PER_FILE: u32 = 256;
/// How long one may take.
const WITHIN: Duration = Duration::from_secs(90);
/// What was refused is not fetched again for so long, however many ask, unless the policy changes.
const REFUSED_FOR: Duration = Duration::from_secs(60);

/// Bundles that may be served, by their content.
pub(crate) struct Cache {
    folder: Folder,
    source: Source,
    policy: Policy,
    metrics: Arc<Metrics>,
    /// Never held while a disk or a network is waited for.
    kept: Mutex<Kept>,
    /// What was read of the disk lately, by its digest. Whether it may be served is asked of its bundle all the same.
    memory: moka::future::Cache<[u8; 32], Bytes>,
    places: Semaphore,
    judging: Mutex<()>,
}

type Loading = Shared<BoxFuture<'static, Result<Arc<Bundle>, LoadError>>>;

impl std::fmt::Debug for Cache {
    // Not what is in it.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Cache").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Cache {
    /// Opens the folder, and takes over what an earlier process left there. What is kept takes at most `max_bytes`
    /// bytes of the disk; what is being unpacked comes on top. A bundle that takes more is refused.
    ///
    /// # Errors
    /// The folder cannot be used, or a file of the policy.
    pub(crate) fn open(
        folder: &Path,
        max_bytes: u64,
        policy: &PolicyArgs,
        source: Source,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let usual = Limits::default();
        let policy = policy.load(Limits { unpacked: usual.unpacked.min(max_bytes), ..usual })?;
        let folder = Folder::open(folder)?;
        let mut kept = Kept::new(max_bytes);
        let mut too_much = Vec::new();
        for (content, at) in folder.contents()? {
            match Bundle::read(&at, &content) {
                Some(bundle) => too_much.extend(kept.insert(Arc::new(bundle))),
                None => too_much.push(content),
            }
        }
        for content in too_much {
            folder.remove(&content);
        }
        let cache = Self {
            folder,
            source,
            policy,
            metrics,
            kept: Mutex::new(kept),
            memory: moka::future::Cache::builder()
                .max_capacity(IN_MEMORY)
                .weigher(|_, file: &Bytes| {
                    u32::try_from(file.len()).unwrap_or(u32::MAX).saturating_add(PER_FILE)
                })
                .build(),
            places: Semaphore::new(AT_A_TIME),
            judging: Mutex::default(),
        };
        cache.measure();
        Ok(cache)
    }

    /// The bundle that is installed there, from the cache or else from the registry.
    ///
    /// # Errors
    /// [`LoadError`]: it may not be served, or cannot be had.
    pub(crate) async fn get(self: &Arc<Self>, identity: &InstallIdentity) -> Result<Arc<Bundle>, LoadError> {
        let bundle = self.load(&identity.content_hash).await?;
        // The content is that of the lookup. The name binds it to the path under which it is served.
        if bundle.manifest().name.as_str() == identity.extension_id.as_str() {
            Ok(bundle)
        } else {
            Err(LoadError::Refused {
                code: "CatalogMismatch",
                message: "the bundle is another extension's".to_owned(),
            })
        }
    }

    /// Some bytes of a file that the bundle has, by its listing.
    ///
    /// # Errors
    /// [`LoadError`]: the disk does not have what was verified, nor has the registry.
    pub(crate) async fn read(
        self: &Arc<Self>,
        identity: &InstallIdentity,
        bundle: Arc<Bundle>,
        (path, entry): (&BundlePath, FileEntry),
        range: Range<u64>,
    ) -> Result<Content, LoadError> {
        if entry.size > bundle::AT_ONCE {
            return self.read_from_disk(identity, bundle, (path, entry), range).await;
        }
        let digest = *entry.digest.as_bytes();
        let whole = match self.memory.get(&digest).await {
            Some(whole) => {
                bundle.note_use();
                whole
            }
            None => {
                // One reads for all who want it now.
                let reading = self.read_whole(identity, Arc::clone(&bundle), (path, entry));
                let whole = match self.memory.try_get_with(digest, reading).await {
                    Ok(whole) => whole,
                    // The other may have read it of another bundle, whose failure is not this one's.
                    Err(_) => self.read_whole(identity, bundle, (path, entry)).await?,
                };
                // Else it holds as much again as it may before it throws anything away.
                self.memory.run_pending_tasks().await;
                whole
            }
        };
        let bounds = || Some(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?);
        let part = bounds().filter(|part| part.start <= part.end && part.end <= whole.len());
        let part = part.ok_or_else(|| LoadError::Unavailable("no part of the file".to_owned()))?;
        Ok(Content::Small(whole.slice(part)))
    }

    /// Whether the bundle is kept, and may be served. It counts as used.
    pub(crate) fn still_has(self: &Arc<Self>, content: &ContentHash) -> bool {
        let bundle = self.loadable(content);
        bundle.inspect(Bundle::note_use).is_some()
    }

    /// A file of such a bundle, if it is in memory.
    pub(crate) async fn in_memory(
        self: &Arc<Self>,
        content: &ContentHash,
        digest: &[u8; 32],
    ) -> Option<Bytes> {
        if self.still_has(content) { self.memory.get(digest).await } else { None }
    }

    async fn read_from_disk(
        self: &Arc<Self>,
        identity: &InstallIdentity,
        bundle: Arc<Bundle>,
        (path, entry): (&BundlePath, FileEntry),
        range: Range<u64>,
    ) -> Result<Content, LoadError> {
        if let Some(content) = bundle.read_file(path, entry, range.clone()).await {
            return Ok(content);
        }
        // It made room for others a moment ago, or something was done to the disk: once more from the start.
        tracing::warn!(content = %identity.content_hash, %path, "the cache does not have what was verified; it is fetched again");
        self.forget(&bundle);
        let bundle = self.get(identity).await?;
        let content = bundle.read_file(path, entry, range).await;
        content.ok_or_else(|| LoadError::Unavailable("the cache does not keep what is put there".to_owned()))
    }

    /// All bytes of a file that the bundle has, by its listing. Whoever asks bounds how large that may be.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) async fn read_whole(
        self: &Arc<Self>,
        identity: &InstallIdentity,
        bundle: Arc<Bundle>,
        (path, entry): (&BundlePath, FileEntry),
    ) -> Result<Bytes, LoadError> {
        match self.read_from_disk(identity, bundle, (path, entry), 0..entry.size).await? {
            Content::Small(bytes) => Ok(bytes),
            Content::Large(file, length) => {
                let reading = spawn_blocking(move || {
                    let mut bytes = Vec::new();
                    file.take(length)
                        .read_to_end(&mut bytes)
                        .map(|read| (read as u64 == length).then_some(bytes))
                });
                let read = reading.await.ok().and_then(Result::ok).flatten();
                read.map(Into::into)
                    .ok_or_else(|| LoadError::Unavailable("a file of the cache cannot be read".to_owned()))
            }
        }
    }

    /// Keeps the policy equal to its files, for ever. What is kept is judged by it before anybody asks: who is first after a start or a
    /// change does not wait for signatures to be verified.
    pub(crate) async fn follow(self: &Arc<Self>) {
        self.judge();
        self.policy.follow(|| self.judge()).await;
    }

    fn judge(self: &Arc<Self>) {
        let cache = Arc::clone(self);
        spawn_blocking(move || {
            // One after the other: of several changes at a time the last pass finds little to do.
            let _pass = cache.judging.lock();
            let mut kept = cache.kept.lock().all();
            kept.sort_by_key(|(_, used)| Reverse(*used));
            for (bundle, _) in kept {
                // Each time what is held now, which may be newer than what this began with. That a bundle is refused is noticed, and
                // acted upon, when it is asked for.
                bundle.is_loadable(&cache.policy.now());
            }
        });
    }

    /// What an operator has to know.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.policy.notes()
    }

    async fn load(self: &Arc<Self>, content: &ContentHash) -> Result<Arc<Bundle>, LoadError> {
        if let Some(bundle) = self.loadable(content) {
            return Ok(bundle);
        }
        let loading = {
            let held = self.policy.now();
            let mut kept = self.kept.lock();
            if let Some(refusal) = kept.refusal(content, &held) {
                return Err(refusal);
            }
            kept.loading.entry(*content).or_insert_with(|| self.start(*content)).clone()
        };
        loading.await
    }

    /// What is kept and may be served.
    fn loadable(&self, content: &ContentHash) -> Option<Arc<Bundle>> {
        let bundle = self.kept.lock().get(content)?;
        if bundle.is_loadable(&self.policy.now()) {
            return Some(bundle);
        }
        // It goes, too, where only its receipt has grown old: the registry has a new one.
        self.forget(&bundle);
        None
    }

    /// Fetches in a task of its own: whoever asked first may go away, and others wait for the same.
    fn start(self: &Arc<Self>, content: ContentHash) -> Loading {
        let cache = Arc::clone(self);
        let task = tokio::spawn(async move {
            // One more, so that nobody waits for ever for what panicked.
            let fetching = tokio::spawn({
                let cache = Arc::clone(&cache);
                async move { cache.fetch(&content).await }
            });
            let result = fetching.await.unwrap_or_else(|_| Err(ended()));
            cache.settle(&content, &result);
            result
        });
        async move { task.await.unwrap_or_else(|_| Err(ended())) }.boxed().shared()
    }

    async fn fetch(self: &Arc<Self>, content: &ContentHash) -> Result<Arc<Bundle>, LoadError> {
        let _place = self.places.acquire().await.map_err(|_| ended())?;
        // Another load may have ended between the looks at what is kept and at what is under way.
        if let Some(bundle) = self.loadable(content) {
            return Ok(bundle);
        }
        let failed = |error: &std::io::Error| {
            tracing::warn!(%error, "the cache cannot be written");
            LoadError::Unavailable("the cache cannot be written".to_owned())
        };
        let staging = self.folder.stage().map_err(|error| failed(&error))?;
        let sink = Unpack::into(staging.path());
        let loaded = self.source.load(content, self.policy.now(), WITHIN, sink).await;
        let most = self.kept.lock().max_bytes();
        let cache = Arc::clone(self);
        let content = *content;
        // Ten thousand files may have to go again.
        let kept = spawn_blocking(move || {
            let (loaded, vouched) = loaded?;
            let space = bundle::space(&loaded.verified.unpacked.listing);
            if space > most {
                let message = format!("it takes {space} bytes of the disk, more than the cache has");
                return Err(LoadError::Refused { code: "TooLarge", message });
            }
            Bundle::write(staging.path(), &loaded.verified.unpacked.listing, &vouched)
                .and_then(|()| cache.folder.keep(staging, &content))
                .map(|at| Arc::new(Bundle::fresh(at, loaded, vouched)))
                .map_err(|error| failed(&error))
        });
        kept.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Takes in how a fetch ended.
    fn settle(&self, content: &ContentHash, result: &Result<Arc<Bundle>, LoadError>) {
        let mut kept = self.kept.lock();
        kept.loading.remove(content);
        let outcome = match result {
            Ok(bundle) => {
                let out = kept.insert(Arc::clone(bundle));
                self.metrics.evicted(out.len());
                // Renamed under the lock, so that nobody puts the same there before.
                let trash: Vec<_> = out.iter().map(|out| self.folder.remove(out)).collect();
                throw_away(trash);
                "loaded"
            }
            Err(LoadError::Unavailable(_)) => "unavailable",
            Err(error) => {
                kept.refuse(*content, error.clone(), self.policy.now(), Instant::now() + REFUSED_FOR);
                if *error == LoadError::Missing { "missing" } else { "refused" }
            }
        };
        drop(kept);
        self.metrics.loaded(outcome);
        self.measure();
    }

    /// From now on it is not kept. Whoever reads a file of it reads on.
    fn forget(&self, bundle: &Arc<Bundle>) {
        {
            let mut kept = self.kept.lock();
            if kept.remove(bundle) {
                throw_away(vec![self.folder.remove(bundle.content())]);
            }
        }
        self.measure();
    }

    fn measure(&self) {
        let kept = self.kept.lock();
        self.metrics.cached(kept.len(), kept.bytes());
    }
}

fn throw_away(trash: Vec<Option<tempfile::TempDir>>) {
    spawn_blocking(move || drop(trash));
}

fn ended() -> LoadError {
    LoadError::Unavailable("the runner ends".to_owned())
}

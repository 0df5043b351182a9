//! The registry ends at any point of a publication: either there is a bundle or there is none, and the next try ends well.

use std::{
    fmt,
    fs::{self, FileTimes},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use annex_bundle::{ArchiveDigest, SignatureDigest};
use annex_registry::{BundleFile, BundleStore, NewBundle};
use futures::{StreamExt as _, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, memory::InMemory, path::Path,
};

use crate::support::{World, hello};

/// A store that fails, and does nothing any more, after so many writes: what a crash of the registry leaves.
#[derive(Debug)]
struct Crashing {
    inner: Arc<InMemory>,
    left: AtomicUsize,
}

impl fmt::Display for Crashing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("crashing")
    }
}

impl Crashing {
    fn step(&self) -> object_store::Result<()> {
        let step = self.left.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        step.map(drop)
            .map_err(|_| object_store::Error::Generic { store: "crashing", source: "crashed".into() })
    }
}

#[async_trait::async_trait]
impl ObjectStore for Crashing {
    async fn put_opts(
        &self,
        at: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.step()?;
        self.inner.put_opts(at, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.step()?;
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.inner.get_opts(at, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        if self.step().is_err() {
            return futures::stream::empty().boxed();
        }
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn archive_file(bytes: &[u8]) -> tokio::fs::File {
    use std::io::{Seek as _, Write as _};
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    tokio::fs::File::from_std(file)
}

#[tokio::test]
async fn at_every_point_there_is_a_whole_bundle_or_none() {
    let bytes = vec![7; 20 << 20];
    let content = annex_core::ContentHash::from_sha256([1; 32]);
    let bundle = NewBundle {
        content,
        archive: ArchiveDigest::of(&bytes),
        size: bytes.len() as u64,
        signature: b"signature",
        receipt: b"receipt",
    };
    let mut ended = false;
    for steps in 0..10_usize {
        let inner = Arc::new(InMemory::new());
        let crashing =
            BundleStore::over(Arc::new(Crashing { inner: inner.clone(), left: AtomicUsize::new(steps) }));
        let put = crashing.put(&bundle, &mut archive_file(&bytes), false).await;
        // Another process looks at what is left.
        let store = BundleStore::over(inner.clone());
        match store.get_whole(&content).await.unwrap() {
            None => assert!(put.is_err(), "{steps}"),
            Some(stored) => {
                assert!(put.unwrap());
                ended = true;
                assert_eq!(
                    (&stored.signature[..], &stored.receipt[..]),
                    (&b"signature"[..], &b"receipt"[..])
                );
                let read = store.read(&content, &stored.marker, BundleFile::Archive, None).await.unwrap();
                let read: Vec<u8> = read.map(|chunk| chunk.unwrap().to_vec()).concat().await;
                assert!(read == bytes);
                assert_eq!(stored.marker.signature, SignatureDigest::of(b"signature"));
            }
        }
        // And goes on where it ended.
        assert_eq!(store.put(&bundle, &mut archive_file(&bytes), false).await.unwrap(), !ended);
        assert!(store.get_whole(&content).await.unwrap().is_some());
        if ended {
            return;
        }
    }
    panic!("it never ends");
}

#[tokio::test]
async fn of_two_that_put_one_content_the_first_stays_and_the_other_leaves_nothing() {
    let store = BundleStore::over(Arc::new(InMemory::new()));
    let content = annex_core::ContentHash::from_sha256([1; 32]);
    let bundle = |signature| NewBundle {
        content,
        archive: ArchiveDigest::of(b"archive"),
        size: 7,
        signature,
        receipt: b"receipt",
    };
    assert!(store.put(&bundle(b"first"), &mut archive_file(b"archive"), false).await.unwrap());
    assert!(!store.put(&bundle(b"second"), &mut archive_file(b"archive"), false).await.unwrap());
    assert_eq!(&store.get(&content).await.unwrap().unwrap().signature[..], b"first");
    assert!(store.put(&bundle(b"third"), &mut archive_file(b"archive"), true).await.unwrap());
    assert_eq!(&store.get(&content).await.unwrap().unwrap().signature[..], b"third");
    // The first is garbage now, and nothing else is.
    let collected = store.collect(Duration::ZERO).await.unwrap();
    assert_eq!(collected.files, 3);
    assert!(store.get_whole(&content).await.unwrap().is_some());
    assert_eq!(store.collect(Duration::ZERO).await.unwrap().files, 0);
}

#[tokio::test]
async fn garbage_goes_when_it_is_old_and_bundles_stay() {
    let world = World::new().await;
    let _judging = world.judging();
    let bundle = hello("one");
    world.published(&bundle).await;
    let before = world.stored();
    let folder = world.file("bundles/sha256").join(bundle.hash().strip_prefix("sha256:").unwrap());
    let another = world.file("bundles/sha256").join("0b".repeat(32));
    fs::create_dir(&another).unwrap();
    let upload = "6f1c2a1e-6a53-4a8e-9b7e-0d8a4f4d3c11";
    let garbage = [
        folder.join(format!("{upload}.tar.zst")),
        folder.join(format!("{upload}.receipt#3")),
        another.join(format!("{upload}.sig")),
    ];
    let foreign = another.join("notes.txt");
    for file in garbage.iter().chain([&foreign]) {
        fs::write(file, "x").unwrap();
    }
    let day = Duration::from_secs(24 * 3600);
    assert_eq!(world.app.store.collect(day).await.unwrap().files, 0, "an upload may be at it");
    let old = FileTimes::new().set_modified(SystemTime::now() - day * 2);
    let every = [&folder, &another].into_iter().flat_map(|folder| fs::read_dir(folder).unwrap().flatten());
    for file in every {
        fs::File::options().write(true).open(file.path()).unwrap().set_times(old).unwrap();
    }
    let collected = world.app.store.collect(day).await.unwrap();
    assert_eq!((collected.files, collected.bytes), (3, 3));
    assert!(garbage.iter().all(|file| !file.exists()) && foreign.exists());
    fs::remove_file(foreign).unwrap();
    assert_eq!(world.stored(), before);
    assert_eq!(world.published(&bundle).await.status, 200);
}

#[tokio::test]
async fn a_publication_that_was_broken_off_between_store_and_catalog_is_ended_by_the_next() {
    let world = World::new().await;
    let bundle = hello("one");
    // The catalog is not written: kcp says no at this moment.
    world.kcp.race("extensionversions", serde_json::json!({
        "apiVersion": "annex.sh/v1alpha1", "kind": "ExtensionVersion", "metadata": { "name": "com.example.hello-1.2.3" },
        "spec": { "extension": "com.example.hello", "version": "1.2.3", "publisher": "example.com",
            "contentHash": format!("sha256:{}", "0a".repeat(32)) },
    }));
    assert_eq!(world.published(&bundle).await.status, 409);
    let kept = world.stored();
    assert_eq!(kept.len(), 4, "what nobody refers to stays, and does no harm");
    world.kcp.forget("extensionversions", "com.example.hello-1.2.3");
    let _judging = world.judging();
    assert_eq!(world.published(&bundle).await.status, 201);
    assert_eq!(world.stored(), kept);
}

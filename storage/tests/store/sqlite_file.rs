//! What only a file has.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use annex_engine::{Kv, KvError};
use annex_storage::{Store, StoreOptions};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use crate::call;
use crate::place::{Place, patient};
use crate::until;

#[tokio::test(flavor = "multi_thread")]
async fn another_process_s_lock_is_waited_for_in_vain_and_then_gone() {
    let timeout = Duration::from_secs(1);
    let place = Place::sqlite();
    let store = place.store(StoreOptions { timeout, ..StoreOptions::default() });
    let us = call("us", "e");
    until("the store works", async || store.set(&us, "k", b"v".to_vec()).await.is_ok()).await;

    let mut holder = place.url.parse::<SqliteConnectOptions>().unwrap().connect().await.unwrap();
    let held = holder.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let started = Instant::now();
    assert_eq!(store.set(&us, "k", b"w".to_vec()).await, Err(KvError::Unavailable));
    assert_eq!(store.delete(&us, "k").await, Err(KvError::Unavailable));
    assert!(started.elapsed() < 3 * timeout, "{:?}", started.elapsed());
    // Who reads does not need it.
    until("it is read", async || store.get(&us, "k").await == Ok(Some(b"v".to_vec()))).await;
    held.rollback().await.unwrap();
    until("the store works again", async || store.set(&us, "k", b"w".to_vec()).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_may_read_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("kv.db").display());
    let store = Store::open(&url, patient()).unwrap();
    store.set(&call("us", "e"), "k", b"v".to_vec()).await.unwrap();
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().flatten().collect();
    // The database, its log and the log's index.
    assert_eq!(files.len(), 3);
    for file in files {
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", file.file_name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_may_come_later_than_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("volume");
    let store = Store::open(&format!("sqlite://{}/kv.db", inner.display()), patient()).unwrap();
    let us = call("us", "e");
    assert_eq!(store.set(&us, "k", b"v".to_vec()).await, Err(KvError::Unavailable));
    let error = store.check().await.unwrap_err().to_string();
    assert!(error.contains("volume/kv.db cannot be opened: No such file or directory"), "{error}");
    fs::create_dir(&inner).unwrap();
    store.set(&us, "k", b"v".to_vec()).await.unwrap();
}

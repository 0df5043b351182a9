//! A server that hangs, dies, is not there yet, or does not let the store in. Each has a server of its own.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use annex_engine::{Kv, KvError};
use annex_storage::{Store, StoreOptions};
use futures::future::join_all;

use crate::call;
use crate::logs;
use crate::place::patient;
use crate::until;
use annex_postgres_server::{PASSWORD, Server};

/// Short, because these tests wait for it. Each operation that is expected to be done is repeated until it is.
const TIMEOUT: Duration = Duration::from_secs(2);

fn options() -> StoreOptions {
    StoreOptions { timeout: TIMEOUT, connections: 3, tenant_operations: 2, ..StoreOptions::default() }
}

/// For what has to be done at the first attempt, however busy the machine is.
fn long() -> StoreOptions {
    StoreOptions { timeout: patient().timeout, ..options() }
}

async fn works(store: &Store) {
    let us = call("us", "e");
    until("the store works", async || store.set(&us, "works", vec![1]).await.is_ok()).await;
}

/// All operations at once end in time, and say that the store cannot be reached.
async fn is_unavailable(store: &Store) {
    let (us, them) = (call("us", "e"), call("them", "e"));
    let started = Instant::now();
    let reads = join_all((0..4).map(async |_| store.get(&us, "k").await.err()));
    let writes = join_all((0..4).map(async |_| store.set(&them, "k", vec![0]).await.err()));
    let swaps = join_all((0..2).map(async |_| store.compare_and_set(&them, "k", None, vec![0]).await.err()));
    let lists = join_all((0..2).map(async |_| store.list_keys(&us, "", None, 9).await.err()));
    let deletes = join_all((0..2).map(async |_| store.delete_all(&them.tenant, &them.extension).await.err()));
    let (reads, writes, swaps, lists, deletes) = tokio::join!(reads, writes, swaps, lists, deletes);
    let all = [reads, writes, swaps, lists, deletes].concat();
    assert!(all.iter().all(|error| *error == Some(KvError::Unavailable)), "{all:?}");
    // What a busy machine adds is allowed for.
    assert!(started.elapsed() < 2 * TIMEOUT, "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_unavailable_until_it_goes_on() {
    let mut server = Server::stopped();
    server.start().await;
    let store = Store::open(&server.database().await, options()).unwrap();
    let us = call("us", "e");
    works(&store).await;
    store.set(&us, "k", b"before".to_vec()).await.unwrap();
    server.freeze();
    is_unavailable(&store).await;
    // Whoever waits for it takes no place that others need: it is the same again.
    is_unavailable(&store).await;
    server.thaw();
    works(&store).await;
    assert_eq!(store.get(&us, "k").await, Ok(Some(b"before".to_vec())));
}

/// The address leads to another server, as after a failover, and of the former one nothing is heard ever again: not even that
/// its connections are closed.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_answers_again_is_not_waited_for() {
    let (mut former, mut next) = (Server::stopped(), Server::stopped());
    former.start().await;
    next.start().await;
    let folder = tempfile::tempdir().unwrap();
    let address = folder.path().join("address");
    symlink(former.socket_folder(), &address).unwrap();
    let url = former
        .url("postgres", PASSWORD)
        .replace(&former.socket_folder().display().to_string(), &address.display().to_string());
    // Only one connection: whoever kept it would be noticed.
    let store = Store::open(&url, StoreOptions { connections: 1, ..options() }).unwrap();
    works(&store).await;
    // What replicates brings the tables along.
    Store::open(&next.url("postgres", PASSWORD), long()).unwrap().check().await.unwrap();
    former.freeze();
    is_unavailable(&store).await;
    fs::remove_file(&address).unwrap();
    symlink(next.socket_folder(), &address).unwrap();
    works(&store).await;
    former.thaw();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_died_is_used_again() {
    let mut server = Server::stopped();
    server.start().await;
    let store = Store::open(&server.database().await, options()).unwrap();
    let us = call("us", "e");
    works(&store).await;
    store.set(&us, "k", b"before".to_vec()).await.unwrap();
    server.crash().await;
    is_unavailable(&store).await;
    server.start().await;
    works(&store).await;
    assert_eq!(store.get(&us, "k").await, Ok(Some(b"before".to_vec())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_between_two_operations_is_not_noticed() {
    let mut server = Server::stopped();
    server.start().await;
    let store = Store::open(&server.database().await, long()).unwrap();
    let us = call("us", "e");
    works(&store).await;
    store.set(&us, "k", b"before".to_vec()).await.unwrap();
    server.crash().await;
    server.start().await;
    // All connections that it has are dead.
    assert_eq!(store.get(&us, "k").await, Ok(Some(b"before".to_vec())));
    store.set(&us, "k", b"after".to_vec()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_come_later_than_the_store() {
    let mut server = Server::stopped();
    let store = Store::open(&server.url("postgres", PASSWORD), options()).unwrap();
    let error = store.check().await.unwrap_err().to_string();
    assert!(error.starts_with("the store cannot be used: "), "{error}");
    is_unavailable(&store).await;
    server.start().await;
    works(&store).await;
    store.check().await.unwrap();
}

// On one thread, so that the log of the test is all there is.
#[tokio::test]
async fn wrong_credentials_are_in_the_log_without_the_password() {
    logs::capture();
    let server = Server::shared().await;
    server.execute("postgres", "CREATE ROLE late LOGIN SUPERUSER PASSWORD 'another'".to_owned()).await;
    let url = server.database().await.replace("//annex:", "//late:");
    assert!(url.contains(PASSWORD));
    let store = Store::open(&url, long()).unwrap();
    let us = call("us", "e");
    assert_eq!(store.get(&us, "k").await, Err(KvError::Unavailable));
    let error = store.check().await.unwrap_err().to_string();
    assert!(error.contains("password authentication failed for user \"late\""), "{error}");
    let written = logs::text();
    assert!(written.contains("password authentication failed for user \\\"late\\\""), "{written}");
    // Somebody mends it. Nothing is restarted.
    server.execute("postgres", format!("ALTER ROLE late PASSWORD '{PASSWORD}'")).await;
    assert_eq!(store.get(&us, "k").await, Ok(None));
    let written = logs::text();
    assert!(written.contains("can be used again"), "{written}");
    for text in [written, error, format!("{store:?}")] {
        assert!(!text.contains(PASSWORD), "{text}");
    }
}

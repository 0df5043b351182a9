//! The gateway over connections of HTTP, as its callers and runners have them.

use std::{net::SocketAddr, time::Duration};

use annex_grant::{BodyDigest, ORDER_PATH};
use annex_storage::{Store, StoreOptions};
use serde_json::json;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use crate::{
    storage::signed_by,
    support::{EXTENSION, HASH, HOST, Options, UID, World},
};

/// A request of which nothing is added or made another. `body` may be less than `length`.
fn request(method: &str, target: &str, headers: &[(&str, &str)], length: usize, body: &str) -> Vec<u8> {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{method} {target} HTTP/1.1\r\n{headers}content-length: {length}\r\n\r\n{body}").into_bytes()
}

async fn sent(to: SocketAddr, request: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(request).await.unwrap();
    stream
}

/// Waits until it is so; a test that hangs is ended by its own patience.
async fn until(what: &str, is: impl Fn() -> bool) {
    let waiting = async {
        while !is() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(30), waiting).await.unwrap_or_else(|_| panic!("{what} does not come true"));
}

#[tokio::test]
async fn a_call_whose_caller_goes_away_is_counted() {
    let world = World::new().await;
    let gateway = world.listen().await;
    world.runner.does(|_| None);
    let headers = [("host", HOST), ("authorization", "Bearer alice")];
    let call = request("GET", &format!("/api/ext/{EXTENSION}/notes"), &headers, 0, "");
    let caller = sent(gateway.api, &call).await;
    until("the call reaches the runner", || world.runner.seen().len() == 1).await;
    assert_eq!(world.counted(r#"calls_total{code="Abandoned"}"#), 0, "it is under way");
    drop(caller);
    until("it is counted", || world.counted(r#"calls_total{code="Abandoned"}"#) == 1).await;
    assert_eq!(world.counted("call_duration_seconds_count"), 1, "once");
}

#[tokio::test]
async fn an_order_whose_runner_goes_away_is_counted() {
    // A database that takes connections and says nothing: what is removed is under way until the runner goes.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://annex:hunter2@{}/annex", silent.local_addr().unwrap());
    let options = StoreOptions { timeout: Duration::from_secs(60), ..StoreOptions::default() };
    let storage = Some(Store::open(&url, options).unwrap());
    let world = World::with(Options { storage, ..Options::default() }).await;
    let gateway = world.listen().await;
    let order = json!({ "purge": {
        "request_id": "r-1", "tenant_id": "acme", "extension_id": EXTENSION, "install_id": UID, "content_hash": HASH,
    } });
    let order = order.to_string();
    let token = signed_by(&world, |grant| grant.body = BodyDigest::of(order.as_bytes()));
    let headers = [("host", "gateway.test"), ("x-annex-grant", token.as_str())];
    let abandoned = |operation: &str| {
        world.counted(&format!(r#"storage_operations_total{{operation="{operation}",code="Abandoned"}}"#))
    };

    let runner = sent(gateway.broker, &request("POST", ORDER_PATH, &headers, order.len(), &order)).await;
    let asked = timeout(Duration::from_secs(30), silent.accept()).await.unwrap().unwrap();
    assert_eq!(abandoned("purge"), 0, "it is under way");
    drop(runner);
    until("the order is counted", || abandoned("purge") == 1).await;
    drop(asked);

    // One that breaks off before it is known what is ordered.
    let broken = &order[..order.len() - 1];
    let runner = sent(gateway.broker, &request("POST", ORDER_PATH, &headers, order.len(), broken)).await;
    sleep(Duration::from_millis(50)).await;
    drop(runner);
    until("it is counted, too", || world.counted("storage_duration_seconds_count") == 2).await;
}

//! The gateway over connections of HTTP, as its callers and runners have them.

use std::{net::SocketAddr, time::Duration};

use annex_grant::{BodyDigest, ORDER_PATH};
use annex_storage::{Store, StoreOptions};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use crate::{
    storage::signed_by,
    support::{EXTENSION, GATEWAY, HASH, HOST, Options, UID, World},
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

/// The status of the answer, and the code of a refusal.
async fn answer(to: SocketAddr, request: &[u8]) -> (u16, String) {
    let mut stream = sent(to, request).await;
    let mut text = Vec::new();
    timeout(Duration::from_secs(30), stream.read_to_end(&mut text)).await.unwrap().unwrap();
    let text = String::from_utf8(text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    (status, body["code"].as_str().unwrap_or_default().to_owned())
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
    let headers = [("host", GATEWAY), ("x-annex-grant", token.as_str())];
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

/// The request line is sent as it is here: no client has put it in order.
#[tokio::test]
async fn nobody_reaches_a_handler_of_an_extensions_life_however_it_is_spelled() {
    let world = World::new().await;
    world.publish(|version| {
        version["spec"]["endpoints"] = json!([
            { "method": "POST", "path": "/.annex/lifecycle/{handler}", "handler": "h" },
            { "method": "POST", "path": "/{*rest}", "handler": "h" },
            { "method": "GET", "path": "/{*rest}", "handler": "h" },
            { "method": "GET", "path": "/", "handler": "h" },
        ]);
        version["spec"]["lifecycle"] = json!({ "install": "setup" });
    });
    world.install("acme", |install| {
        install["spec"]["public"] =
            json!(["POST /.annex/lifecycle/{handler}", "POST /{*rest}", "GET /{*rest}"]);
    });
    let gateway = world.listen().await;
    // Each way to say which workspace is meant, by somebody who may call all of it and by nobody.
    let ways = [
        vec![("host", HOST), ("authorization", "Bearer alice")],
        vec![("host", HOST)],
        vec![("host", GATEWAY), ("x-annex-workspace", "acme"), ("authorization", "Bearer alice")],
        vec![("host", GATEWAY), ("authorization", "Bearer account-of-acme")],
    ];
    let ask = async |method: &str, target: &str, way: &[(&str, &str)]| {
        let headers = [way, &[("connection", "close")]].concat();
        answer(gateway.api, &request(method, target, &headers, 0, "")).await
    };
    let base = format!("/api/ext/{EXTENSION}");
    let absolute = format!("http://{HOST}{base}");
    for way in &ways {
        for path in [
            "/.annex",
            "/.annex?x=1",
            "/.annex/lifecycle/setup",
            "/.annex/anything/else",
            "/%2eannex/lifecycle/setup",
            "/%2Eannex/lifecycle/setup",
            "/.%61nnex/lifecycle/setup",
            "/.anne%78/lifecycle/setup",
            "/%2e%61%6e%6e%65%78/%6cifecycle/setup",
            "/.ANNEX/lifecycle/setup",
            "/.aNN%45x/lifecycle/setup",
            "/.annex/lifecycle/setup?/../notes",
        ] {
            for method in ["POST", "GET"] {
                let answer = ask(method, &format!("{base}{path}"), way).await;
                assert_eq!(answer, (404, "NoSuchEndpoint".into()), "{method} {path} of {way:?}");
            }
        }
        // What somebody on the way might make the same of is no path at all.
        for path in [
            "/.annex/",
            "//.annex/lifecycle/setup",
            "/./.annex/lifecycle/setup",
            "/x/../.annex/lifecycle/setup",
            "/x/%2e%2E/.annex/lifecycle/setup",
            "/%2f.annex/lifecycle/setup",
            "/.annex%2flifecycle%2fsetup",
            "/.annex%5clifecycle",
            "/.annex%00/lifecycle/setup",
            "/.annex//lifecycle/setup",
            "/.annex/../.annex/lifecycle/setup",
        ] {
            let answer = ask("POST", &format!("{base}{path}"), way).await;
            assert_eq!(answer, (400, "MalformedRequest".into()), "{path} of {way:?}");
        }
        let (status, _) = ask("POST", &format!("{base}/\\.annex/lifecycle/setup"), way).await;
        assert_eq!(status, 400, "a backslash is none of a path of HTTP");
    }
    let answer = ask("POST", &format!("{absolute}/.annex/lifecycle/setup"), &ways[0]).await;
    assert_eq!(answer, (404, "NoSuchEndpoint".into()), "with the host in the request line");
    for other in ["/api/../api/ext", "/api//ext", "/api/%65xt", "/.annex"] {
        let (status, _) = ask("POST", &format!("{other}/{EXTENSION}/.annex/lifecycle/setup"), &ways[0]).await;
        assert_eq!(status, 404, "{other}");
    }
    assert!(world.runner.seen().is_empty(), "none of it was executed");

    // What only looks so is the extension's.
    for (path, reached) in [
        ("/annex", "/annex"),
        ("/.annexes/x", "/.annexes/x"),
        ("/files/.annex/x", "/files/.annex/x"),
        ("/%252eannex/x", "/%252eannex/x"),
    ] {
        for way in &ways {
            assert_eq!(ask("POST", &format!("{base}{path}"), way).await.0, 200, "{path} of {way:?}");
            assert_eq!(world.runner.seen().pop().unwrap().request.http.path, reached);
        }
    }
}

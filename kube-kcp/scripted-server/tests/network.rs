//! What happens to all connections at once.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of it is test: a panic is how a test fails"
)]

mod support;

use std::{pin::pin, sync::Arc, time::Duration};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{ListParams, WatchEvent, WatchParams},
    runtime::{WatchStreamExt as _, watcher, watcher::watcher as watch},
};
use kube_kcp_scripted_server::{End, Fault, Match};
use rustls::{ClientConfig, RootCertStore};
use support::{both, config_map, http1, http2, next, soon, start, wildcard};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

fn address(url: &str) -> String {
    url.strip_prefix("https://").unwrap().to_owned()
}

#[tokio::test]
async fn an_unplugged_server_refuses_and_comes_back_on_its_port() {
    let (server, shard) = start().await;
    shard.put(config_map("a", "x", "")).unwrap();
    let url = server.url();
    for (protocol, client) in both(&server, &wildcard(&shard)) {
        let api = Api::<ConfigMap>::all(client);
        let events = api.watch(&WatchParams::default(), &shard.revision().to_string()).await.unwrap();
        server.unplug().await;
        assert_eq!((server.open_connections(), shard.open_watches()), (0, 0), "{protocol}");
        soon(events.collect::<Vec<_>>()).await;
        let refused = TcpStream::connect(address(&url)).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "{protocol}");
        assert!(api.list(&ListParams::default()).await.is_err(), "{protocol}");
        server.plug().await.unwrap();
        assert_eq!(server.url(), url);
        assert_eq!(api.list(&ListParams::default()).await.unwrap().items.len(), 1, "{protocol}");
    }
}

#[tokio::test]
async fn a_watcher_goes_on_after_a_restart() {
    let (server, shard) = start().await;
    let api = Api::<ConfigMap>::all(http2(&server, &wildcard(&shard)));
    let mut events = pin!(watch(api, watcher::Config::default()).default_backoff());
    assert_eq!(next(&mut events, 2).await, ["init", "listed"]);
    let follow = async {
        loop {
            if let Ok(watcher::Event::Apply(object)) = soon(events.next()).await.unwrap() {
                return object.metadata.name.unwrap();
            }
        }
    };
    let (name, ()) = tokio::join!(follow, async {
        soon(shard.watches(1)).await;
        server.restart().await.unwrap();
        soon(shard.watches(1)).await;
        shard.put(config_map("a", "x", "")).unwrap();
    });
    assert_eq!(name, "x");
    assert_eq!(server.requests().count(&Match::list("configmaps")), 1, "it did not have to list again");
}

#[tokio::test(start_paused = true)]
async fn a_frozen_server_leaves_connections_half_open() {
    let (server, shard) = start().await;
    for (protocol, client) in both(&server, &wildcard(&shard)) {
        let api = Api::<ConfigMap>::all(client);
        let params = WatchParams::default().timeout(10);
        let mut events = api.watch(&params, &shard.revision().to_string()).await.unwrap().boxed();
        server.freeze();
        shard.put(config_map("a", protocol, "")).unwrap();
        // Less than kube's client waits for a connection.
        let long = Duration::from_secs(20);
        assert!(tokio::time::timeout(long, events.next()).await.is_err(), "{protocol}: it is not closed");
        let requests = server.requests().total();
        let accepted = server.accepted_connections();
        let other = Api::<ConfigMap>::all(http1(&server, &wildcard(&shard)));
        let params = ListParams::default();
        let mut list = Box::pin(other.list(&params));
        assert!(tokio::time::timeout(long, &mut list).await.is_err(), "{protocol}");
        assert_eq!((server.requests().total(), server.accepted_connections()), (requests, accepted + 1));
        server.thaw();
        assert!(matches!(soon(events.next()).await, Some(Ok(WatchEvent::Added(_)))), "{protocol}");
        assert!(soon(list).await.is_ok(), "{protocol}");
        drop((events, api, other));
        soon(server.connections(0)).await;
    }
}

#[tokio::test]
async fn all_connections_are_reset_or_sent_away() {
    let (server, shard) = start().await;
    for (protocol, client) in both(&server, &wildcard(&shard)) {
        let api = Api::<ConfigMap>::all(client);
        let from = shard.revision().to_string();
        let mut events = api.watch(&WatchParams::default(), &from).await.unwrap().boxed();
        server.go_away();
        shard.put(config_map("a", protocol, "")).unwrap();
        assert!(
            matches!(soon(events.next()).await, Some(Ok(WatchEvent::Added(_)))),
            "{protocol}: it goes on"
        );
        server.reset_connections();
        let end = soon(events.collect::<Vec<_>>()).await;
        assert!(matches!(&end[..], [Err(kube::Error::ReadEvents(_))]), "{protocol}: {end:?}");
        soon(server.connections(0)).await;
        assert!(api.list(&ListParams::default()).await.is_ok(), "{protocol}");
        drop(api);
        soon(server.connections(0)).await;
    }
}

#[tokio::test]
async fn a_connection_that_ends_is_not_reset_by_what_was_not_read() {
    let (server, shard) = start().await;
    let mut roots = RootCertStore::empty();
    roots.add(server.ca_der().to_vec().into()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    for (end, expected) in [(End::Unnotified, Err(std::io::ErrorKind::UnexpectedEof)), (End::Closed, Ok(0))] {
        shard.next(1, Match::list("configmaps"), Fault::after_bytes(0, end));
        let tcp = TcpStream::connect(address(&server.url())).await.unwrap();
        let name = "localhost".try_into().unwrap();
        let tls = TlsConnector::from(Arc::new(config.clone())).connect(name, tcp).await.unwrap();
        let (mut read, mut write) = tokio::io::split(tls);
        let base = wildcard(&shard);
        let path = base.strip_prefix(&server.url()).unwrap();
        let head = format!("GET {path}/api/v1/configmaps HTTP/1.1\r\nhost: localhost\r\n\r\n");
        write.write_all(head.as_bytes()).await.unwrap();
        // More than the server reads ahead, and than the sockets hold: it is still being sent when the server ends.
        let sending = tokio::spawn(async move { write.write_all(&vec![b'x'; 16 << 20]).await });
        let mut answer = [0; 4096];
        let end = loop {
            match soon(read.read(&mut answer)).await {
                Ok(0) => break Ok(0),
                Ok(_) => {}
                Err(error) => break Err(error.kind()),
            }
        };
        assert_eq!(end, expected);
        soon(sending).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_server_that_is_dropped_is_gone() {
    let (server, shard) = start().await;
    let api = Api::<ConfigMap>::all(http1(&server, &wildcard(&shard)));
    let events = api.watch(&WatchParams::default(), "0").await.unwrap();
    let address = address(&server.url());
    drop(server);
    soon(events.collect::<Vec<_>>()).await;
    // `shard` still holds the port, so nobody else can be there.
    let refused = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    drop(shard);
}

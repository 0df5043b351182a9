//! Listeners under TLS, over real sockets and with certificates made here.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of it is test: a panic is how a test fails"
)]

mod support;

use std::{fs, os::unix::fs::symlink};

use annex_service::{Certificates, KeyPairError, Tls};
use support::{Authority, Connection, Listening, Pair, Service, eventually};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

#[tokio::test]
async fn answers_over_tls_alone() {
    let authority = Authority::new();
    let service = Service::start(&authority.pair(&["localhost"])).await;
    let mut connection = Connection::open(service.address, &authority).await.unwrap();
    assert_eq!(connection.get("/").await, "hello");
    assert_eq!(connection.alpn(), Some(&b"http/1.1"[..]));

    let stranger = Authority::new();
    let error = Connection::open(service.address, &stranger).await.err().expect("an unknown authority");
    assert!(error.to_string().contains("certificate"), "{error}");
    eventually("both are counted", async || {
        let metrics = service.operations("/metrics").await;
        metrics.contains(r#"annex_test_tls_handshakes_total{listener="test",result="ok"} 1"#)
            && metrics.contains(r#"annex_test_tls_handshakes_total{listener="test",result="failed"} 1"#)
    })
    .await;
}

#[tokio::test]
async fn old_versions_of_tls_are_refused_and_12_is_not() {
    let authority = Authority::new();
    let service = Service::start(&authority.pair(&["localhost"])).await;
    let mut connection =
        Connection::open_with(service.address, &authority, &[&rustls::version::TLS12]).await.unwrap();
    assert_eq!(connection.get("/").await, "hello");

    // A ClientHello that knows TLS 1.1 and nothing newer: 2 bytes of version, 32 of random, no session, one cipher suite, no
    // compression, one kind of signature.
    let mut hello = vec![22, 3, 1, 0, 55, 1, 0, 0, 51, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x2b, 1, 0, 0, 8, 0, 13, 0, 4, 0, 2, 4, 3]);
    let mut stream = TcpStream::connect(service.address).await.unwrap();
    stream.write_all(&hello).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    // An alert (21) that is fatal (2): protocol_version (70).
    assert_eq!((answer[0], &answer[5..]), (21, &[2, 70][..]));
}

#[tokio::test]
async fn a_new_certificate_reaches_new_connections_and_old_ones_live_on() {
    let (before, after) = (Authority::new(), Authority::new());
    let service = Service::start(&before.pair_until(2050)).await;
    let mut kept = Connection::open(service.address, &before).await.unwrap();
    assert_eq!(kept.get("/").await, "hello");
    let ends = service.not_after().await;

    service.files.replace(&after.pair_until(2055));
    // Nobody says that the files have changed: the listener looks by itself.
    eventually("the new certificate is served", async || {
        Connection::open(service.address, &after).await.is_ok()
    })
    .await;
    assert_eq!(kept.get("/").await, "hello", "the connection from before goes on");
    assert!(Connection::open(service.address, &before).await.is_err(), "the former is served no more");
    assert!(service.not_after().await > ends);
    assert!(
        service.operations("/metrics").await.contains(r#"annex_test_tls_reloads_total{listener="test"} 1"#)
    );
}

#[tokio::test]
async fn a_mounted_secret_changes_by_a_symbolic_link() {
    let (before, after) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let version = |name: &str, pair: &Pair| {
        let path = folder.path().join(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("tls.crt"), &pair.cert).unwrap();
        fs::write(path.join("tls.key"), &pair.key).unwrap();
    };
    version("..1", &before.pair(&["localhost"]));
    symlink("..1", folder.path().join("..data")).unwrap();
    for file in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{file}"), folder.path().join(file)).unwrap();
    }
    let listening = Listening::start(folder.path()).await;
    assert!(Connection::open(listening.address, &before).await.is_ok());

    // As kubelet does it: the new folder, then one rename over the link.
    version("..2", &after.pair(&["localhost"]));
    symlink("..2", folder.path().join("..data_tmp")).unwrap();
    fs::rename(folder.path().join("..data_tmp"), folder.path().join("..data")).unwrap();
    fs::remove_dir_all(folder.path().join("..1")).unwrap();
    // The listener's own look may be under way: one that has read the former files must not decide the test.
    eventually("the new certificate is served", async || {
        listening.tls.check().await;
        Connection::open(listening.address, &after).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_broken_pair_keeps_the_former_and_is_told() {
    let (authority, other) = (Authority::new(), Authority::new());
    let good = authority.pair(&["localhost"]);
    let service = Service::start(&good).await;
    let ready = service.operations("/readyz").await;
    assert_eq!(ready, "ok\n");
    let refused = r#"annex_test_tls_key_pair_refused{listener="test"} "#;
    assert!(service.operations("/metrics").await.contains(&format!("{refused}0")));

    let foreign = Pair { key: other.pair(&["localhost"]).key, ..good.clone() };
    let garbage = Pair { cert: "no certificate".into(), ..good.clone() };
    let torn = Pair { key: good.key[..good.key.len() / 2].to_owned(), ..good.clone() };
    for (pair, message) in [
        (foreign, "cannot be served together"),
        (garbage, "holds no PEM certificate"),
        (torn, "holds no PEM private key"),
    ] {
        service.files.replace(&pair);
        let ready = service.told(message).await;
        let mut connection = Connection::open(service.address, &authority).await.unwrap();
        assert_eq!(connection.get("/").await, "hello");
        assert!(ready.starts_with("ok\n"), "it serves: {ready}");
        assert!(ready.contains("the former certificate is kept"), "{ready}");
        assert!(!ready.contains("PRIVATE"), "{ready}");
        assert!(service.operations("/metrics").await.contains(&format!("{refused}1")));
    }
    fs::remove_file(service.files.key()).unwrap();
    service.told("cannot be read").await;
    assert!(Connection::open(service.address, &authority).await.is_ok());

    service.files.replace(&good);
    eventually("nothing is left to tell", async || {
        service.tls.check().await;
        service.operations("/readyz").await == "ok\n"
    })
    .await;
    assert!(service.operations("/metrics").await.contains(&format!("{refused}0")));
}

#[tokio::test]
async fn nothing_is_served_without_a_good_pair() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let files = support::Files::new(folder.path());
    let load = || Certificates::default().listener("test", Some(files.names()));
    assert!(matches!(load(), Err(KeyPairError::Read { .. })));
    let pair = authority.pair(&["localhost"]);
    files.replace(&Pair { cert: String::new(), ..pair.clone() });
    assert!(matches!(load(), Err(KeyPairError::NotPem { what: "certificate", .. })));
    files.replace(&Pair { key: pair.cert.clone(), ..pair.clone() });
    assert!(matches!(load(), Err(KeyPairError::NotPem { what: "private key", .. })));
    files.replace(&Pair { key: authority.pair(&["localhost"]).key, ..pair.clone() });
    assert!(matches!(load(), Err(KeyPairError::Unfit { .. })));
    files.replace(&pair);
    assert_eq!(load().unwrap().scheme(), "https");
}

#[tokio::test]
async fn an_expired_certificate_is_a_note() {
    let authority = Authority::new();
    let service = Service::start(&authority.pair_until(2001)).await;
    assert!(service.operations("/readyz").await.contains("the certificate has expired"));
    assert!(service.not_after().await < 1_100_000_000);
}

#[tokio::test]
async fn http_on_a_tls_port_is_told_so() {
    let authority = Authority::new();
    let service = Service::start(&authority.pair(&["localhost"])).await;
    let mut stream = TcpStream::connect(service.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(answer.ends_with("this port speaks https\n"), "{answer}");
}

#[tokio::test]
async fn who_does_not_shake_hands_blocks_nobody_and_not_the_end() {
    let authority = Authority::new();
    let service = Service::start(&authority.pair(&["localhost"])).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(service.address).await.unwrap());
    }
    let mut slow = TcpStream::connect(service.address).await.unwrap();
    slow.write_all(&[22, 3]).await.unwrap();
    let mut connection = Connection::open(service.address, &authority).await.unwrap();
    assert_eq!(connection.get("/").await, "hello");
    // It would wait for the whole test's time if it waited for those.
    service.stop().await;
    assert_eq!(slow.read(&mut [0; 16]).await.unwrap_or(0), 0);
}

/// With the clock stopped, time passes only while everything waits: what comes in the end is the handshake's own limit.
#[tokio::test(start_paused = true)]
async fn a_handshake_has_an_end() {
    let authority = Authority::new();
    let service = Service::start(&authority.pair(&["localhost"])).await;
    let mut slow = TcpStream::connect(service.address).await.unwrap();
    slow.write_all(&[22, 3, 1]).await.unwrap();
    assert_eq!(slow.read(&mut [0; 16]).await.unwrap_or(0), 0);
    let counted = service.operations("/metrics").await;
    assert!(
        counted.contains(r#"annex_test_tls_handshakes_total{listener="test",result="timeout"} 1"#),
        "{counted}"
    );
}

#[tokio::test]
async fn without_files_it_is_http() {
    let tls = Certificates::default().listener("test", None).unwrap();
    assert_eq!((tls.scheme(), Tls::default().scheme()), ("http", "http"));
    let listening = Listening::with(tls).await;
    let mut stream = TcpStream::connect(listening.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
}

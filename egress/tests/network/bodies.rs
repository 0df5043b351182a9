//! Answers and requests that are too large, or none.

use annex_egress::EgressLimits;
use annex_engine::{EgressError, Patience};
use http::StatusCode;

use crate::namespace::{OTHER_PUBLIC, inside};
use crate::server::{Does, Server, answers};
use crate::world::{HONEST, World, get, limits, post, send};

const NAME: &str = "attack.example.com";
const URI: &str = "https://attack.example.com/";

async fn attack(does: Does) -> (World, Server) {
    attack_with(limits(), does).await
}

async fn attack_with(limits: EgressLimits, does: Does) -> (World, Server) {
    let world = World::with(limits).await;
    let server = Server::start(OTHER_PUBLIC, 443, Some(world.authority.server(&[NAME])), does).await;
    world.names.leads(NAME, &[&[OTHER_PUBLIC]]);
    (world, server)
}

/// The answer is refused so, the connection is closed at once, and an honest request succeeds.
async fn is_refused(does: Does, error: EgressError) {
    let (world, mut server) = attack(does).await;
    assert_eq!(world.get(URI).await.unwrap_err(), error);
    server.ended(1).await;
    assert_eq!(world.metrics.requests(annex_egress::code(error)), 1);
    world.is_unharmed().await;
}

#[test]
fn endless_headers_are_too_large() {
    inside(|| is_refused(Does::Repeats(b"HTTP/1.1 200 OK\r\n", b"x-more: 1\r\n"), EgressError::TooLarge));
    inside(|| is_refused(Does::Repeats(b"HTTP/1.1 200 OK\r\nx-long: ", b"xxxxxxxx"), EgressError::TooLarge));
    inside(|| is_refused(Does::Repeats(b"HTTP/1.1 200 ", b"reason"), EgressError::TooLarge));
}

#[test]
fn headers_are_so_many() {
    inside(|| async {
        let head =
            |count| format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", "x: 1\r\n".repeat(count));
        is_refused(answers(head(64)), EgressError::TooLarge).await;
    });
    inside(|| async {
        let head = format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", "x: 1\r\n".repeat(63));
        let (world, _server) = attack(answers(head)).await;
        assert_eq!(world.get(URI).await.unwrap().headers.len(), 64);
    });
}

#[test]
fn endless_interim_answers_are_too_large() {
    inside(|| {
        is_refused(Does::Repeats(b"", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"), EgressError::TooLarge)
    });
    inside(|| is_refused(Does::Repeats(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), EgressError::TooLarge));
}

#[test]
fn an_interim_answer_is_not_handed_on() {
    inside(|| async {
        let answer =
            "HTTP/1.1 103 Early Hints\r\nx-early: 1\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        let (world, _server) = attack(answers(answer)).await;
        let answer = world.get(URI).await.unwrap();
        assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"ok"[..]));
        assert!(!answer.headers.contains_key("x-early"));
    });
}

#[test]
fn an_endless_body_is_too_large() {
    inside(|| is_refused(Does::Repeats(b"HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 4096]), EgressError::TooLarge));
    inside(|| {
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        is_refused(Does::Repeats(head, b"8\r\n12345678\r\n"), EgressError::TooLarge)
    });
}

#[test]
fn a_body_is_so_large_and_no_larger() {
    inside(|| async {
        let answer = |length: usize| {
            let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").into_bytes();
            answer.resize(answer.len() + length, b'x');
            answers(answer)
        };
        let (world, _server) = attack(answer(1 << 20)).await;
        assert_eq!(world.get(URI).await.unwrap().body.len(), 1 << 20);
        assert!(world.metrics.received_bytes() > 1 << 20);
        let mut larger =
            Server::start(OTHER_PUBLIC, 8443, Some(world.authority.server(&[NAME])), answer((1 << 20) + 1))
                .await;
        // It is announced, so that nothing of it is read.
        let refused = world
            .call()
            .send(
                &crate::world::context("tenant"),
                get("https://attack.example.com:8443/"),
                Patience::default(),
            )
            .await;
        assert_eq!(refused.err(), Some(EgressError::TooLarge));
        larger.ended(1).await;
        world.is_unharmed().await;
    });
}

#[test]
fn what_is_no_http_is_refused() {
    for garbage in [
        &b"SSH-2.0-OpenSSH_9.6\r\n\r\n"[..],
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nraw",
        b"HTTP/1.1 999 Whatever\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n",
        b"<html>HTTP/0.9</html>",
        b"",
    ] {
        inside(move || is_refused(answers(garbage), EgressError::Protocol));
    }
}

#[test]
fn a_request_is_so_large_and_no_larger() {
    inside(|| async {
        let (world, mut server) = attack(Does::Counts).await;
        let sent = |size| send_body(&world, size);
        assert_eq!(sent(1 << 20).await.unwrap(), "1048576");
        assert_eq!(sent((1 << 20) + 1).await.unwrap_err(), EgressError::TooLarge);
        server.ended(2).await;
        assert!(world.metrics.sent_bytes() > 1 << 20);
        world.is_unharmed().await;
    });
}

async fn send_body(world: &World, size: usize) -> Result<String, EgressError> {
    let answer = send(&*world.call(), post(URI, vec![b'x'; size]), Patience::default()).await?;
    Ok(String::from_utf8(answer.body.to_vec()).unwrap())
}

#[test]
fn the_requests_of_a_call_have_so_many_bytes_together() {
    inside(|| async {
        let mut body = b"HTTP/1.1 200 OK\r\ncontent-length: 40000\r\n\r\n".to_vec();
        body.resize(body.len() + 40_000, b'x');
        let (world, _server) =
            attack_with(EgressLimits { call_bytes: 100_000, ..limits() }, answers(body)).await;
        let call = world.call();
        for _ in 0..2 {
            assert_eq!(send(&*call, get(URI), Patience::default()).await.unwrap().body.len(), 40_000);
        }
        assert_eq!(send(&*call, get(URI), Patience::default()).await.unwrap_err(), EgressError::TooLarge);
        let honest = format!("https://{HONEST}/");
        assert_eq!(send(&*call, get(&honest), Patience::default()).await.unwrap_err(), EgressError::TooLarge);
        // Another call has its own.
        world.is_unharmed().await;
    });
}

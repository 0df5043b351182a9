//! What hostile callers get who do not say anything that is refused: they are slow, or they go away.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::chain::{Chain, EXTENSION, HOST, refusal, request};
use crate::support::eventually;

const ABANDONED: &str = "annex_runner_calls_total{outcome=\"Abandoned\"}";

async fn connects(chain: &Chain, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(chain.gateway).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_hangs_up_ends_the_guest() {
    // Calls may take longer than this test waits for anything.
    let chain = Chain::new().await;
    let before = chain.runner.counted(ABANDONED).await;
    for path in ["/spin", "/sleep", "/log?4000000000"] {
        let stream = connects(
            &chain,
            &request(&format!("/api/ext/{EXTENSION}{path}"), &[&format!("host: {HOST}")], "alice"),
        )
        .await;
        eventually(&format!("it runs: {path}"), async || {
            chain.runner.measures("annex_runner_calls_running 1").await
        })
        .await;
        drop(stream);
        eventually(&format!("it is ended: {path}"), async || {
            chain.runner.measures("annex_runner_calls_running 0").await
        })
        .await;
        chain.is_well(path).await;
    }
    assert_eq!(chain.runner.counted(ABANDONED).await, before + 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_holds_connections_holds_nobody_up() {
    let chain = Chain::new().await;
    let mut held = Vec::new();
    for beginning in ["", "GET ", "GET /api/ext/x HTTP/1.1\r\nhost: ", "POST / HTTP/1.1\r\n"] {
        for _ in 0..50 {
            held.push(connects(&chain, beginning).await);
        }
    }
    chain.is_well("connections that say nothing").await;
    // A body that does not come ends, and is not handed on.
    let post = format!(
        "POST /api/ext/{EXTENSION}/echo HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer alice\r\ncontent-length: 10\r\n\
         connection: close\r\n\r\nhalf"
    );
    assert_eq!(refusal(&chain.say(&post).await), (408, "RequestTimeout".into()));
    assert!(chain.tap.calls().is_empty());
    chain.is_well("a body that does not come").await;
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_request_ends_is_said_once() {
    let chain = Chain::new().await;
    let hidden = format!(
        "GET /api/ext/{EXTENSION}/kv HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer alice\r\n\r\n"
    );
    for framing in [
        "content-length: 0\r\ncontent-length: 7\r\n",
        "content-length: 0, 7\r\n",
        "content-length: +0\r\n",
        "content-length: -1\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: identity\r\n",
    ] {
        let post = format!(
            "POST /api/ext/{EXTENSION}/echo HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer alice\r\n{framing}\r\n{hidden}"
        );
        let mut stream = connects(&chain, &post).await;
        let mut answers = Vec::new();
        stream.read_to_end(&mut answers).await.unwrap();
        let answers = String::from_utf8_lossy(&answers);
        assert!(answers.starts_with("HTTP/1.1 400 "), "{framing}: {answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{framing}: {answers}");
        assert!(chain.tap.calls().is_empty(), "{framing}");
    }
    chain.is_well("requests in requests").await;
}

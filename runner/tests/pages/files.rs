//! What a browser gets.

use std::collections::BTreeSet;

use annex_core::{ContentHash, IDENTITY_PATH};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::{
    support::{Runner, say},
    world::{HELLO, HOST, PAGE, World, ask, end, files, get, page},
};

const FOR_EVER: &str = "public, max-age=31536000, immutable";

fn content(path: &str) -> Vec<u8> {
    files().into_iter().find(|(name, _)| *name == path).unwrap().1
}

fn etag(bytes: &[u8]) -> String {
    format!("\"{}\"", ContentHash::from_sha256(Sha256::digest(bytes).into()).hex())
}

async fn location(runner: &Runner, host: &str) -> String {
    let answer = ask(runner, "GET", "/", host, &[]).await;
    assert_eq!((answer.status, answer.header("cache-control")), (307, Some("no-store")), "{}", answer.body);
    answer.header("location").unwrap().to_owned()
}

#[tokio::test]
async fn a_browser_is_led_to_the_page_that_the_manifest_names() {
    let (world, runner, hash) = World::with_hello().await;
    let to = location(&runner, HOST).await;
    assert_eq!(to, page(&hash, "index.html"));
    let answer = get(&runner, &to, &[]).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, PAGE));

    // Wherever it is, and whatever it is called: what is sent is an address.
    let other = [("ui/index.html", b"not this".to_vec()), ("ui/a b/stört&co.html", b"this".to_vec())];
    let hash = world.publish("com.example.other", "ui/a b/stört&co.html", &other);
    world.install("acme--other.apps.localhost", "com.example.other", &hash);
    let to = location(&runner, "acme--other.apps.localhost").await;
    assert_eq!(to, format!("/ext-ui/com.example.other/{hash}/a%20b/st%C3%B6rt%26co.html"));
    assert_eq!(ask(&runner, "GET", &to, "acme--other.apps.localhost", &[]).await.body, "this");
    end(runner).await;
}

#[tokio::test]
async fn what_has_no_pages_answers_with_its_identity() {
    let world = World::new().await;
    let hash = world.publish(HELLO, "", &[]);
    world.install(HOST, HELLO, &hash);
    let unpublished = format!("sha256:{}", "ab".repeat(32));
    world.install("acme--catalog.apps.localhost", HELLO, &unpublished);
    let runner = world.runner(&[]).await;
    for (host, hash) in [(HOST, &hash), ("acme--catalog.apps.localhost", &unpublished)] {
        for path in ["/", IDENTITY_PATH] {
            let answer = ask(&runner, "GET", path, host, &[]).await;
            let identity = json!({ "tenant_id": "acme", "extension_id": HELLO, "content_hash": hash });
            assert_eq!((answer.status, answer.json()), (200, identity), "{host}{path}");
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
    }
    let answer = get(&runner, &page(&unpublished, "index.html"), &[]).await;
    assert_eq!((answer.status, answer.code()), (404, "NotFound".to_owned()));
}

#[tokio::test]
async fn what_has_pages_says_who_it_is_elsewhere() {
    let (world, runner, hash) = World::with_hello().await;
    let answer = get(&runner, IDENTITY_PATH, &[]).await;
    assert_eq!((answer.status, answer.json()["content_hash"].as_str()), (200, Some(&*hash)));
    assert_eq!(world.registry.known().archives, 0, "for that nothing is fetched");
}

#[tokio::test]
async fn a_runner_that_cannot_verify_shows_no_pages() {
    let world = World::new().await;
    let hash = world.publish(HELLO, "ui/index.html", &files());
    world.install(HOST, HELLO, &hash);
    let runner = Runner::start(&world.registry.url).await;
    let answer = get(&runner, "/", &[]).await;
    assert_eq!((answer.status, answer.json()["content_hash"].as_str()), (200, Some(&*hash)));
    let answer = get(&runner, &page(&hash, "index.html"), &[]).await;
    assert_eq!((answer.status, answer.code()), (502, "VerificationFailed".to_owned()));
    assert_eq!(world.registry.known().archives, 0);
}

#[tokio::test]
async fn files_come_with_their_type_and_their_tag() {
    let (world, runner, hash) = World::with_hello().await;
    for (path, in_bundle, content_type) in [
        ("index.html", "ui/index.html", "text/html; charset=utf-8"),
        ("app.js", "ui/app.js", "text/javascript; charset=utf-8"),
        ("big.css", "ui/big.css", "text/css; charset=utf-8"),
        ("logo.png", "ui/logo.png", "image/png"),
        ("data/gr%C3%B6%C3%9Fe%20%26%20more.json", "ui/data/größe & more.json", "application/json"),
        ("empty.txt", "ui/empty.txt", "text/plain; charset=utf-8"),
    ] {
        let expected = content(in_bundle);
        for method in ["GET", "HEAD"] {
            let answer = ask(&runner, method, &page(&hash, path), HOST, &[]).await;
            assert_eq!(answer.status, 200, "{method} {path}");
            assert_eq!(answer.header("content-type"), Some(content_type), "{method} {path}");
            assert_eq!(answer.header("etag"), Some(&*etag(&expected)), "{method} {path}");
            assert_eq!(
                answer.header("content-length"),
                Some(&*expected.len().to_string()),
                "{method} {path}"
            );
            // A document is held by its headers, and they may change.
            let lasting = if path == "index.html" { "public, no-cache" } else { FOR_EVER };
            assert_eq!(answer.header("cache-control"), Some(lasting), "{method} {path}");
            assert_eq!(answer.header("accept-ranges"), Some("bytes"), "{method} {path}");
            assert_eq!(answer.header("content-encoding"), None, "{method} {path}");
            let body: &[u8] = if method == "HEAD" { b"" } else { &expected };
            assert!(answer.bytes == body, "{method} {path}: {} bytes", answer.bytes.len());
            answer.check_common_headers();
        }
    }
    assert_eq!(world.registry.known().archives, 1, "one bundle is fetched once");
}

#[tokio::test]
async fn what_a_browser_has_is_not_sent_again() {
    let (_world, runner, hash) = World::with_hello().await;
    let (path, tag) = (page(&hash, "app.js"), etag(&content("ui/app.js")));
    for value in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
        for method in ["GET", "HEAD"] {
            let answer = ask(&runner, method, &path, HOST, &[("if-none-match", &value)]).await;
            assert_eq!((answer.status, answer.bytes.len()), (304, 0), "{value}");
            assert_eq!(answer.header("etag"), Some(&*tag));
            assert_eq!(answer.header("cache-control"), Some(FOR_EVER));
            answer.check_common_headers();
        }
    }
    for other in ["\"other\"", "other", &tag.to_uppercase()] {
        let answer = get(&runner, &path, &[("if-none-match", other)]).await;
        assert_eq!((answer.status, answer.bytes), (200, content("ui/app.js")), "{other}");
    }
}

#[tokio::test]
async fn parts_of_files_are_had() {
    let (_world, runner, hash) = World::with_hello().await;
    // One that is read at once, and one that is streamed, of which also what is asked for is.
    for name in ["app.js", "big.css"] {
        let (path, whole) = (page(&hash, name), content(&format!("ui/{name}")));
        let size = whole.len();
        for (range, expected) in [
            ("bytes=0-0".to_owned(), 0..1),
            ("bytes=100-199".to_owned(), 100..200),
            ("bytes=-7".to_owned(), size - 7..size),
            (format!("bytes={}-", size - 3), size - 3..size),
            ("bytes=1-999999999999".to_owned(), 1..size),
        ] {
            let answer = get(&runner, &path, &[("range", &range)]).await;
            assert_eq!(answer.status, 206, "{name} {range}");
            let content_range = format!("bytes {}-{}/{size}", expected.start, expected.end - 1);
            assert_eq!(answer.header("content-range"), Some(&*content_range), "{name} {range}");
            assert_eq!(answer.header("content-length"), Some(&*expected.len().to_string()), "{name} {range}");
            assert_eq!(answer.header("cache-control"), Some(FOR_EVER));
            assert!(answer.bytes == whole[expected], "{name} {range}");
        }
        for range in [format!("bytes={size}-"), "bytes=-0".to_owned()] {
            let answer = get(&runner, &path, &[("range", &range)]).await;
            assert_eq!((answer.status, answer.code()), (416, "RangeNotSatisfiable".to_owned()), "{range}");
            assert_eq!(answer.header("content-range"), Some(&*format!("bytes */{size}")));
        }
        for several in ["bytes=0-1,3-4", "lines=1-2", "bytes=5-2"] {
            let answer = get(&runner, &path, &[("range", several)]).await;
            assert_eq!((answer.status, answer.bytes.len()), (200, size), "{several}");
        }
        let (mine, range) = (etag(&whole), ("range", "bytes=0-9"));
        assert_eq!(get(&runner, &path, &[range, ("if-range", &mine)]).await.status, 206);
        assert_eq!(get(&runner, &path, &[range, ("if-range", "\"other\"")]).await.status, 200);
    }
}

#[tokio::test]
async fn what_is_missing_is_404_and_no_page() {
    let (_world, runner, hash) = World::with_hello().await;
    for path in [
        "missing.js",
        "app.mjs",
        "App.js",
        "assets/index.html",
        "data",
        "data/",
        "",
        "index.html/",
        "ui/index.html",
        // What is of the bundle, and not of its pages.
        "manifest.json",
        "main.wasm",
    ] {
        let answer = get(&runner, &page(&hash, path), &[("accept", "text/html")]).await;
        assert_eq!((answer.status, answer.code()), (404, "NotFound".to_owned()), "{path}");
        assert!(!answer.body.contains('<'), "{path}: {}", answer.body);
    }
}

/// A file that was answered a moment ago takes a shorter way. Whoever asks must not see which.
#[tokio::test]
async fn what_is_answered_again_is_answered_as_if_it_were_the_first_time() {
    let (world, forgetful, hash) = World::with_hello().await;
    let requests = |path: &str, host: &str, headers: &str| {
        let tag = etag(&content("ui/index.html"));
        [
            format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{headers}"),
            format!("HEAD {path} HTTP/1.1\r\nhost: {host}\r\n{headers}"),
            format!("POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\n{headers}"),
            format!("GET http://{host}{path} HTTP/1.1\r\nhost: {host}\r\n{headers}"),
            format!("GET http://{host}.evil{path} HTTP/1.1\r\nhost: {host}\r\n{headers}"),
            format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nhost: {host}\r\n{headers}"),
            format!("GET {path}?tenant=globex HTTP/1.1\r\nhost: {host}\r\n{headers}"),
            format!("GET {path}?v=1 HTTP/1.1\r\nhost: {host}\r\n{headers}"),
            format!("GET {path} HTTP/1.1\r\nhost: {host}\r\naccept-encoding: gzip, br\r\n{headers}"),
            format!("GET {path} HTTP/1.1\r\nhost: {host}\r\naccept-encoding: zstd\r\n{headers}"),
            format!("GET {path} HTTP/1.1\r\nhost: {host}\r\naccept-encoding: gzip;q=0\r\n{headers}"),
            format!("GET {path} HTTP/1.1\r\nhost: {host}\r\naccept-encoding: *;q=0\r\n{headers}"),
            format!("GET {path} HTTP/1.1\r\nhost: {host}:{}80\r\n{headers}", "0".repeat(10_000)),
            format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nrange: bytes=1-3\r\n{headers}"),
            format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nif-none-match: {tag}\r\n{headers}"),
            format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nif-none-match: W/{tag}, \"x\"\r\n{headers}"),
        ]
    };
    let upper = HOST.to_uppercase();
    let (port, dot) = (format!("{HOST}:80"), format!("{HOST}."));
    let mut all = Vec::new();
    for (file, _) in files() {
        // One is too large to be kept, and takes a compressor that is not optimized as long as all others.
        let Some(file) = file.strip_prefix("ui/").filter(|file| *file != "big.css") else { continue };
        for host in [HOST, &upper, &port, &dot, "acme--nobody.apps.localhost"] {
            all.extend(requests(&page(&hash, file), host, "connection: close\r\n\r\n"));
        }
    }
    let expected =
        futures::future::join_all(all.iter().map(|request| say(forgetful.public, request.as_bytes())));
    let expected = expected.await;
    end(forgetful).await;

    let runner = world.runner_that_remembers("60000", &[]).await.unwrap();
    for _ in 0..3 {
        for (request, expected) in all.iter().zip(&expected) {
            let answer = say(runner.public, request.as_bytes()).await;
            assert_eq!(answer.repeatable(), expected.repeatable(), "{request}");
        }
    }
    let statuses: BTreeSet<_> = expected.iter().map(|answer| answer.status).collect();
    assert!(statuses.is_superset(&[200, 206, 304, 400, 404, 405].into()), "{statuses:?}");
    // Each of them is counted, and some went the shorter way.
    let metrics = runner.internal("/metrics").await.body;
    assert!(!metrics.contains("annex_runner_requests_again_total 0\n"), "{metrics}");
    let answered = expected.iter().filter(|answer| (200..300).contains(&answer.status)).count() * 3;
    assert!(
        metrics.contains(&format!("annex_runner_requests_total{{class=\"2xx\"}} {answered}\n")),
        "{metrics}"
    );
    end(runner).await;
}

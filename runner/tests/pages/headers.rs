//! What holds a page in its place, and who may keep it.

use std::collections::BTreeMap;

use annex_core::IDENTITY_PATH;

use crate::{
    support::{Answer, say},
    world::{HOST, World, ask, get, page},
};

/// One answer of each kind that there is, by what it is.
async fn answers(
    world: &World,
    runner: &crate::support::Runner,
    hash: &str,
) -> Vec<(u16, &'static str, Answer)> {
    let script = page(hash, "app.js");
    let etag = get(runner, &script, &[]).await.header("etag").unwrap().to_owned();
    let mut answers = vec![
        (307, "the way to the first page", get(runner, "/", &[]).await),
        (200, "the identity", get(runner, IDENTITY_PATH, &[]).await),
        (200, "the probe's", get(runner, "/healthz", &[]).await),
        (200, "a file", get(runner, &script, &[]).await),
        (200, "a compressed file", get(runner, &script, &[("accept-encoding", "br")]).await),
        (206, "a part of a file", get(runner, &script, &[("range", "bytes=0-1")]).await),
        (304, "what the browser has", get(runner, &script, &[("if-none-match", &etag)]).await),
        (416, "no part of a file", get(runner, &script, &[("range", "bytes=99999-")]).await),
        (404, "a missing file", get(runner, &page(hash, "missing.js"), &[]).await),
        (404, "another path", get(runner, "/favicon.ico", &[]).await),
        (404, "an unknown host", ask(runner, "GET", "/", "nobody.apps.localhost", &[]).await),
        (405, "another method", ask(runner, "POST", &script, HOST, &[]).await),
        (
            400,
            "a malformed host",
            say(runner.public, b"GET / HTTP/1.1\r\nhost: a b\r\nconnection: close\r\n\r\n").await,
        ),
    ];
    world.write("denylist", &format!("content {hash}\n"));
    crate::support::eventually("it is revoked", async || get(runner, &script, &[]).await.status == 502).await;
    answers.push((502, "a revoked file", get(runner, &script, &[]).await));
    answers
}

fn directives(answer: &Answer) -> BTreeMap<String, Vec<String>> {
    let policy = answer.header("content-security-policy").expect("a policy");
    let mut directives = BTreeMap::new();
    for directive in policy.split(';') {
        let mut words = directive.split_ascii_whitespace().map(str::to_owned);
        let name = words.next().expect("a name");
        assert!(directives.insert(name, words.collect()).is_none(), "twice: {policy}");
    }
    directives
}

#[tokio::test]
async fn every_answer_has_all_the_headers_and_only_what_never_changes_may_be_kept() {
    let (world, runner, hash) = World::with_hello().await;
    for (status, what, answer) in answers(&world, &runner, &hash).await {
        assert_eq!(answer.status, status, "{what}: {}", answer.body);
        let kept = matches!(status, 200 | 206 | 304) && what.contains("file") || status == 304;
        let expected = if kept { "public, max-age=31536000, immutable" } else { "no-store" };
        assert_eq!(answer.header("cache-control"), Some(expected), "{what}");

        answer.check_common_headers();
        for (name, value) in [
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
            ("origin-agent-cluster", "?1"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{what}");
        }
        let permissions = answer.header("permissions-policy").expect("permissions");
        for feature in ["camera", "geolocation", "microphone", "payment", "usb"] {
            assert!(
                permissions.split(", ").any(|given| given == format!("{feature}=()")),
                "{what}: {permissions}"
            );
        }
        assert!(permissions.split(", ").all(|given| given.ends_with("=()")), "{what}: {permissions}");
        let policy = directives(&answer);
        for (name, sources) in [
            ("default-src", &["'none'"][..]),
            ("script-src", &["'self'"]),
            ("connect-src", &["'self'"]),
            ("base-uri", &["'none'"]),
            ("frame-ancestors", &["'none'"]),
        ] {
            assert_eq!(
                policy.get(name).map(Vec::as_slice),
                Some(&sources.iter().map(|&s| s.to_owned()).collect::<Vec<_>>()[..]),
                "{what}: {name}"
            );
        }
        // Nothing loosens what was said before it, in any directive.
        let loose = |source: &String| source.contains("unsafe") || source == "*" || source.contains("http");
        assert!(!policy.values().flatten().any(loose), "{what}: {policy:?}");
        for absent in ["set-cookie", "access-control-allow-origin", "server"] {
            assert_eq!(answer.header(absent), None, "{what}");
        }
    }
}

#[tokio::test]
async fn the_operator_says_who_may_frame_pages_and_nobody_slips_more_in() {
    let world = World::new().await;
    let ancestors = "'self' https://app.example.com https://*.example.org:8443";
    let runner = world.runner(&["--frame-ancestors", ancestors]).await;
    let policy = directives(&get(&runner, "/healthz", &[]).await);
    assert_eq!(policy["frame-ancestors"].join(" "), ancestors);
    for bad in ["https://a.example; script-src *", "*", "", "'none' https://a.example"] {
        let error = world.try_runner(&["--frame-ancestors", bad]).await.err().expect(bad).to_string();
        assert!(error.contains("--frame-ancestors"), "{bad}: {error}");
    }
}

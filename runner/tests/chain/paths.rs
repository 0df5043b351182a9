//! Paths that try to leave where they are.

use crate::chain::{Chain, EXTENSION, HOST, TABLES, refusal, request};
use crate::support::say;
use crate::tap::Call;

/// As it is; encoded once, in either case and by half; its slash encoded; a backslash; twice; overlong; and with what splits it elsewhere.
const UP: &[&str] = &[
    "../",
    "%2e%2e/",
    "%2E%2E/",
    ".%2e/",
    "..%2f",
    "%2e%2e%2F",
    "..%5c",
    "..\\",
    "%252e%252e/",
    "%252e%252e%252f",
    "%c0%ae%c0%ae/",
    "..%c0%af",
    "%u002e%u002e/",
    "..;/",
    "..%00/",
    "..%0d%0a/",
    "./../",
    "x/../../",
    "/",
    "%2f",
];

pub async fn all(chain: &Chain) {
    public_paths(chain).await;
    other_extensions(chain).await;
    pages(chain).await;
}

/// Of acme's endpoints, those below `/public/` are anybody's. None of the others can be had from there.
async fn public_paths(chain: &Chain) {
    for up in UP {
        for target in ["kv", "secret?smtp", "hello"] {
            let path = format!("/public/{up}{target}");
            let answer = chain.get_as("", HOST, &path).await;
            let reached: Vec<_> = chain.tap.calls().iter().map(|call| call.request().http.path).collect();
            // What is decoded once only is a name like any other, below `/public/`; the guest has none of them.
            match &reached[..] {
                [] => assert_eq!(refusal(&answer), (400, "MalformedRequest".into()), "{path}"),
                [reached] => {
                    assert!(
                        reached.starts_with("/public/") && answer.status == 404,
                        "{path}: {reached}, {answer:?}"
                    );
                    assert!(!reached.contains("/../") && !reached.contains("//"), "{path}: {reached}");
                }
                more => panic!("{path}: {more:?}"),
            }
        }
    }
    for path in ["/kv", "/public", "/Public/x", "/%70ublic"] {
        assert_eq!(refusal(&chain.get_as("", HOST, path).await), (401, "Unauthenticated".into()), "{path}");
    }
    chain.is_well("paths out of what is public").await;
}

/// No path on the one extension's host, or of its name, leads to another or to anything that is none; and the runner, which is in front of
/// the gateway there, makes no other path of it.
async fn other_extensions(chain: &Chain) {
    for up in UP {
        for target in [
            "hello".to_owned(),
            format!("{TABLES}/"),
            format!("../{TABLES}/"),
            format!("../{EXTENSION}/hello"),
            "../../v1/execute".to_owned(),
            "../../../metrics".to_owned(),
        ] {
            let path = format!("/api/ext/{EXTENSION}/{up}{target}");
            let request = request(&path, &[&format!("host: {HOST}")], "alice");
            let mut reached = Vec::new();
            for address in [chain.gateway, chain.runner.public] {
                let answer = say(address, request.as_bytes()).await;
                assert!(matches!(answer.status, 400 | 404), "{path}: {answer:?}");
                let calls: Vec<_> = chain.tap.calls().iter().map(Call::request).collect();
                for call in &calls {
                    assert_eq!(call.context.extension_id.as_str(), EXTENSION, "{path}");
                    let called = &call.http.path;
                    assert!(!called.contains("/../") && called != "/hello", "{path}: {called}");
                }
                reached.push(calls.into_iter().map(|call| call.http.path).collect::<Vec<_>>());
            }
            assert_eq!(reached[0], reached[1], "{path}");
        }
    }
    chain.is_well("paths to other extensions").await;
}

/// No path of the pages leads to the rest of the bundle, or of the disk.
async fn pages(chain: &Chain) {
    let hash = chain.hash();
    let page =
        |file: &str| request(&format!("/ext-ui/{EXTENSION}/{hash}/{file}"), &[&format!("host: {HOST}")], "");
    for up in UP {
        for target in ["main.wasm", "manifest.json", "listing", "../../../../etc/passwd"] {
            let answer = say(chain.runner.public, page(&format!("{up}{target}")).as_bytes()).await;
            assert_eq!((answer.status, answer.code().as_str()), (404, "NotFound"), "{up}{target}");
        }
    }
    assert_eq!(say(chain.runner.public, page("index.html").as_bytes()).await.body, "a page");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_leads_out_of_what_is_public() {
    public_paths(&Chain::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_leads_from_one_extension_to_another() {
    other_extensions(&Chain::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_leads_out_of_the_pages() {
    pages(&Chain::new().await).await;
}

//! Which host was asked for, in every spelling, at the gateway and at the runner, in bytes that no client would send.

use crate::chain::{Chain, EXTENSION, HOST, IDN, OTHER, refusal, request};
use crate::support::{Answer, say};

const TARGET: &str = "/api/ext/com.example.hello/hello";

/// Said to the gateway itself, and to the runner, which is in front of it on the extension's own host.
async fn both(chain: &Chain, target: &str, hosts: &[&str]) -> [Answer; 2] {
    let request = request(target, hosts, "alice");
    [chain.say(&request).await, say(chain.runner.public, request.as_bytes()).await]
}

pub async fn all(chain: &Chain) {
    good(chain).await;
    malformed(chain).await;
    unknown(chain).await;
}

/// Each is acme's one host.
async fn good(chain: &Chain) {
    for host in [
        HOST.to_owned(),
        format!("{HOST}:8443"),
        format!("{HOST}:"),
        HOST.to_uppercase(),
        format!("{HOST}."),
        format!("{}.:443", HOST.to_uppercase()),
    ] {
        for answer in both(chain, TARGET, &[&format!("host: {host}")]).await {
            assert_eq!((answer.status, answer.body.as_str()), (200, "hello"), "{host}");
        }
    }
    for absolute in
        [format!("http://{HOST}{TARGET}"), format!("https://{}:8443{TARGET}", HOST.to_uppercase())]
    {
        for answer in both(chain, &absolute, &[&format!("Host: {HOST}")]).await {
            assert_eq!((answer.status, answer.body.as_str()), (200, "hello"), "{absolute}");
        }
    }
    let tenants: Vec<_> =
        chain.tap.calls().iter().map(|call| call.request().context.tenant_id.to_string()).collect();
    assert_eq!(tenants, vec!["acme"; 16]);
    for idn in [IDN.to_owned(), format!("{}:8443", IDN.to_uppercase())] {
        let answer = chain.say(&request(TARGET, &[&format!("host: {idn}")], "alice")).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "hello"), "{idn}");
    }
    chain.is_well("hosts in every spelling").await;
}

/// None of them is a host, or all of them are more than one.
async fn malformed(chain: &Chain) {
    let host = |value: &str| format!("host: {value}");
    let cases: Vec<(String, Vec<String>)> = vec![
        (TARGET.to_owned(), vec![host(HOST), host(HOST)]),
        (TARGET.to_owned(), vec![host(HOST), format!("Host: {OTHER}")]),
        (TARGET.to_owned(), vec![host(OTHER), "x-between: 1".to_owned(), host(HOST)]),
        (TARGET.to_owned(), vec![]),
        (TARGET.to_owned(), vec![host("")]),
        (TARGET.to_owned(), vec![host(&format!("{HOST}, {OTHER}"))]),
        (TARGET.to_owned(), vec![host(&format!("{HOST}.."))]),
        (TARGET.to_owned(), vec![host(&format!("{HOST}:http"))]),
        (TARGET.to_owned(), vec![host(&format!("{HOST}:65536"))]),
        (TARGET.to_owned(), vec![host(&format!("user@{HOST}"))]),
        (TARGET.to_owned(), vec![host(&format!("{HOST}/{OTHER}"))]),
        (TARGET.to_owned(), vec![host(&format!("{HOST}\t{OTHER}"))]),
        (TARGET.to_owned(), vec![host("bücher--hello.apps.test")]),
        (TARGET.to_owned(), vec![host("b%C3%BCcher--hello.apps.test")]),
        (TARGET.to_owned(), vec![host("acme_-hello.apps.test")]),
        // What the request line says and the header does not.
        (format!("http://{OTHER}{TARGET}"), vec![host(HOST)]),
        (format!("http://user@{HOST}{TARGET}"), vec![host(HOST)]),
        (format!("http://{HOST}{TARGET}"), vec![]),
        (format!("http://{HOST}{TARGET}"), vec![host(HOST), host(HOST)]),
    ];
    for (target, lines) in cases {
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        let [gateway, runner] = both(chain, &target, &lines).await;
        assert_eq!(refusal(&gateway), (400, "MalformedRequest".into()), "{target} {lines:?}");
        assert_eq!((runner.status, runner.code().as_str()), (400, "MalformedHost"), "{target} {lines:?}");
        assert!(chain.tap.calls().is_empty(), "{target} {lines:?}");
    }
    chain.is_well("malformed hosts").await;
}

/// Hosts on which nothing is, or another's.
async fn unknown(chain: &Chain) {
    for host in ["evil.test", "apps.test", "x.acme--hello.apps.test", "127.0.0.1", "localhost"] {
        let [gateway, runner] = both(chain, TARGET, &[&format!("host: {host}")]).await;
        assert_eq!(refusal(&gateway), (400, "WorkspaceUnknown".into()), "{host}");
        assert_eq!((runner.status, runner.code().as_str()), (404, "UnknownHost"), "{host}");
    }
    // Alice may call acme's, wherever else she asks for it.
    for lines in [
        &[&*format!("host: {OTHER}")][..],
        &[
            &format!("host: {OTHER}"),
            "x-forwarded-host: acme--hello.apps.test",
            "forwarded: host=acme--hello.apps.test",
        ],
    ] {
        let answer = chain.say(&request(TARGET, lines, "alice")).await;
        assert_eq!(refusal(&answer), (403, "Forbidden".into()), "{lines:?}");
    }
    for token in ["alice", "account-of-acme"] {
        let lines = [&*format!("host: {OTHER}"), "x-annex-workspace: acme"];
        let answer = chain.say(&request(TARGET, &lines, token)).await;
        assert_eq!(refusal(&answer), (400, "WorkspaceMismatch".into()), "{token}");
    }
    // The namesake of acme's own account.
    let answer = chain.say(&request(TARGET, &[&format!("host: {HOST}")], "account-of-globex")).await;
    assert_eq!(refusal(&answer), (400, "WorkspaceMismatch".into()));
    assert!(chain.tap.calls().is_empty(), "{EXTENSION}");
    chain.is_well("hosts of nobody and of others").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_one_name_in_every_spelling() {
    good(&Chain::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_one_host_is_refused_before_anything_else() {
    malformed(&Chain::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_of_nobody_or_of_another_leads_nowhere() {
    unknown(&Chain::new().await).await;
}

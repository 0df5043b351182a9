//! What hostile guests get, and what their callers are told.

use std::time::Duration;

use crate::chain::{Chain, HOST, OTHER, PATIENCE, SECRET, refusal, request};

const SHORT: Duration = Duration::from_millis(300);

/// Guests that fail, and what the caller is told of it.
const FAILING: &[&str] = &[
    "/allocate",
    "/recurse",
    "/panic",
    "/exit",
    "/random",
    "/host-bytes",
    "/resources?100000",
    "/timers?100000",
    "/headers?65",
    "/headers?100000",
    "/large-header",
    "/body",
    "/status?100",
    "/status?101",
    "/status?103",
    "/status?600",
    "/no-answer",
    "/error",
    "/unfinished",
    "/half-then-panic",
];

/// Guests that do not end.
const ENDLESS: &[&str] = &["/spin", "/spin-in-host", "/spin-after", "/sleep"];

/// Guests that are held back, and told so: they answer, and what they answer is how that went.
const HELD_BACK: &[(&str, &str)] = &[
    ("/allocate-and-live", "true"),
    ("/bad-headers", "true"),
    ("/set-cookie", "ok"),
    ("/log?1000", "logged"),
    ("/print?10000", "printed"),
    ("/kv-budget", "call-budget-spent"),
    ("/surroundings", "env 0 args 0 files 0 stdin 0"),
];

pub async fn all(chain: &Chain) {
    for path in FAILING {
        assert_eq!(refusal(&chain.get(path).await), (502, "ExtensionFailed".into()), "{path}");
        chain.is_well(path).await;
    }
    assert_eq!(refusal(&chain.tables().await), (502, "ExtensionFailed".into()));
    chain.is_well("a table that grows").await;
    for (path, expected) in HELD_BACK {
        let answer = chain.get(path).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, *expected), "{path}");
        chain.is_well(path).await;
    }
    chain.within(SHORT);
    for path in ENDLESS {
        assert_eq!(refusal(&chain.get(path).await), (504, "Timeout".into()), "{path}");
    }
    chain.within(PATIENCE);
    chain.is_well("guests that do not end").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_guest_costs_its_caller_the_answer_and_nobody_else_anything() {
    all(&Chain::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hostile_answer_no_header_comes_out() {
    let chain = Chain::new().await;
    for path in ["/set-cookie", "/bad-headers", "/odd-headers"] {
        let answer = chain.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        for name in ["set-cookie", "x-mine", "x-bad", "x-ext-odd"] {
            assert_eq!(answer.header(name), None, "{path}");
        }
        assert_eq!(answer.header("content-length"), Some(answer.bytes.len().to_string().as_str()), "{path}");
        chain.is_well(path).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gigabytes_of_log_are_a_few_lines() {
    let chain = Chain::new().await;
    chain.runner.forget_log();
    // 1.2 GiB: 20,000 lines of 64 KiB, of which the first 4 KiB would be one.
    assert_eq!(chain.get("/log?20000").await.body, "logged");
    chain.is_well("a log").await;
    assert!(chain.runner.log().len() < 256 << 10, "{}", chain.runner.log().len());
    let dropped = chain.runner.counted("annex_runner_guest_log_dropped_bytes_total").await;
    assert!(dropped > 64 << 20, "{dropped}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_another_tenants_is_not_there() {
    let chain = Chain::new().await;
    assert_eq!(chain.get("/kv").await.status, 200);
    assert_eq!(chain.get("/kv-get?a").await.body, "3");
    for key in ["a", "acme/a", "../acme/a", "acme%00a", "%2e%2e/a"] {
        let answer = chain.get_as("bob", OTHER, &format!("/kv-get?{key}")).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "none"), "{key}");
    }
    // Nor is what its context says a matter of what the request says.
    let forged = [
        &format!("host: {OTHER}"),
        "x-ext-tenant: acme",
        "x-annex-tenant: acme",
        "x-annex-broker-grant: forged",
        "x-annex-grant: forged",
    ];
    let answer = chain.say(&request("/api/ext/com.example.hello/context?tenant=acme", &forged, "bob")).await;
    assert!(answer.body.contains(" globex ") && !answer.body.contains("acme"), "{}", answer.body);
    chain.is_well("another tenant's keys").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_told_to_whom_it_was_granted_and_to_no_log_by_us() {
    let chain = Chain::new().await;
    chain.runner.forget_log();
    assert_eq!(chain.get("/secret?smtp").await.body, SECRET);
    // Which of them exist, it does not learn.
    for name in ["other", "absent", "../globex/smtp", ""] {
        assert_eq!(chain.get(&format!("/secret?{name}")).await.body, "not-granted", "{name}");
    }
    assert_eq!(chain.get_as("bob", OTHER, "/secret?smtp").await.body, "not-found", "acme's is not globex's");
    let calls = chain.tap.calls();
    assert_eq!(calls.len(), 6);
    assert!(!chain.runner.log().contains(SECRET));
    for header in ["x-annex-grant", "x-annex-broker-grant"] {
        for call in &calls {
            assert!(!chain.runner.log().contains(&call.token(header)), "{header}");
        }
    }
    // What the guest itself logs is a line of the guest's, in the log of whoever runs the platform, and the caller sees nothing of it.
    let answer = chain.get("/log-secret?smtp").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "logged"));
    let log = chain.runner.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains(SECRET)).collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| line.contains("annex_runner::guest")), "{lines:?}");
    chain.is_well("a secret in the log").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_not_public_is_fetched() {
    let chain = Chain::new().await;
    let private = chain.private.local_addr().unwrap();
    // Both lists name it, and it would answer. Where nobody knows that name without search domains, it has no address either.
    let named = chain.get(&format!("/fetch?localhost:{}", private.port())).await;
    let is_refused = ["DestinationIpProhibited", "DnsError"].iter().any(|error| named.body.contains(error));
    assert!(is_refused, "{named:?}");
    for authority in [
        &private.to_string(),
        "169.254.169.254",
        "[fd00:ec2::254]",
        "metadata.google.internal",
        &format!("[::ffff:127.0.0.1]:{}", private.port()),
        &format!("[::ffff:7f00:1]:{}", private.port()),
        &format!("2130706433:{}", private.port()),
        &format!("0x7f000001:{}", private.port()),
        &format!("localhost.:{}", private.port() ^ 1),
        "10.0.0.1",
        "kubernetes.default.svc",
    ] {
        let answer = chain.get(&format!("/fetch?{authority}")).await;
        assert!(answer.status == 200 && answer.body.contains("HttpRequestDenied"), "{authority}: {answer:?}");
        chain.is_well(authority).await;
    }
    let nobody = tokio::select! {
        biased;
        _ = chain.private.accept() => false,
        () = std::future::ready(()) => true,
    };
    assert!(nobody, "{HOST}");
}

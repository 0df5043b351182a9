//! What the public listener answers, over real sockets. The registry is a double.

mod support;

use axum::http::StatusCode;
use support::{Behaviour, IDENTITY, KNOWN, RegistryDouble, Runner, get_from, say};

async fn runner_with(behaviour: Behaviour) -> (RegistryDouble, Runner) {
    let registry = RegistryDouble::start(behaviour).await;
    let runner = Runner::start(&registry.url()).await;
    (registry, runner)
}

#[tokio::test]
async fn a_known_host_answers_with_its_identity() {
    let (_registry, runner) = runner_with(Behaviour::Answers).await;
    for host in [KNOWN.to_owned(), format!("{KNOWN}:8080"), format!("{}.", KNOWN.to_uppercase())] {
        let answer = runner.get(&host).await;
        assert_eq!(answer.status, 200, "{host}");
        assert_eq!(answer.body, IDENTITY);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        answer.check_common_headers();
    }
}

#[tokio::test]
async fn each_answer_has_its_own_request_id() {
    let (_registry, runner) = runner_with(Behaviour::Answers).await;
    let ask = format!("GET / HTTP/1.1\r\nhost: {KNOWN}\r\nx-request-id: mine\r\nconnection: close\r\n\r\n");
    let (first, second) =
        (say(runner.public, ask.as_bytes()).await, say(runner.public, ask.as_bytes()).await);
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
    assert_ne!(first.header("x-request-id"), Some("mine"));
}

#[tokio::test]
async fn head_has_the_headers_only() {
    let (_registry, runner) = runner_with(Behaviour::Answers).await;
    let ask = format!("HEAD / HTTP/1.1\r\nhost: {KNOWN}\r\nconnection: close\r\n\r\n");
    let answer = say(runner.public, ask.as_bytes()).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert_eq!(answer.header("content-length"), Some(IDENTITY.len().to_string().as_str()));
    answer.check_common_headers();
}

#[tokio::test]
async fn an_unknown_host_is_404() {
    let (_registry, runner) = runner_with(Behaviour::Answers).await;
    for host in ["globex--hello.apps.localhost", "localhost", "127.0.0.1:8080"] {
        let answer = runner.get(host).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "UnknownHost"), "{host}");
    }
}

#[tokio::test]
async fn a_malformed_host_is_400_and_the_registry_is_not_asked() {
    let (registry, runner) = runner_with(Behaviour::Answers).await;
    let hosts: [&[u8]; 8] = [
        b"",
        b"host: \r\n",
        b"host: a b\r\n",
        b"host: user@a.example\r\n",
        b"host: [::1]:8080\r\n",
        b"host: a.example:http\r\n",
        b"host: a_b.example\r\n",
        b"host: b\xc3\xbccher.example\r\n",
    ];
    for host in hosts {
        let ask = [b"GET / HTTP/1.1\r\n", host, b"connection: close\r\n\r\n"].concat();
        let answer = say(runner.public, &ask).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "MalformedHost"), "{host:?}");
    }
    for twice in [
        format!("GET / HTTP/1.1\r\nhost: {KNOWN}\r\nhost: {KNOWN}\r\nconnection: close\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost: {KNOWN}\r\nHost: other.example\r\nconnection: close\r\n\r\n"),
        format!("GET http://other.example/ HTTP/1.1\r\nhost: {KNOWN}\r\nconnection: close\r\n\r\n"),
        "GET / HTTP/1.0\r\n\r\n".to_owned(),
    ] {
        let answer = say(runner.public, twice.as_bytes()).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "MalformedHost"), "{twice}");
    }
    assert_eq!(registry.questions(), 0);
}

#[tokio::test]
async fn an_absolute_target_for_the_same_host_is_answered() {
    let (_registry, runner) = runner_with(Behaviour::Answers).await;
    let ask = format!("GET http://{KNOWN}/ HTTP/1.1\r\nhost: {KNOWN}\r\nconnection: close\r\n\r\n");
    assert_eq!(say(runner.public, ask.as_bytes()).await.body, IDENTITY);
}

#[tokio::test]
async fn a_registry_that_gives_no_answer_to_use_is_502_without_detail() {
    let hash = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let malformed = [
        String::new(),
        "null".to_owned(),
        "not json".to_owned(),
        r#"{"tenant_id":"acme","extension_id":"com.example.hello"}"#.to_owned(),
        IDENTITY.replace(hash, "sha256:short"),
        IDENTITY.replace("acme", ""),
        IDENTITY.replace("acme", r"a\r\nb"),
        format!("{IDENTITY} and more"),
    ];
    let mut behaviours = vec![
        ("500", Behaviour::Says(StatusCode::INTERNAL_SERVER_ERROR, "secret detail".into())),
        ("503", Behaviour::FailsForAll),
        ("400", Behaviour::Says(StatusCode::BAD_REQUEST, "secret detail".into())),
        ("204", Behaviour::Says(StatusCode::NO_CONTENT, String::new())),
        ("redirect", Behaviour::RedirectsTo("/elsewhere".into())),
        ("oversized", Behaviour::Says(StatusCode::OK, format!("{IDENTITY}{}", " ".repeat(64 * 1024)))),
        ("oversized 404", Behaviour::Says(StatusCode::NOT_FOUND, " ".repeat(64 * 1024 + 1))),
    ];
    behaviours.extend(malformed.into_iter().map(|body| ("malformed", Behaviour::Says(StatusCode::OK, body))));
    for (name, behaviour) in behaviours {
        let (_registry, runner) = runner_with(behaviour).await;
        let answer = runner.get(KNOWN).await;
        assert_eq!((answer.status, answer.code().as_str()), (502, "RegistryUnavailable"), "{name}");
        assert!(!answer.body.contains("secret"), "{}", answer.body);
    }
}

#[tokio::test]
async fn an_answer_of_exactly_the_limit_is_read() {
    let body = format!("{IDENTITY}{}", " ".repeat(64 * 1024 - IDENTITY.len()));
    let (_registry, runner) = runner_with(Behaviour::Says(StatusCode::OK, body)).await;
    assert_eq!(runner.get(KNOWN).await.body, IDENTITY);
}

#[tokio::test]
async fn a_registry_that_is_silent_is_502_after_the_timeout() {
    let registry = RegistryDouble::start(Behaviour::NeverAnswers).await;
    let runner = Runner::start_with_timeout(&registry.url(), 50).await;
    let answer = runner.get(KNOWN).await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "RegistryUnavailable"));
}

#[tokio::test]
async fn a_registry_that_is_gone_is_502_until_it_is_back() {
    let registry = RegistryDouble::start(Behaviour::Answers).await;
    let (address, url) = (registry.address, registry.url());
    let runner = Runner::start(&url).await;
    assert_eq!(runner.get(KNOWN).await.status, 200);

    drop(registry);
    // Connections that the double still has are served on; nothing new is accepted.
    support::eventually("the double is gone", async || {
        tokio::net::TcpStream::connect(address).await.is_err()
    })
    .await;
    let gone = Runner::start(&url).await;
    let answer = gone.get(KNOWN).await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "RegistryUnavailable"));
    assert!(!answer.body.contains(&address.port().to_string()), "no address: {}", answer.body);

    let _back = RegistryDouble::start_at(address, Behaviour::Answers).await;
    assert_eq!(gone.get(KNOWN).await.status, 200);
}

#[tokio::test]
async fn other_paths_are_404_and_other_methods_405() {
    let (registry, runner) = runner_with(Behaviour::Answers).await;
    for path in ["/index.html", "//", "/readyz", "/metrics", "/v1/execute", "/healthz/"] {
        let answer = get_from(runner.public, path, KNOWN).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "NotFound"), "{path}");
    }
    for (method, path) in
        [("POST", "/"), ("DELETE", "/"), ("OPTIONS", "/"), ("BREW", "/"), ("POST", "/healthz")]
    {
        let ask = format!("{method} {path} HTTP/1.1\r\nhost: {KNOWN}\r\nconnection: close\r\n\r\n");
        let answer = say(runner.public, ask.as_bytes()).await;
        assert_eq!((answer.status, answer.code().as_str()), (405, "MethodNotAllowed"), "{method}");
        assert_eq!(answer.header("allow"), Some("GET, HEAD"));
    }
    assert_eq!(registry.questions(), 0);
}

#[tokio::test]
async fn healthz_says_ok_and_nothing_else() {
    let (registry, runner) = runner_with(Behaviour::FailsForAll).await;
    let answer = get_from(runner.public, "/healthz", "10.0.0.1:8080").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
    answer.check_common_headers();
    assert_eq!(registry.questions(), 0);
}

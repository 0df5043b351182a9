//! What the internal listener answers, over real sockets. The registry is a double.

mod support;

use support::{Behaviour, KNOWN, RegistryDouble, Runner, eventually};

#[tokio::test]
async fn ready_once_the_registry_answers() {
    let registry = RegistryDouble::start(Behaviour::Answers).await;
    let runner = Runner::start(&registry.url()).await;
    eventually("ready", async || runner.internal("/readyz").await.status == 200).await;
    let answer = runner.internal("/healthz").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"));
}

#[tokio::test]
async fn names_what_it_waits_for() {
    let registry = RegistryDouble::start(Behaviour::FailsForAll).await;
    let runner = Runner::start(&registry.url()).await;
    let expected = format!("waiting for the registry at {} to answer (last: status)", registry.url());
    eventually("the probe's failure is told", async || {
        let answer = runner.internal("/readyz").await;
        assert_eq!(answer.status, 503);
        assert!(answer.body.contains("\nno pages are served: "), "it can verify nothing: {}", answer.body);
        answer.body.lines().next() == Some(&*expected)
    })
    .await;
    assert_eq!(runner.internal("/healthz").await.status, 200, "alive, though not ready");
}

#[tokio::test]
async fn becomes_ready_when_the_registry_comes_later() {
    let first = RegistryDouble::start(Behaviour::FailsForAll).await;
    let address = first.address;
    drop(first);
    eventually("the port is free", async || tokio::net::TcpStream::connect(address).await.is_err()).await;
    let runner = Runner::start(&format!("http://{address}")).await;
    eventually("unreachable is told", async || {
        runner.internal("/readyz").await.body.contains("(last: unreachable)")
    })
    .await;
    let _registry = RegistryDouble::start_at(address, Behaviour::Answers).await;
    eventually("ready", async || runner.internal("/readyz").await.status == 200).await;
}

#[tokio::test]
async fn counts_with_bounded_labels() {
    let registry = RegistryDouble::start(Behaviour::Answers).await;
    let runner = Runner::start(&registry.url()).await;
    runner.get(KNOWN).await;
    runner.get("unknown-1.example").await;
    runner.get("unknown-2.example").await;
    runner.get("not a host").await;
    let answer = runner.internal("/metrics").await;
    assert_eq!(answer.status, 200);
    assert!(
        answer.header("content-type").unwrap().starts_with("application/openmetrics-text; version=1.0.0")
    );
    for line in [
        r#"annex_runner_requests_total{class="2xx"} 1"#,
        r#"annex_runner_requests_total{class="4xx"} 3"#,
        r#"annex_runner_lookup_duration_seconds_count{outcome="found"} 1"#,
        r#"annex_runner_lookup_duration_seconds_count{outcome="unknown"} 2"#,
    ] {
        assert!(answer.body.contains(line), "{line} is not in\n{}", answer.body);
    }
    assert!(!answer.body.contains("unknown-1") && !answer.body.contains("acme"), "{}", answer.body);
    assert!(answer.body.ends_with("# EOF\n"));
}

#[tokio::test]
async fn what_is_public_is_not_here() {
    let registry = RegistryDouble::start(Behaviour::Answers).await;
    let runner = Runner::start(&registry.url()).await;
    let answer = support::get_from(runner.internal, "/", KNOWN).await;
    assert_eq!(answer.status, 404);
    assert_eq!(registry.questions(), 0);
}

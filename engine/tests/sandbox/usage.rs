//! What a call used is known, however it ended.

use std::sync::Arc;
use std::time::Duration;

use annex_engine::{CallContext, CallError, Egress, EgressBody, EgressError, Patience, Usage};
use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};

use crate::bench::{Bench, counting_engine, wait_for};
use crate::guest;

/// Answers with what it was sent, twice.
struct Twice;

#[async_trait]
impl Egress for Twice {
    async fn send(
        &self,
        _: &CallContext,
        request: Request<EgressBody>,
        _: Patience,
    ) -> Result<Response<EgressBody>, EgressError> {
        let body = request.into_body().collect().await?.to_bytes();
        let twice = Bytes::from([&body[..], &body[..]].concat());
        Ok(Response::new(Full::new(twice).map_err(|never| match never {}).boxed_unsync()))
    }
}

async fn twice() -> Bench {
    let mut bench = Bench::with(counting_engine(), guest::component()).await;
    bench.host.egress = Arc::new(Twice);
    bench
}

/// A megabyte, which is the least that the guest has.
const SOME_MEMORY: usize = 1 << 20;

#[tokio::test]
async fn of_a_call_that_is_answered() {
    let bench = twice().await;
    let outcome = bench.get("/exchange?100000").await;
    assert_eq!(&outcome.answer.unwrap().body[..], b"200000");
    let usage = outcome.usage;
    assert_eq!((usage.egress_sent_bytes, usage.egress_received_bytes), (100_000, 200_000));
    assert_eq!(usage.egress_requests, 1);
    assert!(usage.memory_bytes >= SOME_MEMORY && usage.fuel > Some(0), "{usage:?}");
    assert!(usage.duration > Duration::ZERO);
}

#[tokio::test]
async fn of_a_call_that_fails_after_it_was_sent_an_answer() {
    let bench = twice().await;
    let (error, usage) = bench.attack_as(bench.call("/exchange-then-panic?100000")).await;
    assert_eq!(error, CallError::Trap { reason: "it gave up" });
    assert_eq!((usage.egress_sent_bytes, usage.egress_received_bytes), (100_000, 200_000));
    assert_eq!(usage.egress_requests, 1);
    assert!(usage.memory_bytes >= SOME_MEMORY && usage.fuel > Some(0), "{usage:?}");
}

#[tokio::test]
async fn of_a_call_that_takes_too_long() {
    let bench = twice().await.within(Duration::from_secs(1));
    for path in ["/spin", "/sleep"] {
        let (error, usage) = bench.attack_as(bench.call(path)).await;
        assert_eq!(error.code(), "Timeout", "{path}");
        assert!(usage.duration >= Duration::from_secs(1), "{path}: {usage:?}");
        assert!(usage.memory_bytes >= SOME_MEMORY && usage.fuel > Some(0), "{path}: {usage:?}");
    }
}

#[tokio::test]
async fn of_a_call_that_takes_too_much() {
    let bench = twice().await;
    let (error, usage) = bench.attack_as(bench.call("/allocate")).await;
    assert_eq!(error.code(), "MemoryLimit");
    assert!(usage.memory_bytes <= 64 << 20 && usage.memory_bytes > 32 << 20, "{usage:?}");

    let (error, usage) = bench.attack_as(bench.call("/body")).await;
    assert_eq!(error.code(), "ResponseTooLarge");
    assert!(usage.memory_bytes >= SOME_MEMORY && usage.fuel > Some(0), "{usage:?}");
}

#[tokio::test]
async fn of_a_call_that_was_not_started() {
    let mut bench = twice().await;
    bench.limits.concurrency = Some(0);
    let (error, usage) = bench.attack_as(bench.call("/hello")).await;
    assert_eq!(error.code(), "Busy");
    // Who asks again as soon as it is heard does not ask without end.
    assert!(usage.duration >= Duration::from_millis(50), "{usage:?}");
    assert_eq!(usage, Usage { duration: usage.duration, ..Usage::default() });
}

/// That nothing is held after a call says something only if something is held during it.
#[tokio::test]
async fn what_a_running_call_holds_is_seen() {
    let bench = Bench::new().await;
    let seen = async {
        wait_for(&bench.engine, 1).await;
        while bench.engine.held().instances == 0 {
            tokio::task::yield_now().await;
        }
        bench.engine.held()
    };
    let held = tokio::select! {
        outcome = bench.get("/sleep") => panic!("{outcome:?}"),
        held = seen => held,
    };
    assert_eq!((held.instances, held.stacks), (1, 1));
    assert!(held.core_instances >= 1 && held.memories >= 1, "{held:?}");
    bench.is_unharmed().await;
}

//! What hostile guests get.

use std::sync::Arc;
use std::time::Duration;

use annex_engine::{BadAnswer, CallError, CallLimits, KeptLog, Kv, KvError, Outcome, Scope};
use async_trait::async_trait;

use crate::bench::{
    Bench, context, counting_engine, engine, engine_with, everything, load, options, wait_for,
};
use crate::{guest, wat_guest};

const SHORT: Duration = Duration::from_millis(300);

fn timeout() -> CallError {
    CallError::Timeout { limit: SHORT }
}

fn bad(answer: BadAnswer) -> CallError {
    CallError::BadResponse(answer)
}

#[tokio::test]
async fn a_guest_that_spins_is_ended() {
    let bench = Bench::new().await.within(SHORT);
    for path in ["/spin", "/spin-in-host", "/spin-after"] {
        assert_eq!(bench.attack(path).await, timeout(), "{path}");
    }
}

/// On one thread: the spinning guest itself has to make way.
#[tokio::test(flavor = "current_thread")]
async fn a_guest_that_spins_lets_others_run() {
    let bench = Bench::new().await;
    let spin = bench.get("/spin");
    let honest = async {
        wait_for(&bench.engine, 1).await;
        assert_eq!(bench.text("/hello").await, "hello");
    };
    tokio::select! {
        biased;
        spun = spin => panic!("{spun:?}"),
        () = honest => {}
    }
    bench.is_unharmed().await;
}

#[tokio::test]
async fn a_guest_that_spins_before_it_is_called_is_ended() {
    let module =
        r#"(func $spin (loop $again (br $again))) (start $spin) (func (export "handle") (param i32 i32))"#;
    let bench = Bench::wat(module).await.within(SHORT);
    assert_eq!(bench.attack("/").await, timeout());
}

#[tokio::test]
async fn a_guest_that_sleeps_is_ended() {
    let bench = Bench::new().await.within(SHORT);
    assert_eq!(bench.attack("/sleep").await, timeout());
}

/// A store that never answers.
struct Silent;

#[async_trait]
impl Kv for Silent {
    async fn get(&self, _: &annex_engine::CallContext, _: &str) -> Result<Option<Vec<u8>>, KvError> {
        std::future::pending().await
    }
    async fn set(&self, _: &annex_engine::CallContext, _: &str, _: Vec<u8>) -> Result<(), KvError> {
        std::future::pending().await
    }
    async fn compare_and_set(
        &self,
        _: &annex_engine::CallContext,
        _: &str,
        _: Option<Vec<u8>>,
        _: Vec<u8>,
    ) -> Result<bool, KvError> {
        std::future::pending().await
    }
    async fn delete(&self, _: &annex_engine::CallContext, _: &str) -> Result<(), KvError> {
        std::future::pending().await
    }
    async fn list_keys(
        &self,
        _: &annex_engine::CallContext,
        _: &str,
        _: Option<&str>,
        _: u32,
    ) -> Result<Vec<String>, KvError> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_guest_in_a_host_call_that_does_not_return_is_ended() {
    let mut bench = Bench::new().await.within(SHORT);
    bench.host.kv = Arc::new(Silent);
    assert_eq!(bench.attack("/kv-get?key").await, timeout());
}

#[tokio::test]
async fn whoever_hangs_up_frees_the_instance() {
    let bench = Bench::new().await;
    for path in ["/sleep", "/spin", "/body"] {
        let mut call = bench.call(path);
        // More than any machine fills before the caller is gone.
        call.limits.body_bytes = usize::MAX;
        let hangs_up = async {
            wait_for(&bench.engine, 1).await;
            // It has begun: the first instance took its room.
            while bench.engine.held().instances == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            outcome = bench.extension.call(call) => panic!("{path}: {outcome:?}"),
            () = hangs_up => {}
        }
        bench.is_unharmed().await;
    }
}

#[tokio::test]
async fn a_guest_that_allocates_hears_that_it_was_memory() {
    let bench = Bench::new().await;
    assert_eq!(bench.attack("/allocate").await, CallError::MemoryLimit { limit: 64 << 20 });
}

#[tokio::test]
async fn a_call_has_no_more_memory_than_the_engine_gives() {
    let mut bench = Bench::new().await;
    bench.limits.memory_bytes = usize::MAX;
    assert_eq!(bench.attack("/allocate").await, CallError::MemoryLimit { limit: options().memory_bytes });
}

#[tokio::test]
async fn a_guest_that_is_refused_memory_may_go_on() {
    let bench = Bench::new().await;
    let Outcome { answer, usage } = bench.get("/allocate-and-live").await;
    assert_eq!(&answer.unwrap().body[..], b"true");
    assert!(usage.memory_bytes <= 64 << 20 && usage.memory_bytes > 60 << 20, "{usage:?}");
    bench.is_unharmed().await;
}

#[tokio::test]
async fn memory_that_a_guest_begins_with_counts() {
    // 64 MiB are 1,024 pages, which is what the engine has; the call gets half of it.
    let mut bench = Bench::wat(&format!("(memory 1024) {}", wat_guest::IDLE)).await;
    bench.limits.memory_bytes = 32 << 20;
    assert_eq!(bench.attack("/").await, CallError::MemoryLimit { limit: 32 << 20 });
}

#[tokio::test]
async fn a_guest_that_grows_tables_hears_that_it_was_tables() {
    let module = r#"(table $t 1 funcref)
      (func (export "handle") (param i32 i32)
        (loop $more (br_if $more (i32.ne (i32.const -1) (table.grow $t (ref.null func) (i32.const 1000)))))
        unreachable)"#;
    let bench = Bench::wat(module).await;
    let limit = CallLimits::default().table_elements;
    assert_eq!(bench.attack("/").await, CallError::TableLimit { limit });
}

#[tokio::test]
async fn a_guest_that_recurses_is_ended() {
    let bench = Bench::new().await;
    assert_eq!(bench.attack("/recurse").await, CallError::Trap { reason: "it recursed too deep" });
}

#[tokio::test]
async fn a_guest_that_panics_or_exits_ends_alone() {
    let bench = Bench::new().await;
    assert_eq!(bench.attack("/panic").await, CallError::Trap { reason: "it gave up" });
    assert_eq!(bench.attack("/exit").await, CallError::Trap { reason: "it exited" });
}

#[tokio::test]
async fn a_guest_opens_so_many_resources() {
    let bench = Bench::new().await;
    assert_eq!(bench.text("/resources?500").await, "500");
    let limit = CallLimits::default().resources;
    for path in ["/resources?100000", "/timers?100000"] {
        assert_eq!(bench.attack(path).await, CallError::TooManyResources { limit }, "{path}");
    }
}

#[tokio::test]
async fn a_guest_makes_the_host_hold_little() {
    let bench = Bench::new().await;
    // Three resources each, so that these are nearly all that it may open.
    let held: usize = bench.text("/buffers?300").await.parse().unwrap();
    assert!(held <= 16 << 20, "{held}");
    bench.is_unharmed().await;
}

#[tokio::test]
async fn a_guest_hands_over_so_many_bytes_at_once() {
    let bench = Bench::new().await;
    for path in ["/host-bytes", "/random"] {
        assert_eq!(
            bench.attack(path).await,
            CallError::Trap { reason: "it misused a host function" },
            "{path}"
        );
    }
}

#[tokio::test]
async fn fuel_ends_a_guest_where_it_is_counted() {
    let mut bench = Bench::with(counting_engine(), guest::component()).await;
    let used = bench.get("/hello").await.usage.fuel.unwrap();
    assert!(used > 0);
    bench.limits.fuel = Some(used * 2);
    let outcome = bench.get("/hello").await;
    assert_eq!((outcome.answer.unwrap().status.as_u16(), outcome.usage.fuel), (200, Some(used)));
    let (error, usage) = bench.attack_as(bench.call("/spin")).await;
    assert_eq!((error, usage.fuel), (CallError::OutOfFuel, Some(used * 2)));
}

#[tokio::test]
async fn a_limit_of_fuel_is_not_ignored_where_it_is_not_counted() {
    let mut bench = Bench::wat(wat_guest::IDLE).await;
    bench.limits.fuel = Some(1);
    assert_eq!(bench.attack("/").await, CallError::FuelNotCounted);
}

#[tokio::test]
async fn an_answer_is_so_large() {
    let bench = Bench::new().await;
    let limit = CallLimits::default().body_bytes;
    assert_eq!(bench.attack("/body").await, CallError::ResponseTooLarge { limit });
}

#[tokio::test]
async fn headers_are_few_and_short() {
    let bench = Bench::new().await;
    assert_eq!(bench.get("/headers?64").await.answer.unwrap().headers.len(), 64);
    assert_eq!(bench.attack("/headers?65").await, bad(BadAnswer::HeaderCount(64)));
    let limit = CallLimits::default().header_bytes;
    for path in ["/headers?100000", "/large-header"] {
        assert_eq!(bench.attack(path).await, CallError::HeadersTooLarge { limit }, "{path}");
    }
}

#[tokio::test]
async fn a_header_breaks_no_line() {
    let bench = Bench::new().await;
    let answer = bench.get("/bad-headers").await.answer.unwrap();
    assert_eq!((&answer.body[..], answer.headers.len()), (&b"true"[..], 0));
    bench.is_unharmed().await;
}

#[tokio::test]
async fn cookies_and_lengths_are_dropped() {
    let bench = Bench::new().await;
    let answer = bench.get("/set-cookie").await.answer.unwrap();
    assert_eq!(answer.headers.keys().map(http::HeaderName::as_str).collect::<Vec<_>>(), ["x-mine"]);
    bench.is_unharmed().await;
}

#[tokio::test]
async fn a_status_is_final() {
    let bench = Bench::new().await;
    for status in [100, 101, 103, 600, 999] {
        assert_eq!(bench.attack(&format!("/status?{status}")).await, bad(BadAnswer::Status(status)));
    }
    assert_eq!(bench.get("/status?503").await.answer.unwrap().status, 503);
}

#[tokio::test]
async fn no_answer_is_an_error() {
    let bench = Bench::new().await;
    assert_eq!(bench.attack("/no-answer").await, bad(BadAnswer::Missing));
    assert_eq!(bench.attack("/error").await, bad(BadAnswer::Reported));
}

#[tokio::test]
async fn half_an_answer_is_none() {
    let bench = Bench::new().await;
    assert_eq!(bench.attack("/unfinished").await, bad(BadAnswer::Body));
    assert_eq!(bench.attack("/half-then-panic").await, CallError::Trap { reason: "it gave up" });
}

#[tokio::test]
async fn what_is_logged_beyond_the_limit_is_left_out() {
    let mut bench = Bench::new().await;
    let log = Arc::new(KeptLog::default());
    bench.host.log = Arc::clone(&log) as _;
    let Outcome { answer, usage } = bench.get("/log?1000").await;
    assert_eq!(&answer.unwrap().body[..], b"logged");
    let written: usize = log.lines().iter().map(|(_, line)| line.len()).sum();
    assert!(written <= 64 << 10 && written > 48 << 10, "{written}");
    assert!(usage.log_bytes_dropped > 3 << 20, "{usage:?}");

    let before = log.lines().len();
    assert_eq!(bench.text("/print?10000").await, "printed");
    let lines = log.lines().split_off(before);
    assert!(lines.iter().map(|(_, line)| line.len()).sum::<usize>() <= 64 << 10);
    assert!(!lines.is_empty());
    bench.is_unharmed().await;
}

#[tokio::test]
async fn a_flood_is_sent_away_by_its_own_scope() {
    let engine = engine_with(annex_engine::EngineOptions {
        concurrency: 3,
        tenant_concurrency: 2,
        install_concurrency: 2,
        ..options()
    });
    let bench = Bench::with(engine, guest::component()).await;
    let start = |tenant: &str, install: &str| {
        let mut call = bench.call("/sleep");
        call.context = context(tenant);
        install.clone_into(&mut call.context.install);
        call.limits.concurrency = Some(1);
        let extension = bench.extension.clone();
        tokio::spawn(async move { extension.call(call).await.answer })
    };
    let busy = |scope| CallError::Busy { scope };
    let mut running = vec![start("a", "1")];
    wait_for(&bench.engine, 1).await;
    assert_eq!(start("a", "1").await.unwrap().unwrap_err(), busy(Scope::Install));
    running.push(start("a", "2"));
    wait_for(&bench.engine, 2).await;
    assert_eq!(start("a", "3").await.unwrap().unwrap_err(), busy(Scope::Tenant));
    running.push(start("b", "1"));
    wait_for(&bench.engine, 3).await;
    assert_eq!(start("c", "1").await.unwrap().unwrap_err(), busy(Scope::Engine));
    for call in &running {
        call.abort();
    }
    wait_for(&bench.engine, 0).await;
    bench.is_unharmed().await;
}

#[tokio::test]
async fn nothing_of_one_call_is_there_in_the_next() {
    let module = r#"(global $calls (mut i32) (i32.const 0))
      (func (export "handle") (param i32 i32)
        (if (global.get $calls) (then unreachable))
        (global.set $calls (i32.const 1)))"#;
    let bench = Bench::wat(module).await;
    for _ in 0..3 {
        // It gives no answer, but it does not trap.
        assert_eq!(bench.attack("/").await, bad(BadAnswer::Missing));
    }
}

#[tokio::test]
async fn an_engine_that_is_dropped_still_ends_its_guests() {
    let engine = engine();
    let extension = load(&engine, guest::component(), everything()).await.unwrap();
    let bench = Bench::wat(wat_guest::IDLE).await.within(SHORT);
    let call = bench.call("/spin");
    drop(engine);
    assert_eq!(extension.call(call).await.answer.unwrap_err(), timeout());
}

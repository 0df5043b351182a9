//! What cannot be executed, and guests that misbehave: the documented answer, and the next call is well.

use annex_grant::Limits;
use serde_json::json;

use crate::{
    gateway::{Gateway, executing},
    guests,
    support::{Runner, eventually},
    world::{HELLO, HOST, World, end},
};

async fn world() -> (World, Gateway, Runner) {
    let world = World::new().await;
    let manifest = json!({ "name": HELLO, "publisher": "example.com", "version": "1.0.0" });
    let hash = world.publish_as(&manifest, guests::hostile(), &[]);
    world.install(HOST, HELLO, &hash);
    let mut gateway =
        Gateway::new(HELLO, &hash, &["storage.kv", "secrets", "log", "metrics", "context", "http.fetch"]);
    gateway.limits = Limits { timeout_ms: 20_000, memory_mb: 32, fuel: None };
    let runner = executing(&world, &[]).await;
    (world, gateway, runner)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_misbehaves_gets_what_is_documented_and_the_next_call_is_well() {
    let (_world, mut gateway, runner) = world().await;
    for (path, status, code) in [
        ("/allocate", 507, "GuestLimit"),
        ("/recurse", 500, "GuestFailed"),
        ("/panic", 500, "GuestFailed"),
        ("/exit", 500, "GuestFailed"),
        ("/no-answer", 500, "GuestFailed"),
        ("/body", 502, "ResponseTooLarge"),
        ("/status?101", 500, "GuestFailed"),
    ] {
        let (answered, error) = gateway.call(&runner, "GET", path, "").await.unwrap_err();
        assert_eq!((answered.as_u16(), error.code.as_str()), (status, code), "{path}: {error:?}");
        assert_eq!(gateway.told(&runner, "GET", "/hello", "").await, (200, "hello".into()), "after {path}");
    }
    gateway.limits.timeout_ms = 300;
    for path in ["/spin", "/sleep"] {
        let (answered, error) = gateway.call(&runner, "GET", path, "").await.unwrap_err();
        assert_eq!((answered.as_u16(), error.code.as_str()), (504, "Timeout"), "{path}: {error:?}");
    }
    gateway.limits.timeout_ms = 20_000;
    assert_eq!(gateway.told(&runner, "GET", "/hello", "").await, (200, "hello".into()));
    end(runner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cookie_is_set_and_nothing_is_fetched_that_nobody_allowed() {
    let (_world, gateway, runner) = world().await;
    let answer = gateway.call(&runner, "GET", "/set-cookie", "").await.unwrap();
    let names: Vec<_> = answer.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"x-mine") && !names.contains(&"set-cookie"), "{names:?}");
    let (_, fetched) = gateway.told(&runner, "GET", "/fetch?127.0.0.1", "").await;
    assert!(fetched.contains("HttpRequestDenied"), "{fetched}");
    end(runner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_install_has_so_many_calls_at_a_time_and_no_more() {
    let (_world, mut gateway, runner) = world().await;
    assert_eq!(gateway.told(&runner, "GET", "/hello", "").await.0, 200);
    gateway.limits.timeout_ms = 5_000;
    // 16 calls in all, so 2 of an install.
    let sleeping = async {
        futures::join!(gateway.call(&runner, "GET", "/sleep", ""), gateway.call(&runner, "GET", "/sleep", ""))
    };
    let third = async {
        eventually("two calls run", async || {
            runner.internal("/metrics").await.body.contains("annex_runner_calls_running 2")
        })
        .await;
        // Admitted or not yet: one that is begun is about to be.
        eventually("a third is refused", async || match gateway.call(&runner, "GET", "/hello", "").await {
            Ok(_) => false,
            Err((status, error)) => {
                assert_eq!((status.as_u16(), error.code.as_str()), (429, "Busy"));
                true
            }
        })
        .await;
    };
    let ((first, second), ()) = futures::join!(sleeping, third);
    for ended in [first, second] {
        assert_eq!(ended.unwrap_err().1.code.as_str(), "Timeout");
    }
    assert_eq!(gateway.told(&runner, "GET", "/hello", "").await.0, 200);
    end(runner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_had_or_trusted_is_not_executed() {
    let (world, mut gateway, runner) = world().await;
    assert_eq!(gateway.told(&runner, "GET", "/hello", "").await.0, 200);
    world.write("denylist", &format!("content {}\n", gateway.hash));
    eventually("it is on the denylist", async || match gateway.call(&runner, "GET", "/hello", "").await {
        Ok(_) => false,
        Err((status, error)) => {
            assert_eq!((status.as_u16(), error.code.as_str()), (422, "VerificationFailed"));
            true
        }
    })
    .await;
    gateway.hash = format!("sha256:{}", "ab".repeat(32));
    let (status, error) = gateway.call(&runner, "GET", "/hello", "").await.unwrap_err();
    assert_eq!((status.as_u16(), error.code.as_str()), (503, "BundleUnavailable"));
    end(runner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_component_is_refused_and_compiled_code_of_a_publishers_is_none() {
    let world = World::new().await;
    let manifest = json!({ "name": HELLO, "publisher": "example.com", "version": "1.0.0" });
    let hash = world.publish_as(&manifest, b"\0asm\x0d\0\x01\0 rubbish", &[]);
    let runner = executing(&world, &[]).await;
    let gateway = Gateway::new(HELLO, &hash, &[]);
    let (status, error) = gateway.call(&runner, "GET", "/hello", "").await.unwrap_err();
    assert_eq!((status.as_u16(), error.code.as_str()), (500, "GuestFailed"));
    assert!(error.message.starts_with("NotAComponent"), "{}", error.message);
    end(runner).await;
}

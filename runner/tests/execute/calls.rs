//! What is granted is done, by the guest that was granted it, with what it was granted.

use serde_json::{Value, json};

use crate::{
    gateway::{Gateway, NOTES, executing},
    guests,
    world::{World, end},
};

const NOTES_NEED: [&str; 3] = ["storage.kv", "context", "log"];

async fn notes() -> (World, Gateway) {
    let world = World::new().await;
    let manifest =
        json!({ "name": NOTES, "publisher": "example.com", "version": "1.0.0", "capabilities": NOTES_NEED });
    let hash = world.publish_as(&manifest, guests::notes(), &[]);
    let gateway = Gateway::new(NOTES, &hash, &NOTES_NEED);
    (world, gateway)
}

fn parsed(body: &str) -> Value {
    serde_json::from_str(body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_keeps_notes_of_each_tenant_also_over_a_restart() {
    let (world, mut gateway) = notes().await;
    let runner = executing(&world, &[]).await;
    let (status, body) = gateway.told(&runner, "POST", "/notes", r#"{"text":"buy milk"}"#).await;
    assert_eq!((status, &parsed(&body)["text"]), (201, &json!("buy milk")));
    end(runner).await;

    let runner = executing(&world, &[]).await;
    let (status, body) = gateway.told(&runner, "GET", "/notes", "").await;
    let listed = parsed(&body);
    assert_eq!(
        (status, &listed["tenant"], &listed["notes"][0]["text"]),
        (200, &json!("acme"), &json!("buy milk"))
    );
    gateway.tenant = "globex".to_owned();
    let (_, body) = gateway.told(&runner, "GET", "/notes", "").await;
    assert_eq!(parsed(&body), json!({ "tenant": "globex", "notes": [] }));
    end(runner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_granted_is_not_linked() {
    let (world, mut gateway) = notes().await;
    let runner = executing(&world, &[]).await;
    gateway.capabilities = vec!["context", "log"];
    let (status, error) = gateway.call(&runner, "GET", "/notes", "").await.unwrap_err();
    assert_eq!(
        (status.as_u16(), error.code.as_str(), error.message.as_str()),
        (403, "CapabilityDenied", "storage.kv")
    );
    gateway.capabilities = NOTES_NEED.to_vec();
    assert_eq!(gateway.told(&runner, "GET", "/notes", "").await.0, 200);
    gateway.capabilities.push("time-travel");
    let (status, error) = gateway.call(&runner, "GET", "/notes", "").await.unwrap_err();
    assert_eq!(
        (status.as_u16(), error.code.as_str(), error.message.as_str()),
        (403, "CapabilityDenied", "time-travel")
    );
    end(runner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_counted_with_what_they_used() {
    let (world, gateway) = notes().await;
    let runner = executing(&world, &[]).await;
    gateway.told(&runner, "GET", "/notes", "").await;
    let metrics = runner.internal("/metrics").await.body;
    for line in ["annex_runner_calls_total{outcome=\"Answered\"} 1", "annex_runner_calls_running 0"] {
        assert!(metrics.contains(line), "{metrics}");
    }
    assert!(metrics.contains("annex_runner_call_memory_bytes_count 1"), "{metrics}");
    end(runner).await;
}

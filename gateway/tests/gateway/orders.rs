//! `POST /v1/orders` of the broker: what an extension stored goes, for whoever has an order for just that.

use annex_grant::{BodyDigest, Grant, LARGEST_ORDER};
use axum::{body::Body, http::Request};
use serde_json::{Value, json};

use crate::{
    storage::{OF_GLOBEX, Stored, ask, get, refused, set, value},
    support::{Answer, EXTENSION, HASH, UID, World},
};

fn order(word: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut context = json!({
        "request_id": "r-1", "tenant_id": "acme", "extension_id": EXTENSION, "install_id": UID, "content_hash": HASH,
    });
    change(&mut context);
    json!({ word: context }).to_string()
}

fn purge() -> String {
    order("purge", |_| {})
}

/// A token for the broker, of an order of these bytes. No capability is needed.
fn signed(stored: &Stored, body: &str, change: impl FnOnce(&mut Grant)) -> String {
    stored.signed(|grant| {
        grant.body = BodyDigest::of(body.as_bytes());
        grant.capabilities = Default::default();
        change(grant);
    })
}

async fn send(world: &World, token: &str, body: &str) -> Answer {
    let request = Request::post("/v1/orders");
    let request = if token.is_empty() { request } else { request.header("x-annex-grant", token) };
    world.send_to_broker(request.body(Body::from(body.to_owned())).unwrap()).await
}

#[tokio::test]
async fn what_is_ordered_to_go_goes_and_nothing_else_also_when_the_install_is_gone() {
    let stored = Stored::new().await;
    let world = &stored.world;
    world.install("globex", |install| {
        install["metadata"]["uid"] = json!(OF_GLOBEX);
        install["status"]["routes"] = json!([]);
    });
    let globex = stored.signed(|grant| {
        grant.tenant = "globex".parse().unwrap();
        grant.install = OF_GLOBEX.parse().unwrap();
    });
    stored.told(&set("a", "of acme")).await;
    assert_eq!(ask(world, &globex, &set("a", "of globex")).await.status, 200);
    let (body, install) = (purge(), "0f5a2b31-7ab6-4a56-a0b2-3f5f9c1b3a11");
    assert_eq!(send(world, &signed(&stored, &body, |_| {}), &body).await.status, 204);
    assert_eq!(stored.told(&get("a")).await, json!({ "value": null }));

    stored.told(&set("a", "once more")).await;
    let body = order("purge", |context| context["install_id"] = json!(install));
    let token = || signed(&stored, &body, |grant| grant.install = install.parse().unwrap());
    // Whoever is not sure gives the order again, and each is carried out once: what is stored later is not under it.
    let once = token();
    for token in [&once, &token()] {
        assert_eq!(send(world, token, &body).await.status, 204);
    }
    assert_eq!(send(world, &once, &body).await.refusal(), (401, "Unauthenticated".into()));
    assert_eq!(stored.told(&get("a")).await, json!({ "value": null }));
    assert_eq!(ask(world, &globex, &get("a")).await.json(), value("of globex"));
}

#[tokio::test]
async fn nothing_goes_by_what_is_no_order_for_it() {
    let stored = Stored::new().await;
    let world = &stored.world;
    stored.told(&set("a", "kept")).await;
    let (body, prepare) = (purge(), order("prepare", |_| {}));
    let of_globex = order("purge", |context| context["tenant_id"] = json!("globex"));
    let long = format!("{body}{}", " ".repeat(LARGEST_ORDER));
    let of_call = stored.token.clone();
    let runners_own = world.runner.only().headers["x-annex-grant"].to_str().unwrap().to_owned();
    let to_runner = signed(&stored, &body, |grant| grant.audience = "direct".parse().unwrap());
    let expired = signed(&stored, &body, |grant| {
        grant.issued.0 -= 120_000;
        grant.expires.0 = grant.issued.0 + 60_000;
    });
    for (what, token, body, refusal) in [
        ("no token", "", &body, refused(401, "Unauthenticated")),
        ("what came with a call", &of_call, &body, refused(401, "Unauthenticated")),
        ("the runner's own grant of a call", &runners_own, &body, refused(401, "Unauthenticated")),
        ("the same order for a runner", &to_runner, &body, refused(401, "Unauthenticated")),
        ("expired", &expired, &body, refused(401, "Unauthenticated")),
        ("for another order", &signed(&stored, &prepare, |_| {}), &body, refused(401, "Unauthenticated")),
        ("another's", &signed(&stored, &of_globex, |_| {}), &of_globex, refused(401, "Unauthenticated")),
        ("to prepare", &signed(&stored, &prepare, |_| {}), &prepare, refused(400, "MalformedRequest")),
        ("no order", &signed(&stored, "{}", |_| {}), &"{}".to_owned(), refused(400, "MalformedRequest")),
        ("too long", &signed(&stored, &long, |_| {}), &long, refused(413, "TooLarge")),
    ] {
        assert_eq!(send(world, token, body).await.refusal(), refusal, "{what}");
    }
    assert_eq!(stored.told(&get("a")).await, value("kept"));
    assert_eq!(send(world, &signed(&stored, &body, |_| {}), &body).await.status, 204);
}

#[tokio::test]
async fn an_install_that_is_taken_away_stores_only_while_its_handlers_are_called() {
    let stored = Stored::new().await;
    let set_flow = |flow: Value| {
        stored.world.install("acme", |install| {
            install["metadata"]["deletionTimestamp"] = json!("2026-11-03T12:00:00Z");
            install["status"]["flow"] = flow;
        });
    };
    let flow = |action: &str, stage: &str, status: &str| {
        json!({
            "id": "f-1", "action": action, "startedAt": "2026-11-03T12:00:00Z",
            "stages": [{ "name": "Publish", "status": "FINISHED" }, { "name": stage, "status": status }],
        })
    };
    set_flow(flow("Revoke", "Lifecycle/notes", "IN_PROGRESS"));
    stored.told(&set("a", "farewell")).await;

    // kcp has it already that they are called, and this gateway has not.
    let as_it_is = |uid: &str, flow: Value| {
        json!({
            "apiVersion": "annex.sh/v1alpha1", "kind": "Install",
            "metadata": { "name": "hello", "namespace": "default", "uid": uid, "deletionTimestamp": "2026-11-03T12:00:00Z" },
            "spec": { "extension": EXTENSION }, "status": { "flow": flow },
        })
    };
    set_flow(Value::Null);
    let called = flow("Revoke", "Lifecycle/notes", "IN_PROGRESS");
    for other in [as_it_is("another", called.clone()), as_it_is(UID, flow("Revoke", "Purge", "IN_PROGRESS"))]
    {
        stored.world.kcp.keep_install("acme", "hello", other.clone());
        assert_eq!(stored.refusal(&get("a")).await, refused(403, "Forbidden"), "{other}");
    }
    stored.world.kcp.keep_install("acme", "hello", as_it_is(UID, called));
    stored.told(&set("a", "farewell")).await;
    stored.world.kcp.keep_install("acme", "hello", as_it_is(UID, Value::Null));
    let mut ended = flow("Revoke", "Lifecycle/notes", "IN_PROGRESS");
    ended["finishedAt"] = json!("2026-11-03T12:01:00Z");
    for none in [
        Value::Null,
        ended,
        flow("Revoke", "Lifecycle/notes", "FINISHED"),
        flow("Revoke", "DomainClaim", "IN_PROGRESS"),
        flow("Upgrade", "Lifecycle/notes", "IN_PROGRESS"),
    ] {
        set_flow(none.clone());
        assert_eq!(stored.refusal(&get("a")).await, refused(403, "Forbidden"), "{none}");
    }
    set_flow(flow("Revoke", "Lifecycle/notes", "IN_PROGRESS"));
    assert_eq!(stored.told(&get("a")).await, value("farewell"));
}

#[tokio::test]
async fn where_there_is_no_store_nothing_has_to_go() {
    let (stored, world) = (Stored::new().await, World::new().await);
    let body = purge();
    // Both have the same keys.
    assert_eq!(send(&world, &signed(&stored, &body, |_| {}), &body).await.status, 204);
    assert_eq!(send(&world, "", &body).await.refusal(), refused(401, "Unauthenticated"));
}

#[tokio::test]
async fn of_those_who_bring_one_order_at_the_same_time_one_has_it_carried_out() {
    let stored = Stored::new().await;
    let (world, body) = (&stored.world, purge());
    stored.told(&set("a", "kept until then")).await;
    let token = signed(&stored, &body, |_| {});
    let answers = futures::future::join_all((0..20).map(|_| send(world, &token, &body))).await;
    let (done, others): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 204);
    assert_eq!(done.len(), 1, "{answers:?}");
    for other in others {
        assert_eq!(other.refusal(), refused(401, "Unauthenticated"));
    }
    assert_eq!(world.counted(r#"storage_operations_total{operation="purge",code="Answered"}"#), 1);
    // Whoever is not let in has ordered nothing.
    assert_eq!(world.counted(r#"storage_operations_total{operation="none",code="Unauthenticated"}"#), 19);
}

#[tokio::test]
async fn an_order_that_the_database_does_not_take_says_so_and_needs_another_grant() {
    let stored = Stored::new().await;
    let (world, body) = (&stored.world, purge());
    stored.store.close().await;
    let token = signed(&stored, &body, |_| {});
    let answer = send(world, &token, &body).await;
    assert_eq!(answer.refusal(), refused(503, "StorageUnavailable"));
    assert!(!answer.header("retry-after").is_empty());
    assert!(!answer.text().contains("sqlite"), "{answer:?}");
    assert_eq!(send(world, &token, &body).await.refusal(), refused(401, "Unauthenticated"));
    let again = signed(&stored, &body, |_| {});
    assert_eq!(send(world, &again, &body).await.refusal(), refused(503, "StorageUnavailable"));
    assert_eq!(world.counted(r#"storage_operations_total{operation="purge",code="StorageUnavailable"}"#), 2);
}

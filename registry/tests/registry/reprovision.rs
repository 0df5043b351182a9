//! `POST /api/installs/{id}/reprovision`.

use axum::{body::Body, http::Request};

use crate::support::{Answer, Options, World};

const ID: &str = "6f1c2a1e-6a53-4a8e-9b7e-0d8a4f4d3c11";
const HASH: &str = "sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a";

async fn ask(world: &World, id: &str, token: &str) -> Answer {
    let request = Request::post(format!("/api/installs/{id}/reprovision"))
        .header("authorization", format!("Bearer {token}"))
        .body(Body::empty())
        .unwrap();
    world.send(request).await
}

#[tokio::test]
async fn who_may_update_an_install_has_it_made_again() {
    let world = World::new().await;
    world.install("acme", ID, "acme--hello.apps.test", HASH);
    let answer = ask(&world, ID, "alice").await;
    assert_eq!(answer.status, 202, "{:?}", answer.json());
    let written = world.kcp.get("installs", "hello").unwrap();
    assert_eq!(written["metadata"]["annotations"]["annex.sh/reprovision"], answer.json()["requestedAt"]);
    let asked = world.kcp.asked().pop().unwrap();
    assert_eq!(asked["resourceAttributes"]["verb"], "update");
    assert_eq!(asked["resourceAttributes"]["namespace"], "default");
}

#[tokio::test]
async fn of_an_install_that_one_may_not_update_one_learns_nothing() {
    let world = World::new().await;
    world.install("acme", ID, "acme--hello.apps.test", HASH);
    let unknown = ask(&world, "11111111-6a53-4a8e-9b7e-0d8a4f4d3c11", "alice").await;
    let forbidden = ask(&world, ID, "dave").await;
    assert_eq!(unknown.refusal(), (404, "UnknownInstall".into()));
    assert_eq!(forbidden.body, unknown.body);
    // The account of another workspace has the same name as this one's.
    assert_eq!(ask(&world, ID, "account-of-globex").await.body, unknown.body);
    assert_eq!(ask(&world, ID, "account-of-acme").await.status, 202);
    assert_eq!(ask(&world, "x", "alice").await.refusal(), (400, "MalformedId".into()));
    assert_eq!(ask(&world, ID, "mallory").await.refusal(), (401, "Unauthenticated".into()));
    let world = World::with(Options { synced: false, ..Options::default() }).await;
    assert_eq!(ask(&world, ID, "alice").await.refusal(), (503, "NotSynced".into()));
}

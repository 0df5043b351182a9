//! Nothing is executed without a grant for exactly that.

use std::time::{Duration, SystemTime};

use annex_grant::{Grant, Limits, UnixMillis};
use serde_json::json;

use crate::{
    gateway::{Answer, Gateway, executing},
    guests,
    support::Runner,
    world::{HELLO, HOST, World, end, get},
};

async fn world() -> (World, Gateway, Runner) {
    let world = World::new().await;
    let manifest = json!({ "name": HELLO, "publisher": "example.com", "version": "1.0.0" });
    let hash = world.publish_as(&manifest, guests::hostile(), &[]);
    world.install(HOST, HELLO, &hash);
    let gateway = Gateway::new(HELLO, &hash, ALL);
    let runner = executing(&world, &[]).await;
    (world, gateway, runner)
}

const ALL: &[&str] = &["storage.kv", "secrets", "log", "metrics", "context", "http.fetch"];

fn is_refused(answer: &Answer) {
    let (status, error) = answer.as_ref().unwrap_err();
    assert_eq!((status.as_u16(), error.code.as_str()), (401, "GrantRefused"));
    assert_eq!(error.message, "there is no grant for this request", "whoever has none learns no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_is_for_one_request_of_one_runner_for_a_while() {
    let (_world, gateway, runner) = world().await;
    let request = gateway.request("GET", "/hello", "");
    let body = serde_json::to_vec(&request).unwrap();
    let grant = gateway.grant(&request, &body);
    let now = UnixMillis::from(SystemTime::now());

    is_refused(&gateway.send(&runner, "", body.clone()).await);
    is_refused(&gateway.send(&runner, "rubbish", body.clone()).await);
    is_refused(&gateway.send(&runner, &"A".repeat(9000), body.clone()).await);
    let long_ago =
        Grant { issued: UnixMillis(now.0 - 120_000), expires: UnixMillis(now.0 - 60_000), ..grant.clone() };
    is_refused(&gateway.send(&runner, &gateway.sign(&long_ago), body.clone()).await);
    let later = Grant {
        issued: now.after(Duration::from_secs(60)),
        expires: now.after(Duration::from_secs(120)),
        ..grant.clone()
    };
    is_refused(&gateway.send(&runner, &gateway.sign(&later), body.clone()).await);
    let of_another = Grant { audience: "annex-other/exec".parse().unwrap(), ..grant.clone() };
    is_refused(&gateway.send(&runner, &gateway.sign(&of_another), body.clone()).await);
    let mut changed = body.clone();
    changed.push(b' ');
    is_refused(&gateway.send(&runner, &gateway.sign(&grant), changed).await);

    let token = gateway.sign(&grant);
    assert_eq!(gateway.send(&runner, &token, body.clone()).await.unwrap().status, 200);
    is_refused(&gateway.send(&runner, &token, body).await);
    let metrics = runner.internal("/metrics").await.body;
    for code in ["Malformed", "Expired", "NotYetValid", "WrongAudience", "BodyMismatch", "Replayed"] {
        assert!(
            metrics.contains(&format!("annex_runner_grants_refused_total{{code=\"{code}\"}}")),
            "{code}: {metrics}"
        );
    }
    end(runner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_says_otherwise_than_its_grant_is_nobodys() {
    let (_world, gateway, runner) = world().await;
    let request = gateway.request("GET", "/hello", "");
    let mut theirs = request.clone();
    theirs.context.tenant_id = "globex".parse().unwrap();
    let mut more = request.clone();
    more.limits = Limits { memory_mb: 4096, ..request.limits };
    for sent in [theirs, more] {
        let body = serde_json::to_vec(&sent).unwrap();
        // The digest is right: it is the gateway itself that mixed two calls up.
        let token = gateway.sign(&gateway.grant(&request, &body));
        let (status, error) = gateway.send(&runner, &token, body).await.unwrap_err();
        assert_eq!((status.as_u16(), error.code.as_str()), (401, "GrantRefused"));
    }
    let body = b"{}".to_vec();
    let token = gateway.sign(&gateway.grant(&request, &body));
    let (status, error) = gateway.send(&runner, &token, body).await.unwrap_err();
    assert_eq!((status.as_u16(), error.code.as_str()), (400, "MalformedRequest"));
    assert_eq!(gateway.told(&runner, "GET", "/hello", "").await, (200, "hello".into()));
    end(runner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_port_executes_nothing() {
    let (world, gateway, runner) = world().await;
    assert_eq!(get(&runner, "/v1/execute", &[]).await.status, 404);
    assert_eq!(gateway.told(&runner, "GET", "/hello", "").await.0, 200);
    end(runner).await;
    // Nor does a runner without keys.
    let keyless = world.runner(&[]).await;
    let url = format!("http://{}/v1/execute", keyless.internal);
    assert_eq!(reqwest::Client::new().post(url).send().await.unwrap().status().as_u16(), 404);
    assert!(keyless.internal("/readyz").await.body.contains("nothing is executed"));
    end(keyless).await;
}

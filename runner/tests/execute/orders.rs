//! What is done for an extension without calling it: granted as a call is, and for nothing else.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use annex_grant::{EXECUTE_PATH, Grant, LARGEST_ORDER, ORDER_PATH, Order, UnixMillis};
use serde_json::json;

use crate::{
    gateway::{Gateway, Refused, executing, executing_with},
    guests,
    support::{Runner, eventually},
    world::{HELLO, World, ask, end},
};

const ALL: &[&str] = &["storage.kv", "secrets", "log", "metrics", "context", "http.fetch"];

/// The engine's guest.
async fn published() -> (World, Gateway) {
    let world = World::new().await;
    let manifest = json!({ "name": HELLO, "publisher": "example.com", "version": "1.0.0" });
    let hash = world.publish_as(&manifest, guests::hostile(), &[]);
    let gateway = Gateway::new(HELLO, &hash, ALL);
    (world, gateway)
}

async fn world() -> (World, Gateway, Runner) {
    let (world, gateway) = published().await;
    let runner = executing(&world, &[]).await;
    (world, gateway, runner)
}

fn code(refused: &Result<(), Refused>) -> (u16, &str) {
    let (status, error) = refused.as_ref().unwrap_err();
    (status.as_u16(), error.code.as_str())
}

/// A compiler that leaves a file for each time that it is run: an empty one, since it may not write.
struct Counted {
    program: String,
    runs: PathBuf,
}

impl Counted {
    fn new(world: &World) -> Self {
        let (program, runs) = (world.at("compiler"), world.at("runs"));
        fs::create_dir(&runs).unwrap();
        let script = format!(
            "#!/bin/sh\n: > '{}'/$$\nexec '{}' \"$@\"\n",
            runs.display(),
            env!("CARGO_BIN_EXE_annex-runner")
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self { program: program.display().to_string(), runs }
    }

    fn runs(&self) -> usize {
        fs::read_dir(&self.runs).unwrap().count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_prepared_is_fetched_and_compiled_before_the_first_call_and_not_again() {
    let (world, gateway) = published().await;
    let compiler = Counted::new(&world);
    let runner = executing_with(&world, &compiler.program, &[]).await;
    let counts = || (world.registry.known().archives, compiler.runs());
    assert_eq!(counts(), (0, 0));
    for _ in 0..2 {
        gateway.order(&runner, Order::Prepare).await.unwrap();
        assert_eq!(counts(), (1, 1));
    }
    let metrics = runner.internal("/metrics").await.body;
    assert!(metrics.contains("annex_runner_orders_total{order=\"prepare\",outcome=\"Done\"} 2"), "{metrics}");
    assert!(!metrics.contains("annex_runner_calls_total{"), "nothing is called: {metrics}");
    assert_eq!(gateway.told(&runner, "GET", "/hello", "").await, (200, "hello".into()));
    assert_eq!(counts(), (1, 1));
    end(runner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_guest_imports_and_is_not_granted_is_told_when_it_is_prepared() {
    let (_world, mut gateway, runner) = world().await;
    gateway.capabilities.retain(|capability| *capability != "storage.kv");
    let refused = gateway.order(&runner, Order::Prepare).await;
    assert_eq!(code(&refused), (403, "CapabilityDenied"));
    assert_eq!(refused.unwrap_err().1.message, "storage.kv");
    gateway.capabilities = [ALL, &["time-travel"]].concat();
    let refused = gateway.order(&runner, Order::Prepare).await;
    assert_eq!(code(&refused), (403, "CapabilityDenied"));
    assert_eq!(refused.unwrap_err().1.message, "time-travel");
    gateway.capabilities = ALL.to_vec();
    gateway.order(&runner, Order::Prepare).await.unwrap();
    let metrics = runner.internal("/metrics").await.body;
    for line in [
        "annex_runner_orders_total{order=\"prepare\",outcome=\"CapabilityDenied\"} 2",
        "annex_runner_orders_total{order=\"prepare\",outcome=\"Done\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    end(runner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_had_or_trusted_or_is_no_component_is_not_prepared() {
    let (world, mut gateway, runner) = world().await;
    world.registry.known().store_is_down = true;
    assert_eq!(code(&gateway.order(&runner, Order::Prepare).await), (503, "BundleUnavailable"));
    world.registry.known().store_is_down = false;
    gateway.order(&runner, Order::Prepare).await.unwrap();

    let good = gateway.hash.clone();
    gateway.hash = format!("sha256:{}", "ab".repeat(32));
    assert_eq!(code(&gateway.order(&runner, Order::Prepare).await), (503, "BundleUnavailable"));
    let manifest = json!({ "name": HELLO, "publisher": "example.com", "version": "1.0.1" });
    gateway.hash = world.publish_as(&manifest, b"\0asm\x0d\0\x01\0 rubbish", &[]);
    let refused = gateway.order(&runner, Order::Prepare).await;
    assert_eq!(code(&refused), (500, "GuestFailed"));
    assert!(refused.unwrap_err().1.message.starts_with("NotAComponent"));

    gateway.hash = good;
    world.write("denylist", &format!("content {}\n", gateway.hash));
    eventually("it is on the denylist", async || match gateway.order(&runner, Order::Prepare).await {
        Ok(()) => false,
        refused => {
            assert_eq!(code(&refused), (422, "VerificationFailed"));
            true
        }
    })
    .await;
    end(runner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn to_prepare_takes_a_grant_of_this_runner_for_a_while_and_once() {
    let (_world, gateway, runner) = world().await;
    let body = gateway.order_body(Order::Prepare);
    let grant = gateway.order_grant(&body);
    let now = UnixMillis::from(SystemTime::now());
    let sent = async |token: &str, body: &[u8]| {
        let refused = gateway.send_order(&runner, token, body.to_vec()).await;
        assert_eq!(code(&refused), (401, "GrantRefused"));
        let message = refused.unwrap_err().1.message;
        assert_eq!(message, "there is no grant for this request", "whoever has none learns no more");
    };
    sent("", &body).await;
    sent("rubbish", &body).await;
    let (issued, expires) = (UnixMillis(now.0 - 120_000), UnixMillis(now.0 - 60_000));
    sent(&gateway.sign(&Grant { issued, expires, ..grant.clone() }), &body).await;
    let (issued, expires) = (now.after(Duration::from_secs(60)), now.after(Duration::from_secs(120)));
    sent(&gateway.sign(&Grant { issued, expires, ..grant.clone() }), &body).await;
    let audience = "annex-other/exec".parse().unwrap();
    sent(&gateway.sign(&Grant { audience, ..grant.clone() }), &body).await;
    let token = gateway.sign(&grant);
    sent(&token, &[&body[..], b" "].concat()).await;

    gateway.send_order(&runner, &token, body.clone()).await.unwrap();
    sent(&token, &body).await;
    let metrics = runner.internal("/metrics").await.body;
    for code in ["Malformed", "Expired", "NotYetValid", "WrongAudience", "BodyMismatch", "Replayed"] {
        let line = format!("annex_runner_grants_refused_total{{code=\"{code}\"}}");
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
    end(runner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_to_prepare_is_none_to_purge_or_to_call_nor_is_one_of_a_call_to_prepare() {
    let (_world, gateway, runner) = world().await;
    assert_eq!(gateway.told(&runner, "GET", "/kv", "").await.0, 200);
    let request = gateway.request("GET", "/hello", "");
    let call = serde_json::to_vec(&request).unwrap();
    let (prepare, purge) = (gateway.order_body(Order::Prepare), gateway.order_body(Order::Purge));
    let to_prepare = || gateway.sign(&gateway.order_grant(&prepare));
    let to_call = || gateway.sign(&gateway.grant(&request, &call));

    let (status, error) = gateway.send(&runner, &to_prepare(), call.clone()).await.unwrap_err();
    assert_eq!((status.as_u16(), error.code.as_str()), (401, "GrantRefused"));
    assert_eq!(code(&gateway.send_order(&runner, &to_prepare(), purge.clone()).await), (401, "GrantRefused"));
    for body in [prepare.clone(), purge] {
        assert_eq!(code(&gateway.send_order(&runner, &to_call(), body).await), (401, "GrantRefused"));
    }
    // Nor where each is sent whole to the place of the other.
    let (status, error) = gateway.send(&runner, &to_prepare(), prepare.clone()).await.unwrap_err();
    assert_eq!((status.as_u16(), error.code.as_str()), (400, "MalformedRequest"));
    assert_eq!(code(&gateway.send_order(&runner, &to_call(), call).await), (400, "MalformedRequest"));

    let (_, kept) = gateway.told(&runner, "GET", "/kv-get?a", "").await;
    assert_eq!(kept, "3", "nothing was removed");
    end(runner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_says_otherwise_than_its_grant_or_too_much_is_nobodys() {
    let (_world, gateway, runner) = world().await;
    let body = gateway.order_body(Order::Prepare);
    let grant = gateway.order_grant(&body);
    type Change = fn(&mut Grant);
    let changes: [Change; 4] = [
        |grant| grant.tenant = "globex".parse().unwrap(),
        |grant| grant.extension = "com.example.other".parse().unwrap(),
        |grant| grant.install = "0f5a2b31-7ab6-4a56-a0b2-3f5f9c1b3a12".parse().unwrap(),
        |grant| grant.content = format!("sha256:{}", "ab".repeat(32)).parse().unwrap(),
    ];
    for change in changes {
        // The digest is right: it is the controller itself that mixed two up.
        let mut mixed = gateway.order_grant(&body);
        change(&mut mixed);
        let refused = gateway.send_order(&runner, &gateway.sign(&mixed), body.clone()).await;
        assert_eq!(code(&refused), (401, "GrantRefused"), "{mixed:?}");
    }
    let long = [&body[..], &vec![b' '; LARGEST_ORDER]].concat();
    let token = gateway.sign(&gateway.order_grant(&long));
    assert_eq!(code(&gateway.send_order(&runner, &token, long).await), (413, "RequestTooLarge"));
    gateway.send_order(&runner, &gateway.sign(&grant), body).await.unwrap();
    end(runner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_purged_is_what_this_extension_stored_of_this_tenant() {
    let (_world, mut gateway, runner) = world().await;
    for tenant in ["acme", "globex"] {
        gateway.tenant = tenant.to_owned();
        assert_eq!(gateway.told(&runner, "GET", "/kv", "").await.0, 200);
    }
    gateway.tenant = "acme".to_owned();
    for _ in 0..2 {
        gateway.order(&runner, Order::Purge).await.unwrap();
    }
    assert_eq!(gateway.told(&runner, "GET", "/kv-get?a", "").await, (200, "none".into()));
    gateway.tenant = "globex".to_owned();
    assert_eq!(gateway.told(&runner, "GET", "/kv-get?a", "").await, (200, "3".into()));
    end(runner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_port_takes_no_orders_and_neither_does_a_runner_without_keys() {
    let (world, gateway, runner) = world().await;
    for path in [EXECUTE_PATH, ORDER_PATH] {
        assert_eq!(ask(&runner, "POST", path, "127.0.0.1", &[]).await.status, 404, "{path}");
    }
    gateway.order(&runner, Order::Prepare).await.unwrap();
    end(runner).await;
    let keyless = world.runner(&[]).await;
    let url = format!("http://{}{ORDER_PATH}", keyless.internal);
    assert_eq!(reqwest::Client::new().post(url).send().await.unwrap().status().as_u16(), 404);
    end(keyless).await;
}

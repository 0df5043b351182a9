//! Condition Verified of what is published.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Bundle, World, hello, trusting, until};

fn verified(world: &World, name: &str) -> (String, String) {
    let version = world.kcp.get("extensionversions", name).unwrap_or_default();
    let conditions = version["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let verified =
        conditions.iter().find(|condition| condition["type"] == "Verified").cloned().unwrap_or(Value::Null);
    let text = |field: &str| verified[field].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"))
}

const NAME: &str = "com.example.hello-1.2.3";

async fn turns(world: &World, name: &str, status: &str, reason: &str) {
    let wanted = (status.to_owned(), reason.to_owned());
    until(&format!("{name} is {status}, {reason}"), || verified(world, name) == wanted).await;
}

#[tokio::test]
async fn it_follows_the_trust_bundle_and_the_denylist() {
    let world = World::new().await;
    let _judging = world.judging();
    let bundle = hello("one");
    world.published(&bundle).await;
    turns(&world, NAME, "True", "Verified").await;
    let trust = fs::read_to_string(world.file("trust.pem")).unwrap();
    for (file, content, status, reason) in [
        ("trust.pem", String::new(), "False", "UntrustedSigner"),
        ("trust.pem", trust.clone(), "True", "Verified"),
        ("trust.pem", trusting(&world.publisher, "example.org"), "False", "PublisherMismatch"),
        ("trust.pem", trust, "True", "Verified"),
        ("denylist", format!("content {}\n", bundle.hash()), "False", "Denied"),
        ("denylist", String::new(), "True", "Verified"),
        ("denylist", format!("key {}\n", world.publisher.id()), "False", "Denied"),
        ("denylist", String::new(), "True", "Verified"),
    ] {
        fs::write(world.file(file), content).unwrap();
        world.reload().await;
        turns(&world, NAME, status, reason).await;
    }
    // What nobody understands changes nothing.
    fs::write(world.file("denylist"), "contents of something\n").unwrap();
    world.reload().await;
    assert!(world.app.policy.notes()[0].contains("denylist"));
    assert_eq!(world.published(&Bundle::of("com.example.hello", "1.2.4", "x")).await.status, 201);
    assert_eq!(verified(&world, NAME).0, "True");
}

#[tokio::test]
async fn the_catalog_cannot_make_a_signature_speak_for_something_else() {
    let world = World::new().await;
    let judging = world.judging();
    world.published(&hello("one")).await;
    drop(judging);
    let mut version = world.kcp.get("extensionversions", NAME).unwrap();
    version["spec"]["capabilities"] = json!(["storage.kv", "log", "secrets"]);
    world.kcp.put("extensionversions", version.clone());
    world
        .app
        .catalog
        .versions
        .put(serde_json::from_value(world.kcp.get("extensionversions", NAME).unwrap()).unwrap());
    let _judging = world.judging();
    turns(&world, NAME, "False", "CatalogMismatch").await;
}

#[tokio::test]
async fn what_is_gone_from_the_store_or_damaged_there_is_not_verified() {
    let world = World::new().await;
    let judging = world.judging();
    let bundle = hello("one");
    world.published(&bundle).await;
    drop(judging);
    let archive = world.stored().into_iter().find(|name| name.ends_with(".tar.zst")).unwrap();
    let folder = world.file("bundles/sha256").join(bundle.hash().strip_prefix("sha256:").unwrap());
    fs::remove_file(folder.join(archive)).unwrap();
    {
        let _judging = world.judging();
        turns(&world, NAME, "False", "BundleDamaged").await;
    }
    fs::remove_dir_all(&folder).unwrap();
    {
        let _judging = world.judging();
        turns(&world, NAME, "False", "BundleMissing").await;
    }
    // Whoever publishes it again mends it.
    let _judging = world.judging();
    assert_eq!(world.published(&bundle).await.status, 200);
    turns(&world, NAME, "True", "Verified").await;
}

#[tokio::test]
async fn what_an_operator_applied_by_hand_is_left_alone_unless_it_claims_to_be_verified() {
    let world = World::new().await;
    let by_hand = |name: &str, status: Value| {
        let object = json!({
            "apiVersion": "annex.sh/v1alpha1", "kind": "ExtensionVersion", "metadata": { "name": name },
            "spec": { "extension": "com.example.x", "version": "1.0.0", "publisher": "example.com",
                "contentHash": format!("sha256:{}", "0a".repeat(32)) },
            "status": { "conditions": status },
        });
        world.kcp.put("extensionversions", object);
        let kept = world.kcp.get("extensionversions", name).unwrap();
        world.app.catalog.versions.put(serde_json::from_value(kept).unwrap());
    };
    let condition = |status: &str| json!([{ "type": "Verified", "status": status, "reason": "ByHand", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z" }]);
    by_hand("a", json!([]));
    by_hand("b", condition("False"));
    by_hand("c", condition("True"));
    let _judging = world.judging();
    turns(&world, "c", "Unknown", "Unsigned").await;
    assert_eq!(verified(&world, "a"), (String::new(), String::new()));
    assert_eq!(verified(&world, "b"), ("False".into(), "ByHand".into()));
}

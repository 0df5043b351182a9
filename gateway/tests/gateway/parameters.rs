//! What extensions are handed: the parameters that were accepted, and what comes out of Secrets.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::support::{EXTENSION, HASH, HOST, World};

fn secret(type_: &str, value: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": type_, "metadata": { "name": "smtp", "namespace": "default" },
        "data": { "json": STANDARD.encode(value) },
    })
}

/// A world whose Install takes parameters out of two Secrets, and has been asked for by `change`.
async fn world(change: impl Fn(&mut Value)) -> World {
    let world = World::new().await;
    world.publish(|version| {
        version["spec"]["parametersSchema"] = json!({
            "properties": { "greeting": { "type": "string" }, "port": { "type": "integer" } },
        });
    });
    world.install("acme", |install| {
        install["metadata"]["generation"] = json!(1);
        install["spec"]["parametersFrom"] =
            json!([{ "name": "smtp", "key": "json" }, { "name": "more", "key": "json" }]);
        change(install);
    });
    world
}

#[tokio::test]
async fn what_comes_out_of_secrets_is_handed_to_the_extension_and_cannot_be_the_platforms() {
    let world = world(|_| {}).await;
    let value = r#"{"port": 25, "greeting": "from the Secret", "annex": {"url": "http://evil/"}}"#;
    world.kcp.keep_secret("acme", "smtp", secret("Opaque", value));
    world.kcp.keep_secret("acme", "more", secret("Opaque", r#"{"port": 587}"#));
    assert_eq!(world.get("/notes", "alice").await.status, 200);
    let config = world.runner.only().request.context.config;
    assert_eq!((&config["port"], &config["greeting"]), (&json!(587), &json!("from the Secret")));
    assert_eq!(config["annex"]["version"], "1.2.3");
    // Whoever may not call does not learn whether there is one.
    world.kcp.keep_secret("acme", "more", secret("Opaque", "no object"));
    assert_eq!(world.get("/notes", "bob").await.status, 403);
}

#[tokio::test]
async fn what_is_no_parameter_reaches_no_extension_and_is_not_told() {
    const VALUE: &str = "hunter2";
    for (more, reason) in [
        (None, "SecretNotFound"),
        (Some(secret("Opaque", "hunter2")), "ParametersInvalid"),
        (Some(secret("Opaque", r#"{"port": "hunter2"}"#)), "ParametersInvalid"),
        (Some(secret("kubernetes.io/service-account-token", r#"{"port": 1}"#)), "ParametersInvalid"),
        (Some(json!({ "apiVersion": "v1", "kind": "Secret", "metadata": {} })), "ParametersInvalid"),
    ] {
        let world = world(|_| {}).await;
        world.kcp.keep_secret("acme", "smtp", secret("Opaque", "{}"));
        if let Some(more) = more {
            world.kcp.keep_secret("acme", "more", more);
        }
        let answer = world.get("/notes", "alice").await;
        assert_eq!(answer.refusal(), (503, "NotReady".into()), "{reason}");
        assert!(answer.text().contains(reason) && !answer.text().contains(VALUE), "{}", answer.text());
        assert!(world.runner.seen().is_empty());
    }
    let world = world(|_| {}).await;
    world.kcp.set_down(true);
    assert_ne!(world.get("/notes", "alice").await.status, 200);
}

#[tokio::test]
async fn what_was_not_accepted_reaches_no_extension() {
    let world = World::new().await;
    world.install("acme", |install| {
        install["spec"]["parameters"] = json!({ "greeting": 7 });
        install["status"]["parameters"] = json!({ "greeting": "hi" });
    });
    assert_eq!(world.get("/notes", "alice").await.status, 200);
    assert_eq!(world.runner.only().request.context.config["greeting"], "hi");
}

#[tokio::test]
async fn a_version_that_a_flow_brings_has_the_parameters_that_are_asked_for_and_the_one_before_its_own() {
    let former = HASH.replace("0a", "0b");
    let greeting = async |answers: &str, (generation, status): (i64, &str)| {
        let world = World::new().await;
        world.publish(|version| {
            version["spec"]["contentHash"] = json!(former);
            version["metadata"]["name"] = json!(format!("{EXTENSION}-1.0.0"));
            version["spec"]["version"] = json!("1.0.0");
        });
        world.install("acme", |install| {
            install["metadata"]["generation"] = json!(2);
            install["spec"]["parameters"] = json!({ "greeting": "new" });
            let own = &mut install["status"];
            own["routes"] = json!([{ "host": HOST, "contentHash": answers }]);
            own["contentHash"] = json!(former);
            own["installedVersion"] = json!("1.0.0");
            own["parameters"] = json!({ "greeting": "old" });
            own["flow"] = json!({
                "id": "f", "action": "Upgrade", "status": status, "startedAt": "2026-01-01T00:00:00Z", "generation": generation,
                "target": { "contentHash": HASH, "host": HOST, "place": "direct" },
            });
        });
        assert_eq!(world.get("/notes", "alice").await.status, 200);
        world.runner.only().request.context.config["greeting"].clone()
    };
    assert_eq!(greeting(&former, (2, "IN_PROGRESS")).await, "old");
    assert_eq!(greeting(HASH, (2, "IN_PROGRESS")).await, "new");
    assert_eq!(
        greeting(HASH, (1, "IN_PROGRESS")).await,
        "old",
        "what is asked for since was not looked at yet"
    );
    assert_eq!(greeting(HASH, (2, "FAILED")).await, "old", "it is being undone");
}

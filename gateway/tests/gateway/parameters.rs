//! What extensions are handed: the parameters that were accepted, and what comes out of Secrets.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::support::World;

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

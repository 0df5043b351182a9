//! Parameters on their way to an extension: out of the Install, and out of Secrets.

use annex_apis::{Install, MANAGED_LABEL};
use annex_e2e::{
    Caller, GUEST_ENDPOINTS, condition, guest_capabilities, guest_is_handed, publish_guest, until, when,
};
use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    environment::shared,
    flows::{caller, status},
    registry::alice,
};

const NAME: &str = "com.example.handed";

/// What the extension says that it is handed, but for what the platform made.
async fn handed(caller: &Caller) -> anyhow::Result<Value> {
    let mut config = guest_is_handed(caller, NAME).await?;
    config.as_object_mut().context("an object")?.remove("annex");
    Ok(config)
}

async fn comes(caller: &Caller, wanted: Value) -> anyhow::Result<()> {
    until(&format!("it is handed {wanted}"), || async {
        Ok(handed(caller).await.is_ok_and(|handed| handed == wanted).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_accepted_reaches_the_extension_without_a_reinstall_and_what_is_not_never_does()
-> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let schema = json!({
        "type": "object", "additionalProperties": false,
        "properties": { "colour": { "enum": ["red", "blue"] }, "port": { "type": "integer" } },
    });
    let manifest = json!({
        "name": NAME, "publisher": "example.com", "version": "1.0.0", "parametersSchema": schema,
        "lifecycle": { "install": "note" }, "capabilities": guest_capabilities(),
    });
    publish_guest(&alice(world).await?, manifest).await?;
    // What nobody could be checked against is refused where its author sees it.
    let unusable = json!({
        "name": "com.example.unusable", "publisher": "example.com", "version": "1.0.0", "capabilities": guest_capabilities(),
        "parametersSchema": { "pattern": "(((a{99}){99}){99}){99}" },
    });
    let refused = publish_guest(&alice(world).await?, unusable).await;
    let refused = format!("{:#}", refused.expect_err("it cannot be used"));
    assert!(refused.contains("ParametersSchemaInvalid") && refused.contains("parametersSchema"), "{refused}");

    let workspace = world.user("alice").await?.tenant("acme-handed").await?;
    let secrets: Api<Secret> = Api::namespaced(workspace.client.clone(), "default");
    let secret = |value: &str| {
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "mail", "labels": { MANAGED_LABEL: "true" } },
            "stringData": { "json": value } })
    };
    secrets.create(&PostParams::default(), &serde_json::from_value(secret(r#"{"port": 25}"#))?).await?;
    let spec = json!({
        "public": GUEST_ENDPOINTS, "parameters": { "colour": "red" }, "parametersFrom": [{ "name": "mail", "key": "json" }],
    });
    workspace.install("handed", NAME, spec).await?;
    let install = workspace.installed("handed").await?;
    let caller = caller(&install)?;
    assert_eq!(handed(&caller).await?, json!({ "colour": "red", "port": 25 }));
    assert_eq!(json!(status(&install).parameters), json!({ "colour": "red" }), "nothing out of a Secret");
    let flows = status(&install).history.len();

    // Another value is there soon, whichever way it comes.
    let keep = async |value: &str| {
        secrets.patch("mail", &PatchParams::default(), &Patch::Merge(secret(value))).await
    };
    keep(r#"{"port": 587}"#).await?;
    comes(&caller, json!({ "colour": "red", "port": 587 })).await?;
    workspace.change("handed", json!({ "parameters": { "colour": "blue" } })).await?;
    workspace.installed("handed").await?;
    comes(&caller, json!({ "colour": "blue", "port": 587 })).await?;

    // What the schema does not want is refused, and what was accepted goes on.
    workspace.change("handed", json!({ "parameters": { "colour": "hunter2" } })).await?;
    let refused = workspace.refused("handed", "ParametersInvalid").await?;
    let said = &condition(&refused, "Ready").context("Ready")?.message;
    assert!(said.contains("colour") && !said.contains("hunter2"), "{said}");
    for _ in 0..3 {
        assert_eq!(handed(&caller).await?, json!({ "colour": "blue", "port": 587 }));
    }
    workspace.change("handed", json!({ "parameters": { "colour": "red" } })).await?;
    workspace.installed("handed").await?;

    // What a Secret has that it must not have reaches nobody, and its owner reads which Secret that is.
    for wrong in [r#"{"port": "hunter2"}"#, "hunter2"] {
        keep(wrong).await?;
        let says = |install: &Install| {
            condition(install, "Ready").is_some_and(|ready| ready.reason == "ParametersInvalid")
        };
        let refused = when(&workspace.installs(), "handed", "ParametersInvalid", says).await?;
        assert!(!serde_json::to_string(&refused)?.contains("hunter2"));
        until("it is handed nothing", || async {
            let (status, body) = caller.call(reqwest::Method::GET, NAME, "/context", None).await?;
            ensure!(!body.contains("hunter2"), "{body}");
            Ok((status == 503 && body.contains("ParametersInvalid")).then_some(()))
        })
        .await?;
        keep(r#"{"port": 25}"#).await?;
        comes(&caller, json!({ "colour": "red", "port": 25 })).await?;
        workspace.installed("handed").await?;
    }
    let install = workspace.installed("handed").await?;
    assert_eq!(status(&install).history.len(), flows, "no flow was needed for any of it");
    workspace.installs().delete("handed", &DeleteParams::default()).await?;
    Ok(())
}

use annex_apis::{Extension, ExtensionVersion};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::{Value, json};

use crate::World;

/// Puts an extension into the catalog with these versions.
///
/// # Errors
/// kcp refuses.
pub async fn publish(world: &World, name: &str, versions: &[&str]) -> anyhow::Result<()> {
    let catalog = world.admin().await?.at("root:annex")?;
    let extensions: Api<Extension> = Api::all(catalog.clone());
    let spec = json!({ "displayName": name, "publisher": "example.com" });
    let extension = json!({ "apiVersion": "annex.sh/v1alpha1", "kind": "Extension", "metadata": { "name": name }, "spec": spec });
    extensions.create(&PostParams::default(), &serde_json::from_value(extension)?).await?;
    for version in versions {
        publish_version(world, name, version, json!({})).await?;
    }
    Ok(())
}

/// Adds one version, with more fields of its spec from `more`.
///
/// # Errors
/// kcp refuses.
pub async fn publish_version(world: &World, name: &str, version: &str, more: Value) -> anyhow::Result<()> {
    let versions: Api<ExtensionVersion> = Api::all(world.admin().await?.at("root:annex")?);
    let mut spec = json!({ "extension": name, "version": version, "publisher": "example.com", "contentHash": hash(version) });
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
        spec.extend(more);
    }
    let object = json!({ "apiVersion": "annex.sh/v1alpha1", "kind": "ExtensionVersion",
        "metadata": { "name": format!("{name}-{version}") }, "spec": spec });
    versions.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    Ok(())
}

/// Takes an extension out of the catalog.
///
/// # Errors
/// kcp refuses.
pub async fn withdraw(world: &World, name: &str) -> anyhow::Result<()> {
    let extensions: Api<Extension> = Api::all(world.admin().await?.at("root:annex")?);
    extensions.delete(name, &DeleteParams::default()).await?;
    Ok(())
}

/// A content hash that differs from version to version.
#[must_use]
pub fn hash(version: &str) -> String {
    let digits: String = version.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits:0<64}")
}

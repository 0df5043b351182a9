use std::sync::OnceLock;

use annex_apis::{Extension, ExtensionVersion};
use annex_e2e::World;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::{Value, json};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// One environment for all tests: kcp needs half a minute to start. Tests that stop parts of it have it alone.
static WORLD: OnceLock<World> = OnceLock::new();
static TURN: RwLock<()> = RwLock::const_new(());

pub(crate) struct Shared(#[expect(dead_code, reason = "held")] RwLockReadGuard<'static, ()>);
pub(crate) struct Alone(#[expect(dead_code, reason = "held")] RwLockWriteGuard<'static, ()>);

fn world() -> &'static World {
    tokio::task::block_in_place(|| WORLD.get_or_init(|| World::up(false).expect("the environment comes up")))
}

/// The environment, beside other tests.
pub(crate) async fn shared() -> (&'static World, Shared) {
    let turn = TURN.read().await;
    (world(), Shared(turn))
}

/// The environment, with no other test at work.
pub(crate) async fn alone() -> (&'static World, Alone) {
    let turn = TURN.write().await;
    (world(), Alone(turn))
}

/// Puts an extension into the catalog with these versions.
pub(crate) async fn publish(world: &World, name: &str, versions: &[&str]) -> anyhow::Result<()> {
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
pub(crate) async fn publish_version(
    world: &World,
    name: &str,
    version: &str,
    more: Value,
) -> anyhow::Result<()> {
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

pub(crate) async fn withdraw(world: &World, name: &str) -> anyhow::Result<()> {
    let extensions: Api<Extension> = Api::all(world.admin().await?.at("root:annex")?);
    extensions.delete(name, &DeleteParams::default()).await?;
    Ok(())
}

/// A content hash that differs from version to version.
pub(crate) fn hash(version: &str) -> String {
    let digits: String = version.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits:0<64}")
}

/// The `message` of what an API server refused, or why it is none.
pub(crate) fn refusal<T: std::fmt::Debug>(result: anyhow::Result<T>) -> (u16, String) {
    let error = result.expect_err("this is to be refused");
    match error.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) => (status.code, status.message.clone()),
        _ => panic!("not refused by the API server: {error:#}"),
    }
}

use std::sync::OnceLock;

use annex_apis::{Install, ManagedEnvironment};
use annex_e2e::{
    Cluster, Kind, Workspace, World,
    turns::{Alone, Shared, Turns},
    until,
};
use anyhow::Context as _;
use base64::Engine as _;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams},
};
use kube_kcp::kinds::Workspace as WorkspaceObject;
use serde_json::{Value, json};
use xtask::Part;

/// One environment for all tests: kcp and a cluster need minutes to start. Tests that stop parts of it have it alone.
static WORLD: OnceLock<World> = OnceLock::new();
static TURNS: Turns = Turns::new();

fn world() -> &'static World {
    tokio::task::block_in_place(|| {
        WORLD.get_or_init(|| World::up_knative(false).expect("the environment comes up"))
    })
}

/// The environment, beside other tests.
pub(crate) async fn shared() -> anyhow::Result<(&'static World, Cluster, Shared)> {
    let world = world();
    let turn = TURNS.shared().await;
    Ok((world, world.cluster().await?, turn))
}

/// The environment, with no other test at work.
pub(crate) async fn alone() -> anyhow::Result<(&'static World, Cluster, Alone)> {
    let world = world();
    let turn = TURNS.alone().await;
    Ok((world, world.cluster().await?, turn))
}

/// The namespace of a workspace's runners.
pub(crate) fn namespace(workspace: &Workspace) -> String {
    format!("annex-{}", workspace.cluster)
}

/// The sample extension installed in a new workspace, and its host.
pub(crate) async fn hello(world: &World, user: &str, name: &str) -> anyhow::Result<(Workspace, String)> {
    let workspace = world.user(user).await?.tenant(name).await?;
    workspace.install("hello", "com.example.hello", json!({})).await?;
    let host = workspace.installed("hello").await?.status.expect("a status").host.expect("a host");
    Ok((workspace, host))
}

/// The tenant that answers on a host, through the ingress, once one does.
pub(crate) async fn tenant_on(world: &World, host: &str) -> anyhow::Result<String> {
    let runner = world.runner()?;
    until(&format!("{host} answers"), || async {
        let Ok((status, body)) = runner.get(host).await else { return Ok(None) };
        Ok((status.as_u16() == 200).then(|| body["tenant_id"].as_str().unwrap_or_default().to_owned()))
    })
    .await
}

/// Starts the controller with other settings, and gives it its own back when the test has ended, however it ends.
pub(crate) struct Reconfigured(&'static World);

impl Reconfigured {
    pub(crate) fn start(world: &'static World, args: &[&str], env: &[(&str, &str)]) -> anyhow::Result<Self> {
        let changed = Self(world);
        world.stack.configure(Part::Controller, args, env);
        tokio::task::block_in_place(|| world.stack.start(Part::Controller))?;
        Ok(changed)
    }
}

impl Drop for Reconfigured {
    fn drop(&mut self) {
        self.0.stack.configure(Part::Controller, &[], &[]);
        let restarted = tokio::task::block_in_place(|| self.0.stack.start(Part::Controller));
        assert!(restarted.is_ok() || std::thread::panicking(), "{restarted:?}");
    }
}

/// Whether Knative calls the object ready.
pub(crate) fn is_ready(object: &kube::core::DynamicObject) -> bool {
    let conditions = object.data.pointer("/status/conditions").and_then(Value::as_array);
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// A ServiceAccount in a namespace of the cluster, and a kubeconfig that speaks for it and holds nothing of the administrator's.
pub(crate) async fn identity(
    world: &World,
    cluster: &Cluster,
    namespace: &str,
    name: &str,
) -> anyhow::Result<Value> {
    cluster.create(Kind::ServiceAccount, namespace, name, json!({})).await?;
    let secret = json!({ "type": "kubernetes.io/service-account-token",
        "metadata": { "annotations": { "kubernetes.io/service-account.name": name } } });
    cluster.create(Kind::Secret, namespace, &format!("{name}-token"), secret).await?;
    let filled = cluster
        .when(Kind::Secret, namespace, &format!("{name}-token"), "has a token", |secret| {
            secret.data.pointer("/data/token").is_some()
        })
        .await?;
    let token = filled.data["data"]["token"].as_str().expect("a token").to_owned();
    let token = String::from_utf8(base64::engine::general_purpose::STANDARD.decode(token)?)?;
    let admin: Value = serde_json::from_slice(&std::fs::read(world.stack.paths().compute_kubeconfig())?)?;
    let server = &admin["clusters"][0]["cluster"];
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "c", "cluster": {
            "server": server["server"], "certificate-authority-data": server["certificate-authority-data"],
        } }],
        "users": [{ "name": "u", "user": { "token": token } }],
        "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
        "current-context": "x",
    }))
}

/// Gives the ServiceAccount `name` of `annex-system` or of `namespace` itself these rights in `namespace`.
pub(crate) async fn allow(
    cluster: &Cluster,
    namespace: &str,
    account: (&str, &str),
    rules: Value,
) -> anyhow::Result<()> {
    cluster.create(Kind::Role, namespace, account.1, json!({ "rules": rules })).await?;
    let binding = json!({
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account.1 },
        "subjects": [{ "kind": "ServiceAccount", "namespace": account.0, "name": account.1 }],
    });
    cluster.create(Kind::RoleBinding, namespace, account.1, binding).await?;
    Ok(())
}

/// The manifest of the claim that a condition's message tells the operator to apply.
pub(crate) fn manifest_in(message: &str) -> anyhow::Result<Value> {
    let start = message.find('{').context("the message holds no manifest")?;
    let end = message.rfind('}').context("the message holds no manifest")?;
    Ok(serde_json::from_str(&message[start..=end])?)
}

/// Uninstalls what other tests have left, for a test that changes how every Install runs.
pub(crate) async fn uninstall_everything(world: &World) -> anyhow::Result<()> {
    let admin = world.admin().await?;
    let workspaces: Api<WorkspaceObject> = Api::all(admin.at("root")?);
    for workspace in workspaces.list(&ListParams::default()).await? {
        let name = workspace.name_any();
        if !name.starts_with("kn-") || workspace.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let client = admin.at(&format!("root:{name}"))?;
        // An install on a cluster that may not be reached any more, after a test that failed half-way, waits for it for ever.
        let environments: Api<ManagedEnvironment> = Api::namespaced(client.clone(), "default");
        environments.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
        let installs: Api<Install> = Api::namespaced(client, "default");
        installs.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
        until(&format!("{name} has no Install"), || async {
            Ok(installs.list(&ListParams::default()).await?.items.is_empty().then_some(()))
        })
        .await?;
    }
    Ok(())
}

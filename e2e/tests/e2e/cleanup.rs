use annex_apis::Tenant;
use annex_e2e::{GUEST_ENDPOINTS, Workspace, guest_was_told, until};
use kube::{Api, api::DeleteParams};
use serde_json::json;

use crate::{
    environment::shared,
    flows::{caller, published},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_install_leaves_nothing() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let workspace = world.user("alice").await?.tenant("acme-uninstalls").await?;
    let runner = world.runner()?;
    workspace.install("hello", "com.example.hello", json!({})).await?;
    let host = workspace.installed("hello").await?.status.expect("a status").host.expect("a host");
    assert_eq!(runner.get(&host).await?.0, 200);

    workspace.installs().delete("hello", &DeleteParams::default()).await?;
    workspace.gone("hello").await?;
    runner.is_nobodys(&host).await?;
    assert_eq!(runner.get(&host).await?.0, 404);

    // And it can come again.
    workspace.install("again", "com.example.hello", json!({})).await?;
    assert_eq!(workspace.installed("again").await?.status.expect("a status").host, Some(host));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_workspace_leaves_nothing() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let alice = world.user("alice").await?;
    let workspace = alice.tenant("acme-leaves").await?;
    let runner = world.runner()?;
    workspace.install("hello", "com.example.hello", json!({})).await?;
    let host = workspace.installed("hello").await?.status.expect("a status").host.expect("a host");
    let tenants: Api<Tenant> = Api::all(world.admin().await?.at("root:annex")?);
    assert!(tenants.get_opt(workspace.cluster.as_str()).await?.is_some());

    alice.delete("acme-leaves").await?;
    until("the host is free", || async { Ok((runner.lookup(&host).await?.0 == 404).then_some(())) }).await?;
    let gone = || async { Ok(tenants.get_opt(workspace.cluster.as_str()).await?.is_none().then_some(())) };
    until("the Tenant is gone", gone).await?;
    let admin = world.admin().await?;
    let workspaces: Api<kube_kcp::kinds::Workspace> = Api::all(admin.at("root")?);
    let gone = || async { Ok(workspaces.get_opt("acme-leaves").await?.is_none().then_some(())) };
    until("no finalizer holds the workspace", gone).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_wrote_into_a_tenant_outlives_its_binding() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let alice = world.user("alice").await?;
    let workspace = alice.tenant("acme-unbinds").await?;
    let tenants: Api<Tenant> = Api::all(world.admin().await?.at("root:annex")?);
    let name = workspace.cluster.to_string();
    annex_e2e::when(&tenants, &name, "the Tenant is there", |_| true).await?;
    let suspended = kube::api::Patch::Merge(json!({ "spec": { "suspended": true } }));
    tenants.patch(&name, &Default::default(), &suspended).await?;
    workspace.install("hello", "com.example.hello", json!({})).await?;
    workspace.refused("hello", "TenantSuspended").await?;

    unbind(&workspace).await?;
    bind_again(&workspace).await?;
    let ask_again = || async {
        Ok(workspace.install("again", "com.example.hello", json!({})).await.is_ok().then_some(()))
    };
    until("the API is bound again", ask_again).await?;
    workspace.refused("again", "TenantSuspended").await?;
    Ok(())
}

async fn unbind(workspace: &Workspace) -> anyhow::Result<()> {
    let bindings: Api<kube_kcp::kinds::APIBinding> = Api::all(workspace.client.clone());
    bindings.delete("annex.sh", &DeleteParams::default()).await?;
    until("the API is unbound", || async { Ok(bindings.get_opt("annex.sh").await?.is_none().then_some(())) })
        .await
}

async fn bind_again(workspace: &Workspace) -> anyhow::Result<()> {
    // kcp labels an APIBinding from the one of the same name in its cache, and refuses the label once that one is gone
    // from there: between the two the answer is a 403 that is over in a moment.
    let bind = || async {
        match crate::tenants::bind(workspace, "annex.sh", annex_apis::provider::accepted_claims()).await {
            Err(error) if format!("{error:#}").contains("must not be set") => Ok(None),
            bound => bound.map(Some),
        }
    };
    until("kcp has forgotten the binding that was deleted", bind).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_unbinds_the_api_leaves_nothing_that_was_to_be_purged() -> anyhow::Result<()> {
    const NAME: &str = "com.example.unbinds";
    let (world, _turn) = shared().await;
    published(world, NAME, "1.0.0", &[("a", "1.0.0")], "note").await?;
    let workspace = world.user("alice").await?.tenant("acme-unbinds-all").await?;
    let spec = json!({ "public": GUEST_ENDPOINTS, "deletionPolicy": "Purge" });
    workspace.install("stores", NAME, spec.clone()).await?;
    let told = guest_was_told(&caller(&workspace.installed("stores").await?)?, NAME).await?;
    assert_eq!(told, [["install", "a", "-", "1.0.0"]]);

    unbind(&workspace).await?;
    bind_again(&workspace).await?;
    let ask_again =
        || async { Ok(workspace.install("stores", NAME, spec.clone()).await.is_ok().then_some(())) };
    until("the API is bound again", ask_again).await?;
    let caller = caller(&workspace.installed("stores").await?)?;
    assert_eq!(guest_was_told(&caller, NAME).await?, told, "nothing is left of the first install");
    Ok(())
}

/// A tenant must not shake off what its operator decided by suspending its own Installs.
#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_tenant_answers_nowhere_whatever_its_installs_say() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let workspace = world.user("alice").await?.tenant("acme-both-suspended").await?;
    let runner = world.runner()?;
    workspace.install("hello", "com.example.hello", json!({})).await?;
    let host = workspace.installed("hello").await?.status.expect("a status").host.expect("a host");
    workspace.change("hello", json!({ "suspend": true })).await?;
    workspace.install_with("hello", "Ready", "True", "Suspended").await?;
    assert_eq!(runner.get(&host).await?.0, 200);

    let tenants: Api<Tenant> = Api::all(world.admin().await?.at("root:annex")?);
    let suspended = |value: bool| kube::api::Patch::Merge(json!({ "spec": { "suspended": value } }));
    tenants.patch(workspace.cluster.as_str(), &Default::default(), &suspended(true)).await?;
    workspace.refused("hello", "TenantSuspended").await?;
    runner.is_nobodys(&host).await?;
    assert_eq!(runner.get(&host).await?.0, 404);
    tenants.patch(workspace.cluster.as_str(), &Default::default(), &suspended(false)).await?;
    until("it answers again", || async { Ok((runner.get(&host).await?.0 == 200).then_some(())) }).await
}

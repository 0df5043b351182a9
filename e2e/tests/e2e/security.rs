use annex_apis::{ExecutionQuota, Tenant};
use annex_e2e::when;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use kube_kcp::kinds::APIExportEndpointSlice;
use serde_json::json;
use xtask::Part;

use crate::environment::{refusal, shared};

#[tokio::test(flavor = "multi_thread")]
async fn the_controller_sees_labelled_secrets_only() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let workspace = world.user("alice").await?.tenant("acme-secrets").await?;
    let secrets: Api<Secret> = Api::namespaced(workspace.client.clone(), "default");
    for (name, labels) in [("shown", json!({ "annex.sh/managed": "true" })), ("hidden", json!({}))] {
        let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name, "labels": labels },
            "stringData": { "password": "of the tenant" } });
        secrets.create(&PostParams::default(), &serde_json::from_value(secret)?).await?;
    }

    // With the controller's own identity, where the controller looks.
    let controller = world.open(world.stack.paths().service_kubeconfig(Part::Controller)).await?;
    let slices: Api<APIExportEndpointSlice> = Api::all(controller.at("root:annex")?);
    let slice = slices.get("annex.sh").await?;
    let url = &slice.status.expect("a status").endpoints[0].url;
    let client = controller.client_at(&format!("{url}/clusters/{}", workspace.cluster))?;
    let seen: Api<Secret> = Api::namespaced(client.clone(), "default");
    when(&seen, "shown", "the labelled Secret is seen", |_| true).await?;
    let names: Vec<_> =
        seen.list(&ListParams::default()).await?.items.into_iter().filter_map(|s| s.metadata.name).collect();
    assert_eq!(names, ["shown"]);
    assert!(seen.get_opt("hidden").await?.is_none());
    // Nor can it be made to show by taking it: a write of the unlabelled one is refused as if it were not there.
    let patch = Patch::Merge(json!({ "metadata": { "labels": { "annex.sh/managed": "true" } } }));
    assert!(seen.patch("hidden", &PatchParams::default(), &patch).await.is_err());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_forges_neither_status_nor_quota_nor_tenant() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let alice = world.user("alice").await?;
    let workspace = alice.tenant("acme-forges").await?;
    workspace.install("hello", "com.example.hello", json!({})).await?;
    let install = workspace.installed("hello").await?;

    // The owner may write any RBAC in the workspace; it does not help.
    let everything = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": { "name": "everything" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice" }] });
    let bindings: Api<k8s_openapi::api::rbac::v1::ClusterRoleBinding> = Api::all(workspace.client.clone());
    bindings.create(&PostParams::default(), &serde_json::from_value(everything)?).await?;

    let forged = Patch::Merge(json!({ "status": { "host": "bank.example.com" } }));
    let result = workspace.installs().patch_status("hello", &PatchParams::default(), &forged).await;
    assert_eq!(refusal(result.map_err(Into::into)).0, 403);

    let quotas: Api<ExecutionQuota> = Api::all(workspace.client.clone());
    when(&quotas, "default", "the quota is there", |_| true).await?;
    let more = Patch::Merge(json!({ "spec": { "limits": { "installs": 1000 } } }));
    let result = quotas.patch("default", &PatchParams::default(), &more).await;
    assert_eq!(refusal(result.map_err(Into::into)).0, 403);
    let result = quotas.delete("default", &Default::default()).await;
    assert_eq!(refusal(result.map(|_| ()).map_err(Into::into)).0, 403);

    let tenants: Api<Tenant> = Api::all(alice.at("root:annex")?);
    let slug = Patch::Merge(json!({ "spec": { "slug": "bank" } }));
    let result = tenants.patch(workspace.cluster.as_str(), &PatchParams::default(), &slug).await;
    assert_eq!(refusal(result.map_err(Into::into)).0, 403);
    let result = tenants.list(&ListParams::default()).await;
    assert_eq!(
        refusal(result.map(|_| ()).map_err(Into::into)).0,
        403,
        "who else is here is nobody's business"
    );

    assert_eq!(workspace.installs().get("hello").await?.status, install.status);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_services_are_no_administrators() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let workspace = world.user("alice").await?.tenant("acme-services").await?;
    for part in [Part::Controller, Part::Gateway, Part::Initializer, Part::Registry] {
        let service = world.open(world.stack.paths().service_kubeconfig(part)).await?;
        for (path, what) in [
            ("root:annex", "the provider's Secrets"),
            (workspace.path.as_str(), "a tenant's, past the claims"),
        ] {
            let secrets: Api<Secret> = Api::all(service.at(path)?);
            let result = secrets.list(&ListParams::default()).await;
            assert_eq!(refusal(result.map(|_| ()).map_err(Into::into)).0, 403, "{part} reads {what}");
        }
    }
    Ok(())
}

/// Secrets never reach a log, whatever happens in the other tests.
#[tokio::test(flavor = "multi_thread")]
async fn no_token_is_in_a_log() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let workspace = world.user("alice").await?.tenant("acme-logs").await?;
    let secrets: Api<Secret> = Api::namespaced(workspace.client.clone(), "annex");
    let token = secrets.get("annex-token").await?.data.expect("data")["token"].0.clone();
    let token = String::from_utf8(token)?;
    assert!(token.len() > 100);
    for part in [Part::Controller, Part::Gateway, Part::Initializer, Part::Registry, Part::Runner] {
        let log = std::fs::read_to_string(world.stack.paths().log(part))?;
        assert!(!log.is_empty());
        assert!(!log.contains(&token[..40]) && !log.contains("Bearer "), "{part}");
    }
    Ok(())
}

use std::path::{Path, PathBuf};

use annex_apis::{ExecutionQuota, ManagedEnvironment, provider::accepted_claims};
use annex_e2e::{Workspace, replica::Replica, when};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use kube_kcp::kinds::{APIBinding, APIBindingSpec, BindingReference, ExportReference};
use serde_json::json;

use xtask::Part;

use crate::environment::shared;

/// A kubeconfig file with what the seeded Secret holds.
pub(crate) async fn seeded_kubeconfig(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let secrets: Api<Secret> = Api::namespaced(workspace.client.clone(), "annex");
    let secret = secrets.get("annex-kubeconfig").await?;
    assert_eq!(secret.type_.as_deref(), Some("annex.sh/managed-environment"));
    let path =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("seeded-{}.kubeconfig", workspace.cluster));
    std::fs::write(&path, &secret.data.expect("data")["kubeconfig"].0)?;
    Ok(path)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tenants_answer_on_their_own_domains() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let (alice, bob) = (world.user("alice").await?, world.user("bob").await?);
    let (acme, globex) = tokio::try_join!(alice.tenant("acme-answers"), bob.tenant("globex-answers"))?;
    let runner = world.runner()?;
    for workspace in [&acme, &globex] {
        workspace.install("hello", "com.example.hello", json!({})).await?;
    }
    let mut hosts = Vec::new();
    for workspace in [&acme, &globex] {
        let status = workspace.installed("hello").await?.status.expect("a status");
        let host = status.host.expect("a host");
        assert_eq!(status.installed_version.as_deref(), Some("1.0.0"));
        let (code, identity) = runner.get(&host).await?;
        assert_eq!(code, 200);
        assert_eq!(
            identity,
            json!({ "tenant_id": workspace.cluster, "extension_id": "com.example.hello", "content_hash": status.content_hash })
        );
        assert!(status.url.expect("a url").contains(&host));
        hosts.push(host);
    }
    assert_ne!(hosts[0], hosts[1]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ready_workspace_is_bound_and_usable_and_its_kubeconfig_opens_no_other() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let (alice, bob) = (world.user("alice").await?, world.user("bob").await?);
    let (own, other) = tokio::try_join!(alice.tenant("acme-kubeconfig"), bob.tenant("globex-kubeconfig"))?;

    // Ready means usable: at once, without waiting for anything more.
    let environments: Api<ManagedEnvironment> = Api::namespaced(own.client.clone(), "annex");
    let environment = environments.get("workspace").await?;
    assert!(environment.spec.api_url.ends_with(&format!("/clusters/{}", own.cluster)));

    let kubectl = world.stack.kubectl(&seeded_kubeconfig(&own).await?);
    assert!(kubectl.run(&["get", "namespaces", "-o", "name"])?.contains("namespace/default"));
    assert!(kubectl.run(&["get", "installs", "-A"]).is_ok());
    let server = format!("https://127.0.0.1:{}/clusters/{}", world.stack.settings().kcp_port, other.cluster);
    let foreign = kubectl.run(&["--server", &server, "get", "namespaces"]).expect_err("another's workspace");
    assert!(foreign.to_string().contains("orbidden"), "{foreign}");
    // Secrets go by name: its own kubeconfig, nothing else.
    assert!(kubectl.run(&["-n", "annex", "get", "secret", "annex-kubeconfig"]).is_ok());
    for args in [
        vec!["-n", "annex", "get", "secrets"],
        vec!["-n", "annex", "get", "secret", "annex-token"],
        vec!["get", "secrets", "-A"],
    ] {
        let refused = kubectl.run(&args).expect_err("a Secret that is not its own");
        assert!(refused.to_string().contains("orbidden"), "{refused}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_that_bound_the_api_by_hand_gets_the_same_seed() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let alice = world.user("alice").await?;
    alice.order("acme-by-hand", "root", "universal").await?;
    let workspace = alice.ready("acme-by-hand").await?;
    bind(&workspace, "by-hand", accepted_claims()).await?;

    let bindings: Api<APIBinding> = Api::all(workspace.client.clone());
    let bound = |binding: &APIBinding| {
        binding
            .status
            .as_ref()
            .is_some_and(|status| status.phase.is_some_and(|p| format!("{p:?}") == "Bound"))
    };
    when(&bindings, "by-hand", "the API is bound", bound).await?;
    let environments: Api<ManagedEnvironment> = Api::namespaced(workspace.client.clone(), "annex");
    when(&environments, "workspace", "the environment is seeded", |_| true).await?;
    let quotas: Api<ExecutionQuota> = Api::all(workspace.client.clone());
    when(&quotas, "default", "the quota is there", |_| true).await?;
    let kubectl = world.stack.kubectl(&seeded_kubeconfig(&workspace).await?);
    assert!(kubectl.run(&["get", "namespaces", "-o", "name"])?.contains("namespace/annex"));

    workspace.install("hello", "com.example.hello", json!({})).await?;
    workspace.installed("hello").await?;

    // What is seeded and goes missing comes back.
    let secrets: Api<Secret> = Api::namespaced(workspace.client.clone(), "annex");
    let before = secrets.get("annex-kubeconfig").await?.metadata.uid;
    secrets.delete("annex-kubeconfig", &Default::default()).await?;
    when(&secrets, "annex-kubeconfig", "the kubeconfig is back", |secret| secret.metadata.uid != before)
        .await?;
    Ok(())
}

/// Binds the export under any name, with these answers to its claims.
pub(crate) async fn bind(
    workspace: &Workspace,
    name: &str,
    permission_claims: Vec<kube_kcp::kinds::AcceptablePermissionClaim>,
) -> anyhow::Result<()> {
    let export = ExportReference { path: Some("root:annex".into()), name: "annex.sh".into() };
    let spec = APIBindingSpec { reference: BindingReference { export: Some(export) }, permission_claims };
    let bindings: Api<APIBinding> = Api::all(workspace.client.clone());
    bindings.create(&PostParams::default(), &APIBinding::new(name, spec)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_initializer_does_not_disturb_and_many_workspaces_come_at_once() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let mut second = Replica::start(world, Part::Initializer, &["--listen"], &[])?;
    let alice = world.user("alice").await?;
    let names: Vec<String> = (0..12).map(|number| format!("acme-many-{number}")).collect();
    let orders = names.iter().map(|name| async { alice.order(name, "root:annex", "annex-tenant").await });
    futures::future::try_join_all(orders).await?;
    for name in &names {
        let workspace = alice.ready(name).await?;
        let secrets: Api<Secret> = Api::namespaced(workspace.client.clone(), "annex");
        let found = secrets.list(&ListParams::default().labels("annex.sh/managed=true")).await?;
        assert_eq!(found.items.len(), 2, "{name}: nothing is missing and nothing is double");
        let namespaces: Api<Namespace> = Api::all(workspace.client.clone());
        assert!(namespaces.get_opt("annex").await?.is_some());
    }
    assert!(second.runs()?, "the second one did not give up");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lookup_tells_malformed_from_unknown() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let runner = world.runner()?;
    for host in ["", "a b", "..", "user@host.example.com", "[::1]", "a/b"] {
        let (code, body) = runner.lookup(host).await?;
        assert_eq!((code.as_u16(), body["code"].as_str()), (400, Some("MalformedHost")), "{host:?}");
    }
    let (code, body) = runner.lookup("nobody--nothing.apps.localhost").await?;
    assert_eq!((code.as_u16(), body["code"].as_str()), (404, Some("UnknownHost")));
    assert_eq!(runner.get("nobody--nothing.apps.localhost").await?.0, 404);
    Ok(())
}

//! Tenants' own clusters: how things are laid out there, how many there may be, and what becomes of an install whose way in is lost.

use annex_apis::ManagedEnvironment;
use annex_e2e::{
    Caller, Cluster, Kind, NOTES, NOTES_ENDPOINTS, Workspace, World, condition, publish, publish_notes,
    until, when,
};
use anyhow::Context as _;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::{
    environment::{alone, identity, namespace, tenant_on},
    own_cluster::{allowed, is_ready, put_kubeconfig, secrets},
};

/// What may be done with everything that an install is made of.
const ALL: [&str; 6] = ["get", "list", "watch", "create", "patch", "delete"];

/// A tenant's identity on the cluster: an account in a namespace of the same name, and a kubeconfig that speaks for it.
struct Tenant<'a> {
    cluster: &'a Cluster,
    name: &'static str,
    kubeconfig: Value,
}

impl<'a> Tenant<'a> {
    /// With these rights on the whole cluster.
    async fn new(
        world: &World,
        cluster: &'a Cluster,
        name: &'static str,
        rules: Value,
    ) -> anyhow::Result<Tenant<'a>> {
        cluster.create(Kind::Namespace, "", name, json!({})).await?;
        let kubeconfig = identity(world, cluster, name, name).await?;
        cluster.create(Kind::ClusterRole, "", name, json!({ "rules": rules })).await?;
        let binding = json!({
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
            "subjects": [{ "kind": "ServiceAccount", "namespace": name, "name": name }],
        });
        cluster.create(Kind::ClusterRoleBinding, "", name, binding).await?;
        Ok(Self { cluster, name, kubeconfig })
    }

    /// An environment of this cluster, opened by the Secret `own`.
    async fn environment(&self, workspace: &Workspace, name: &str, more: Value) -> anyhow::Result<()> {
        let mut spec = json!({
            "apiURL": self.kubeconfig["clusters"][0]["cluster"]["server"],
            "credentialsSecretRef": { "name": "own" },
        });
        if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
            spec.extend(more);
        }
        let environment = json!({ "apiVersion": "annex.sh/v1alpha1", "kind": "ManagedEnvironment",
            "metadata": { "name": name }, "spec": spec });
        environments(workspace).create(&PostParams::default(), &serde_json::from_value(environment)?).await?;
        Ok(())
    }

    async fn leave(self) -> anyhow::Result<()> {
        self.cluster.delete(Kind::ClusterRoleBinding, "", self.name).await?;
        self.cluster.delete(Kind::ClusterRole, "", self.name).await?;
        self.cluster.delete(Kind::Namespace, "", self.name).await
    }
}

fn environments(workspace: &Workspace) -> Api<ManagedEnvironment> {
    Api::namespaced(workspace.client.clone(), "default")
}

async fn change(workspace: &Workspace, environment: &str, spec: Value) -> anyhow::Result<()> {
    let patch = Patch::Merge(json!({ "spec": spec }));
    environments(workspace).patch(environment, &PatchParams::default(), &patch).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_which_a_tenant_gives_everything_is_laid_out_like_the_platforms() -> anyhow::Result<()> {
    let (world, cluster, _turn) = alone().await?;
    let tenant = Tenant::new(
        world,
        &cluster,
        "tenants-wide",
        json!([
            { "apiGroups": [""], "resources": ["namespaces", "resourcequotas"], "verbs": ALL },
            { "apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": ALL },
            { "apiGroups": ["serving.knative.dev"], "resources": ["services", "domainmappings"], "verbs": ALL },
            { "apiGroups": ["networking.internal.knative.dev"], "resources": ["clusterdomainclaims"], "verbs": ALL },
        ]),
    )
    .await?;
    let _allowed = allowed(world)?;
    let workspace = world.user("alice").await?.tenant("kn-wide").await?;
    put_kubeconfig(&workspace, &tenant.kubeconfig).await?;
    tenant.environment(&workspace, "own", json!({})).await?;
    workspace.install("hello", "com.example.hello", json!({ "environmentRef": { "name": "own" } })).await?;
    let refused = workspace.refused("hello", "NamespaceRequired").await?;
    let message = &condition(&refused, "EnvironmentReady").expect("EnvironmentReady").message;
    assert!(message.contains("spec.namespaces") && message.contains("spec.clusterResources"), "{message}");

    change(&workspace, "own", json!({ "clusterResources": true })).await?;
    let status = when(&workspace.installs(), "hello", "Ready", is_ready).await?.status.expect("a status");
    let (host, runner) = (status.host.expect("a host"), status.runner_ref.expect("a runner"));
    let theirs = namespace(&workspace);
    assert_eq!(
        (runner.environment.as_deref(), runner.namespace.as_deref(), runner.name.as_deref()),
        (Some("own"), Some(theirs.as_str()), Some("runner"))
    );
    assert_eq!(tenant_on(world, &host).await?, workspace.cluster.to_string());
    let level = cluster.get(Kind::Namespace, "", &theirs).await?.expect("a namespace");
    assert_eq!(level.labels()["pod-security.kubernetes.io/enforce"], "restricted");
    for (kind, name) in [(Kind::ResourceQuota, "annex"), (Kind::NetworkPolicy, "annex")] {
        assert!(cluster.get(kind, &theirs, name).await?.is_some(), "{kind:?}");
    }
    let made = cluster.get(Kind::Service, &theirs, "exec").await?.expect("a Knative Service");
    let author = made.annotations().get("serving.knative.dev/creator").cloned().unwrap_or_default();
    assert_eq!(author, "system:serviceaccount:tenants-wide:tenants-wide", "with the tenant's credentials");
    let claim = cluster.get(Kind::ClusterDomainClaim, "", &host).await?.expect("a claim");
    assert_eq!(claim.data["spec"]["namespace"], json!(theirs));

    workspace.installs().delete("hello", &DeleteParams::default()).await?;
    workspace.gone("hello").await?;
    cluster.gone(Kind::ClusterDomainClaim, "", &host).await?;
    cluster.gone(Kind::Namespace, "", &theirs).await?;
    tenant.leave().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_uses_so_many_clusters_of_its_own_at_a_time_and_no_more() -> anyhow::Result<()> {
    const MOST: usize = 4;
    let (world, cluster, _turn) = alone().await?;
    // They may look and make nothing: it is not about what runs there.
    let tenant = Tenant::new(
        world,
        &cluster,
        "tenants-many",
        json!([
            { "apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"] },
            { "apiGroups": ["serving.knative.dev"], "resources": ["services", "domainmappings"],
              "verbs": ["get", "list", "watch"] },
        ]),
    )
    .await?;
    let _allowed = allowed(world)?;
    let workspace = world.user("alice").await?.tenant("kn-many").await?;
    put_kubeconfig(&workspace, &tenant.kubeconfig).await?;
    let install = |number: usize| {
        let (workspace, tenant) = (&workspace, &tenant);
        async move {
            let (name, extension) = (format!("own{number}"), format!("com.example.known{number}"));
            publish(world, &extension, &["1.0.0"]).await?;
            tenant.environment(workspace, &name, json!({ "namespaces": [tenant.name] })).await?;
            workspace.install(&name, &extension, json!({ "environmentRef": { "name": name } })).await
        }
    };
    for number in 0..MOST {
        install(number).await?;
        workspace.refused(&format!("own{number}"), "ComputeRefused").await?;
    }
    install(MOST).await?;
    let refused = workspace.refused(&format!("own{MOST}"), "TooManyEnvironments").await?;
    assert_eq!(condition(&refused, "EnvironmentReady").expect("EnvironmentReady").status, "False");

    // Who goes makes room.
    workspace.installs().delete("own0", &DeleteParams::default()).await?;
    workspace.gone("own0").await?;
    workspace.refused(&format!("own{MOST}"), "ComputeRefused").await?;

    workspace.installs().delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    until("all are gone", || async {
        Ok(workspace.installs().list(&ListParams::default()).await?.items.is_empty().then_some(()))
    })
    .await?;
    tenant.leave().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_install_whose_way_in_is_lost_runs_on_and_does_not_hold_up_the_end_of_its_workspace()
-> anyhow::Result<()> {
    let (world, cluster, _turn) = alone().await?;
    let tenant = Tenant::new(
        world,
        &cluster,
        "tenants-lost",
        json!([
            { "apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"] },
            { "apiGroups": ["serving.knative.dev"], "resources": ["services", "domainmappings"], "verbs": ALL },
        ]),
    )
    .await?;
    let _allowed = allowed(world)?;
    let workspace = world.user("alice").await?.tenant("kn-lost").await?;
    put_kubeconfig(&workspace, &tenant.kubeconfig).await?;
    tenant.environment(&workspace, "own", json!({ "namespaces": [tenant.name] })).await?;
    workspace.install("hello", "com.example.hello", json!({ "environmentRef": { "name": "own" } })).await?;
    let refused = workspace.refused("hello", "ClaimMissing").await?;
    let host = refused.status.expect("a status").host.expect("a host");
    let claim = json!({ "spec": { "namespace": tenant.name } });
    cluster.create(Kind::ClusterDomainClaim, "", &host, claim).await?;
    let runner = workspace.installed("hello").await?.status.expect("a status").runner_ref.expect("a runner");
    let runner = runner.name.expect("a name");
    assert_eq!(tenant_on(world, &host).await?, workspace.cluster.to_string());

    // Who takes the label away takes the Secret away from Annex.
    let label =
        |value: Value| Patch::Merge(json!({ "metadata": { "labels": { "annex.sh/managed": value } } }));
    secrets(&workspace).patch("own", &PatchParams::default(), &label(Value::Null)).await?;
    let refused = workspace.refused("hello", "EnvironmentNotReady").await?;
    let message = &condition(&refused, "EnvironmentReady").expect("EnvironmentReady").message;
    assert!(message.contains("annex.sh/managed=true"), "{message}");
    assert_eq!(tenant_on(world, &host).await?, workspace.cluster.to_string(), "what runs, runs on");
    secrets(&workspace).patch("own", &PatchParams::default(), &label(json!("true"))).await?;
    when(&workspace.installs(), "hello", "Ready again", is_ready).await?;
    let uid = cluster.get(Kind::DomainMapping, tenant.name, &host).await?.expect("a mapping").uid();
    cluster.delete(Kind::DomainMapping, tenant.name, &host).await?;
    cluster
        .when(Kind::DomainMapping, tenant.name, &host, "is followed again", |object| object.uid() != uid)
        .await?;
    when(&workspace.installs(), "hello", "Ready again", is_ready).await?;

    // Of a workspace that is deleted the Secrets go first, and what has a finalizer last.
    world.user("alice").await?.remove("kn-lost").await?;
    world.runner()?.is_nobodys(&host).await?;
    // With the way in, what was made through it may have been lost, too. It is the tenant's to remove; what is not Annex's is there.
    assert!(cluster.get(Kind::Namespace, "", tenant.name).await?.is_some());
    assert!(cluster.get(Kind::ClusterDomainClaim, "", &host).await?.is_some());
    for (kind, name) in [(Kind::DomainMapping, &host), (Kind::Service, &runner)] {
        if cluster.get(kind, tenant.name, name).await?.is_some() {
            cluster.delete(kind, tenant.name, name).await?;
        }
    }
    cluster.delete(Kind::ClusterDomainClaim, "", &host).await?;
    tenant.leave().await
}

/// What the sample has kept in the workspace, once it answers.
async fn notes(url: &str) -> anyhow::Result<Value> {
    let caller = Caller::of(url)?;
    let body = until("the notes are read", || async {
        let (status, body) = caller.call(Method::GET, NOTES, "/notes", None).await?;
        Ok((status == 200).then_some(body))
    })
    .await?;
    Ok(serde_json::from_str::<Value>(&body)?["notes"].take())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_on_the_platform_is_purged_with_an_install_on_a_tenants_own_cluster()
-> anyhow::Result<()> {
    let (world, cluster, _turn) = alone().await?;
    block_in_place(|| publish_notes(&world.stack, &world.stack.paths().kcp_kubeconfig()))?;
    let tenant = Tenant::new(
        world,
        &cluster,
        "tenants-moved",
        json!([
            { "apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"] },
            { "apiGroups": ["serving.knative.dev"], "resources": ["services", "domainmappings"], "verbs": ALL },
        ]),
    )
    .await?;
    let _allowed = allowed(world)?;
    let workspace = world.user("alice").await?.tenant("kn-moved").await?;
    put_kubeconfig(&workspace, &tenant.kubeconfig).await?;
    tenant.environment(&workspace, "own", json!({ "namespaces": [tenant.name] })).await?;
    let delete = || async {
        workspace.installs().delete("notes", &DeleteParams::default()).await?;
        workspace.gone("notes").await?;
        anyhow::Ok(())
    };
    let on_the_platform = json!({ "public": NOTES_ENDPOINTS, "deletionPolicy": "Retain" });
    workspace.install("notes", NOTES, on_the_platform.clone()).await?;
    let status = workspace.installed("notes").await?.status.context("a status")?;
    let (url, host) = (status.url.context("a URL")?, status.host.context("a host")?);
    let note = json!({ "text": "Buy milk" });
    until("a note is kept", || async {
        let (status, _) = Caller::of(&url)?.call(Method::POST, NOTES, "/notes", Some(&note)).await?;
        Ok(status.is_success().then_some(()))
    })
    .await?;
    // One cluster is both here, and a host leads to one of the two: it cannot move in one step as it can between two.
    delete().await?;
    workspace.install("notes", NOTES, on_the_platform.clone()).await?;
    workspace.installed("notes").await?;
    assert_eq!(notes(&url).await?[0]["text"], note["text"], "it stayed");
    delete().await?;

    let elsewhere = json!({ "environmentRef": { "name": "own" }, "deletionPolicy": "Purge" });
    workspace.install("notes", NOTES, elsewhere).await?;
    workspace.refused("notes", "ClaimMissing").await?;
    let claim = json!({ "spec": { "namespace": tenant.name } });
    cluster.create(Kind::ClusterDomainClaim, "", &host, claim).await?;
    let runner = workspace.installed("notes").await?.status.context("a status")?.runner_ref;
    assert_eq!(runner.and_then(|runner| runner.environment).as_deref(), Some("own"));
    delete().await?;
    cluster.delete(Kind::ClusterDomainClaim, "", &host).await?;

    workspace.install("notes", NOTES, on_the_platform).await?;
    workspace.installed("notes").await?;
    assert_eq!(notes(&url).await?, json!([]), "it is gone");
    delete().await?;
    tenant.leave().await
}

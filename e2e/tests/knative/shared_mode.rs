//! One runner for all workspaces, as the app-domains paper has it, under an identity that may do just that.

use annex_e2e::{Kind, condition};
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::environment::{
    Reconfigured, allow, alone, hello, identity, manifest_in, tenant_on, uninstall_everything,
};

/// One document of a manifest of the project's.
fn document(file: &str, kind: &str) -> anyhow::Result<Value> {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/compute/shared-mode").join(file);
    let documents: Vec<Value> = serde_saphyr::from_multiple(&std::fs::read_to_string(path)?)?;
    Ok(documents.into_iter().find(|document| document["kind"] == kind).expect("a document of the kind"))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_runner_for_all_with_rights_in_its_namespace_alone() -> anyhow::Result<()> {
    let (world, cluster, _turn) = alone().await?;
    uninstall_everything(world).await?;
    let namespace = "annex-runner";
    let labels = document("rbac.yaml", "Namespace")?["metadata"]["labels"].clone();
    cluster.create(Kind::Namespace, "", namespace, json!({ "metadata": { "labels": labels } })).await?;
    let kubeconfig = identity(world, &cluster, "annex-system", "annex-shared").await?;
    let rules = document("rbac.yaml", "Role")?["rules"].clone();
    allow(&cluster, namespace, ("annex-system", "annex-shared"), rules).await?;
    let path = world.stack.paths().state().join("services/shared.kubeconfig");
    std::fs::write(&path, kubeconfig.to_string())?;
    let mode = Reconfigured::start(
        world,
        &["--compute-kubeconfig", path.to_str().expect("a path in Unicode")],
        &[
            ("RUNNER_NAMESPACE", namespace),
            ("RUNNER_KSERVICE", "runner"),
            ("KNATIVE_AUTO_CREATE_CDC", "false"),
        ],
    )?;

    let workspace = world.user("alice").await?.tenant("kn-shared").await?;
    workspace.install("hello", "com.example.hello", json!({})).await?;
    let refused = workspace.refused("hello", "RunnerNotFound").await?;
    assert!(condition(&refused, "RunnerReady").expect("RunnerReady").message.contains("annex-runner/runner"));

    // An operator copies it from annex-system.
    let paths = world.stack.paths();
    let signing = json!({
        "trust.pem": std::fs::read_to_string(paths.trust_bundle())?,
        "denylist": std::fs::read_to_string(paths.denylist())?,
        "registry-keys.json": std::fs::read_to_string(paths.registry_keys())?,
    });
    cluster.create(Kind::Secret, namespace, "annex-signing", json!({ "stringData": signing })).await?;
    let mut runner = document("runner.yaml", "Service")?;
    runner["spec"]["template"]["spec"]["timeoutSeconds"] = json!(5);
    let container = &mut runner["spec"]["template"]["spec"]["containers"][0];
    container["image"] = json!(world.stack.runner_image().expect("an image"));
    let tokens = std::fs::read_to_string(world.stack.paths().runner_tokens())?;
    let env = container["env"].as_array_mut().expect("an environment");
    // An operator puts it into the Secret annex-runner-credentials.
    env.push(json!({ "name": "REGISTRY_TOKEN", "value": tokens.trim() }));
    for variable in env {
        if variable["name"] == "REGISTRY_BASE_URL" {
            variable["value"] = json!(world.stack.registry_url()?);
        }
    }
    let body = json!({ "metadata": { "labels": runner["metadata"]["labels"] }, "spec": runner["spec"] });
    cluster.create(Kind::Service, namespace, "runner", body).await?;

    let refused = workspace.refused("hello", "ClaimMissing").await?;
    let host = refused.status.as_ref().expect("a status").host.clone().expect("a host");
    let claim = manifest_in(&condition(&refused, "DomainReady").expect("DomainReady").message)?;
    assert_eq!((&claim["kind"], &claim["metadata"]["name"]), (&json!("ClusterDomainClaim"), &json!(host)));
    cluster.create(Kind::ClusterDomainClaim, "", &host, json!({ "spec": claim["spec"] })).await?;
    let installed = workspace.installed("hello").await?.status.expect("a status");
    let reference = installed.runner_ref.expect("a runner");
    assert_eq!(
        (reference.namespace.as_deref(), reference.name.as_deref()),
        (Some(namespace), Some("runner"))
    );
    assert_eq!(tenant_on(world, &host).await?, workspace.cluster.to_string());

    workspace.installs().delete("hello", &DeleteParams::default()).await?;
    cluster.gone(Kind::DomainMapping, namespace, &host).await?;
    let left = cluster.get(Kind::ClusterDomainClaim, "", &host).await?;
    assert!(left.is_some(), "who made the claim removes it");
    assert!(cluster.get(Kind::Service, namespace, "runner").await?.is_some(), "the runner is the operator's");

    drop(mode);
    cluster.delete(Kind::ClusterDomainClaim, "", &host).await?;
    // Its end takes as long as its pods may take, and who needs the name again waits for it.
    cluster.api(Kind::Namespace, "").delete(namespace, &DeleteParams::default()).await?;
    cluster.delete(Kind::ServiceAccount, "annex-system", "annex-shared").await?;
    // Kubernetes takes the token away with its account.
    cluster.gone(Kind::Secret, "annex-system", "annex-shared-token").await?;
    let (again, host) = hello(world, "alice", "kn-not-shared").await?;
    let own = cluster.get(Kind::DomainMapping, &crate::environment::namespace(&again), &host).await?;
    assert!(own.is_some(), "each workspace has its own again");
    Ok(())
}

//! With no more rights on the cluster than the settings ask for.

use annex_e2e::{Kind, World, condition, until};
use kube::{ResourceExt as _, api::DeleteParams};
use serde_json::json;
use tokio::task::block_in_place;

use crate::{
    environment::{Reconfigured, alone, hello, manifest_in, namespace, tenant_on},
    overlay::manifests,
};

const ACCOUNT: &str = "--as=system:serviceaccount:annex-system:annex-controller";

/// What an optional manifest grants is not granted as long as this lives.
struct Withheld(&'static World, String);

impl Withheld {
    fn begin(world: &'static World, manifest: &str) -> anyhow::Result<Self> {
        let file = manifests().join("rbac").join(manifest).to_str().expect("a path in Unicode").to_owned();
        let withheld = Self(world, file);
        withheld.run(&["delete"])?;
        Ok(withheld)
    }

    fn run(&self, verb: &[&str]) -> anyhow::Result<()> {
        let args = [verb, &["--filename", self.1.as_str()]].concat();
        block_in_place(|| self.0.stack.compute_admin().run(&args).map(drop))
    }
}

impl Drop for Withheld {
    fn drop(&mut self) {
        let granted = self.run(&["apply", "--server-side"]);
        assert!(granted.is_ok() || std::thread::panicking(), "{granted:?}");
    }
}

/// Whether the controller's account may do this on the whole cluster.
fn may(world: &World, verb: &str, what: &str) -> bool {
    // `no` is a failure to kubectl.
    let args = ["auth", "can-i", verb, what, "--all-namespaces", ACCOUNT];
    block_in_place(|| world.stack.compute_admin().run(&args)).is_ok_and(|answer| answer.trim() == "yes")
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_claims_an_install_waits_for_the_operators_and_needs_no_other()
-> anyhow::Result<()> {
    let (world, cluster, _turn) = alone().await?;
    let claims = "clusterdomainclaims.networking.internal.knative.dev";
    assert!(may(world, "create", claims), "what is taken away was there");
    let withheld = Withheld::begin(world, "domain-claims.yaml")?;
    until("the cluster has heard of it", || async { Ok((!may(world, "get", claims)).then_some(())) }).await?;
    for verb in ["get", "list", "watch", "create", "patch", "delete"] {
        assert!(!may(world, verb, claims), "{verb}");
    }
    let off = Reconfigured::start(world, &[], &[("KNATIVE_AUTO_CREATE_CDC", "false")])?;

    let workspace = world.user("alice").await?.tenant("kn-unclaimed").await?;
    workspace.install("hello", "com.example.hello", json!({})).await?;
    let refused = workspace.refused("hello", "ClaimMissing").await?;
    let host = refused.status.as_ref().expect("a status").host.clone().expect("a host");
    let claim = manifest_in(&condition(&refused, "DomainReady").expect("DomainReady").message)?;
    assert_eq!(claim["metadata"]["name"], json!(host));
    assert_eq!(claim["spec"]["namespace"], json!(namespace(&workspace)));
    // What the tenant is shown is applied as it is.
    block_in_place(|| world.stack.compute_admin().run_with_input(&["apply", "-f", "-"], &claim.to_string()))?;
    workspace.installed("hello").await?;
    assert_eq!(tenant_on(world, &host).await?, workspace.cluster.to_string());

    workspace.installs().delete("hello", &DeleteParams::default()).await?;
    cluster.gone(Kind::DomainMapping, &namespace(&workspace), &host).await?;
    cluster.gone(Kind::Namespace, "", &namespace(&workspace)).await?;
    assert!(cluster.get(Kind::ClusterDomainClaim, "", &host).await?.is_some(), "who made it removes it");
    cluster.delete(Kind::ClusterDomainClaim, "", &host).await?;

    drop(withheld);
    drop(off);
    let (_, host) = hello(world, "alice", "kn-claimed-again").await?;
    let claim = cluster.get(Kind::ClusterDomainClaim, "", &host).await?.expect("a claim of Annex's");
    assert_eq!(claim.labels().get("annex.sh/managed").map(String::as_str), Some("true"));
    Ok(())
}

use annex_apis::Tenant;
use annex_e2e::{condition, when};
use kube::{
    Api,
    api::{DeleteParams, Patch},
};
use serde_json::json;

use crate::environment::{publish, shared};

#[tokio::test(flavor = "multi_thread")]
async fn the_second_tenant_on_a_host_gets_a_conflict_and_the_first_keeps_answering() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    publish(world, "com.example.conflict", &["1.0.0"]).await?;
    let (alice, bob) = (world.user("alice").await?, world.user("bob").await?);
    let (first, second) = tokio::try_join!(alice.tenant("acme-first"), bob.tenant("globex-second"))?;
    let tenants: Api<Tenant> = Api::all(world.admin().await?.at("root:annex")?);
    let slug = |slug: &str| Patch::Merge(json!({ "spec": { "slug": slug } }));
    for workspace in [&first, &second] {
        when(&tenants, workspace.cluster.as_str(), "the Tenant is there", |_| true).await?;
        tenants.patch(workspace.cluster.as_str(), &Default::default(), &slug("same")).await?;
    }
    let runner = world.runner()?;
    first.install("x", "com.example.conflict", json!({})).await?;
    let host = first.installed("x").await?.status.expect("a status").host.expect("a host");
    assert!(host.starts_with("same--conflict."), "{host}");

    second.install("x", "com.example.conflict", json!({})).await?;
    let refused = second.refused("x", "DomainConflict").await?;
    assert_eq!(refused.status.as_ref().and_then(|status| status.host.clone()), None);
    let said = serde_json::to_string(&refused.status)?;
    for secret in [first.cluster.as_str(), "acme", "alice"] {
        assert!(!said.contains(secret), "another tenant is named: {said}");
    }
    assert_eq!(runner.get(&host).await?.1["tenant_id"], first.cluster.as_str());

    // The operator resolves it with a slug, without the tenant doing anything.
    tenants.patch(second.cluster.as_str(), &Default::default(), &slug("other")).await?;
    let healed = second.installed("x").await?;
    let other = healed.status.as_ref().and_then(|status| status.host.clone()).expect("a host");
    assert!(other.starts_with("other--conflict."), "{other}");
    assert_eq!(runner.get(&other).await?.1["tenant_id"], second.cluster.as_str());

    // Back on the same name; this time the first lets go of it.
    tenants.patch(second.cluster.as_str(), &Default::default(), &slug("same")).await?;
    second.refused("x", "DomainConflict").await?;
    first.installs().delete("x", &DeleteParams::default()).await?;
    let healed = second.installed("x").await?;
    assert_eq!(healed.status.as_ref().and_then(|status| status.host.as_ref()), Some(&host));
    assert!(condition(&healed, "DomainReady").is_some_and(|condition| condition.status == "True"));
    assert_eq!(runner.get(&host).await?.1["tenant_id"], second.cluster.as_str());
    Ok(())
}

use annex_apis::Tenant;
use annex_e2e::{condition, until, when};
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
    let slug = |slug: &str| Patch::Merge(json!({ "spec": { "slug": slug, "quota": { "installs": 7 } } }));
    for workspace in [&first, &second] {
        when(&tenants, workspace.cluster.as_str(), "the Tenant is there", |_| true).await?;
        tenants.patch(workspace.cluster.as_str(), &Default::default(), &slug("same")).await?;
        // And of the slug, too.
        workspace.may_have(7).await?;
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
    let refused = second.refused("x", "DomainConflict").await?;
    assert_eq!(
        refused.status.as_ref().and_then(|status| status.host.as_ref()),
        Some(&other),
        "it keeps what it has"
    );
    assert_eq!(runner.get(&other).await?.0, 200, "and goes on answering there");
    first.installs().delete("x", &DeleteParams::default()).await?;
    let healed = second.installed("x").await?;
    assert_eq!(healed.status.as_ref().and_then(|status| status.host.as_ref()), Some(&host));
    assert!(condition(&healed, "DomainReady").is_some_and(|condition| condition.status == "True"));
    assert_eq!(runner.get(&host).await?.1["tenant_id"], second.cluster.as_str());
    // The registry hears of it in the same moment as this test does, and not always before.
    until("what was given up answers no more", || async {
        Ok((runner.get(&other).await?.0 == 404).then_some(()))
    })
    .await?;
    Ok(())
}

/// Two extensions whose names end alike meet in one host within a workspace; that is said as it is, and a slug mends it.
#[tokio::test(flavor = "multi_thread")]
async fn two_extensions_of_one_name_meet_in_a_workspace() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    for name in ["com.example.meets", "org.example.meets"] {
        publish(world, name, &["1.0.0"]).await?;
    }
    let workspace = world.user("alice").await?.tenant("acme-meets").await?;
    workspace.install("one", "com.example.meets", json!({})).await?;
    workspace.installed("one").await?;
    workspace.install("two", "org.example.meets", json!({})).await?;
    let refused = workspace.refused("two", "DomainConflict").await?;
    assert!(condition(&refused, "Ready").expect("Ready").message.contains("default/one"));
    let extensions: Api<annex_apis::Extension> = Api::all(world.admin().await?.at("root:annex")?);
    let slug = |slug: &str| Patch::Merge(json!({ "spec": { "slug": slug } }));
    extensions.patch("org.example.meets", &Default::default(), &slug("meets-org")).await?;
    let host = workspace.installed("two").await?.status.expect("a status").host.expect("a host");
    assert!(host.contains("--meets-org."), "{host}");
    let changed = extensions.patch("org.example.meets", &Default::default(), &slug("other")).await;
    let (code, message) = crate::environment::refusal(changed.map_err(Into::into));
    assert_eq!(code, 422);
    assert!(message.contains("spec.slug cannot change"), "{message}");
    Ok(())
}

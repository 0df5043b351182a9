//! An extension's life on a cluster: through Envoy, the gateway and what executes in the workspace's own namespace.

use annex_apis::{Install, StageStatus};
use annex_e2e::{
    Caller, GUEST_ENDPOINTS, Load, Publisher, condition, guest_capabilities, guest_says, guest_was_told,
    modules, publish_guest, until,
};
use anyhow::Context as _;
use kube::api::DeleteParams;
use serde_json::json;

use crate::environment::shared;

#[tokio::test(flavor = "multi_thread")]
async fn it_is_installed_upgraded_rolled_back_and_revoked_while_it_is_called() -> anyhow::Result<()> {
    const NAME: &str = "com.example.kn-flows";
    let (world, _cluster, _turn) = shared().await?;
    let publisher = Publisher::with_kubeconfig(&world.stack, &world.stack.paths().kcp_kubeconfig())?;
    for (version, parts, upgrade) in [
        ("1.0.0", &[("store", "1.0.0"), ("search", "1.0.0")][..], "note"),
        ("1.1.0", &[("store", "1.0.0"), ("search", "1.1.0")], "note"),
        ("1.2.0", &[("store", "1.2.0"), ("search", "1.1.0")], "fail"),
    ] {
        let manifest = json!({
            "name": NAME, "publisher": "example.com", "version": version, "modules": modules(parts),
            "lifecycle": { "install": "note", "upgrade": upgrade, "uninstall": "note" },
            "capabilities": guest_capabilities(),
        });
        publish_guest(&publisher, manifest).await?;
    }
    let workspace = world.user("alice").await?.tenant("kn-acme-flows").await?;
    let spec =
        json!({ "version": "=1.0.0", "public": GUEST_ENDPOINTS, "retries": 0, "deletionPolicy": "Purge" });
    workspace.install("flows", NAME, spec.clone()).await?;
    let install = workspace.installed("flows").await?;
    let caller = caller(&install)?;
    // What executes has started, because the content was prepared there. The gateway may hear of the Install a moment later.
    until("it is called", || async {
        Ok(guest_says(&caller, NAME, "/version").await.ok().filter(|version| version == "1.0.0"))
    })
    .await?;

    let load = Load::on(&caller, NAME).await?;
    load.goes_on(10).await?;
    workspace.change("flows", json!({ "version": "=1.1.0" })).await?;
    let install = workspace.installed("flows").await?;
    assert_eq!(install.status.context("a status")?.installed_version.as_deref(), Some("1.1.0"));
    until("the new version answers", || async {
        Ok((guest_says(&caller, NAME, "/version").await? == "1.1.0").then_some(()))
    })
    .await?;
    workspace.change("flows", json!({ "version": "=1.2.0" })).await?;
    let install = workspace.install_with("flows", "Remediated", "True", "RolledBack").await?;
    assert_eq!(condition(&install, "Ready").map(|ready| ready.reason.as_str()), Some("LifecycleFailed"));
    let status = install.status.context("a status")?;
    assert_eq!(status.installed_version.as_deref(), Some("1.1.0"));
    let record = status.history.first().context("a record")?;
    assert_eq!(record.status, StageStatus::Cancelled);
    assert!(
        record.message.as_ref().is_some_and(|message| message.contains("the migration failed")),
        "{record:?}"
    );
    assert_eq!(guest_says(&caller, NAME, "/version").await?, "1.1.0");
    load.goes_on(10).await?;
    assert_eq!(load.ends().await?, Vec::<String>::new(), "every call was answered");
    let mut told: Vec<String> = guest_was_told(&caller, NAME)
        .await?
        .iter()
        .map(|[action, module, ..]| format!("{action} {module}"))
        .collect();
    // Where an answer is lost, the handler is called again.
    told.dedup();
    assert_eq!(told, ["install store", "install search", "upgrade search", "upgrade store"]);

    // With all that it stored, which the gateway keeps.
    for again in [false, true] {
        if again {
            workspace.install("flows", NAME, spec.clone()).await?;
            let caller = self::caller(&workspace.installed("flows").await?)?;
            let told =
                until("it is called", || async { Ok(guest_was_told(&caller, NAME).await.ok()) }).await?;
            assert_eq!(told.len(), 2, "{told:?}");
        }
        workspace.installs().delete("flows", &DeleteParams::default()).await?;
        workspace.gone("flows").await?;
    }
    Ok(())
}

fn caller(install: &Install) -> anyhow::Result<Caller> {
    Caller::of(install.status.as_ref().and_then(|status| status.url.as_ref()).context("a URL")?)
}

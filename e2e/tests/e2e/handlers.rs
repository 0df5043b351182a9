//! What lifecycle handlers are told, what they may take, and which modules have none to call.

use annex_apis::{ExtensionVersion, FlowAction, Install, StageStatus, Tenant};
use annex_e2e::{
    Caller, GUEST_ENDPOINTS, World, guest_capabilities, guest_is_handed, guest_says, guest_was_told, modules,
    publish_guest, until, when,
};
use anyhow::Context as _;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::task::block_in_place;
use xtask::Part;

use crate::{
    dependencies::{message, without},
    environment::{alone, shared},
    events::told,
    flows::{caller, flow, gone, has, status},
    registry::alice,
};

/// A version of the engine's guest, with more in its manifest.
async fn published(world: &World, name: &str, version: &str, more: Value) -> anyhow::Result<()> {
    let mut manifest = json!({
        "name": name, "publisher": "example.com", "version": version, "capabilities": guest_capabilities(),
    });
    json_patch::merge(&mut manifest, &more);
    publish_guest(&alice(world).await?, manifest).await
}

/// What the platform made, as the extension is handed it in a call.
async fn platform(caller: &Caller, extension: &str) -> anyhow::Result<Value> {
    Ok(guest_is_handed(caller, extension).await?["annex"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_handler_is_told_where_the_install_will_answer_and_what_it_needs() -> anyhow::Result<()> {
    const BASE: &str = "com.example.footing";
    const NAME: &str = "com.example.curious";
    let (world, _turn) = shared().await;
    published(world, BASE, "1.0.0", json!({})).await?;
    published(world, BASE, "1.1.0", json!({})).await?;
    let needs = json!([{ "extension": BASE, "version": "^1" }]);
    let looks = json!({ "dependencies": needs, "lifecycle": { "install": "look" } });
    published(world, NAME, "1.0.0", looks).await?;
    published(world, NAME, "2.0.0", json!({ "dependencies": needs, "lifecycle": { "install": "note" } }))
        .await?;
    let workspace = world.user("alice").await?.tenant("acme-curious").await?;
    let tenants: Api<Tenant> = Api::all(world.admin().await?.at("root:annex")?);
    when(&tenants, workspace.cluster.as_str(), "the Tenant is there", |_| true).await?;
    let quota = Patch::Merge(json!({ "spec": { "quota": { "memoryMiB": 48 } } }));
    tenants.patch(workspace.cluster.as_str(), &PatchParams::default(), &quota).await?;
    workspace.install("footing", BASE, json!({ "version": "=1.0.0", "public": GUEST_ENDPOINTS })).await?;
    let url = status(&workspace.installed("footing").await?).url.clone().context("a URL")?;

    // The handler says that it cannot, and what it was told.
    workspace.install("curious", NAME, json!({ "version": "=1.0.0", "public": GUEST_ENDPOINTS })).await?;
    let install = workspace.refused("curious", "LifecycleFailed").await?;
    let told = message(&install);
    let told = &told[told.find('{').context("a configuration")?..];
    let told: Value = serde_json::Deserializer::from_str(told).into_iter().next().context("JSON")??;
    let told = &told["annex"];

    workspace.change("curious", json!({ "version": "=2.0.0" })).await?;
    let install = has(&workspace, "curious", "2.0.0").await?;
    let at = status(&install);
    assert_eq!((told["host"].as_str(), told["url"].as_str()), (at.host.as_deref(), at.url.as_deref()));
    assert_eq!(told["limits"]["memoryMiB"], 48);
    assert_eq!(told["dependencies"][BASE]["url"], json!(url));
    assert_eq!(told["dependencies"][BASE]["version"], "1.0.0");
    let caller = caller(&install)?;
    let called = platform(&caller, NAME).await?;
    for field in ["host", "url", "limits", "dependencies", "interfaces", "environment"] {
        assert_eq!(called[field], told[field], "{field}");
    }

    // What has changed of it is there at the next call, and nothing is installed for it.
    workspace.change("footing", json!({ "version": "=1.1.0" })).await?;
    until("it is handed the other version", || async {
        let called = platform(&caller, NAME).await?;
        Ok((called["dependencies"][BASE]["version"] == "1.1.0").then_some(()))
    })
    .await?;
    let quota = Patch::Merge(json!({ "spec": { "quota": { "memoryMiB": 40 } } }));
    tenants.patch(workspace.cluster.as_str(), &PatchParams::default(), &quota).await?;
    until("it is handed the other quota", || async {
        let called = platform(&caller, NAME).await?;
        Ok((called["limits"]["memoryMiB"] == 40).then_some(()))
    })
    .await?;
    let flows = status(&workspace.installed("curious").await?).history.clone();
    assert_eq!(flows[0].to.as_deref(), Some("2.0.0"));

    // Another domain is a flow, of which the extension is told by what it is handed alone.
    let told = guest_was_told(&caller, NAME).await?;
    let slug = Patch::Merge(json!({ "spec": { "slug": "curiouser" } }));
    tenants.patch(workspace.cluster.as_str(), &PatchParams::default(), &slug).await?;
    let moved =
        |install: &Install| status(install).host.as_ref().is_some_and(|host| host.starts_with("curiouser--"));
    let install = when(&workspace.installs(), "curious", "it has the other host", moved).await?;
    let caller = self::caller(&install)?;
    until("it is handed the other domain", || async {
        let called = platform(&caller, NAME).await?;
        let at = status(&install);
        let is_other =
            called["host"].as_str() == at.host.as_deref() && called["url"].as_str() == at.url.as_deref();
        Ok(is_other.then_some(()))
    })
    .await?;
    assert_eq!(guest_was_told(&caller, NAME).await?, told, "no handler is called for it");
    without(&workspace, &["curious", "footing"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_a_handler_nor_a_flow_takes_longer_than_it_may() -> anyhow::Result<()> {
    const NAME: &str = "com.example.slow";
    let (world, _turn) = alone().await;
    let upgrade =
        |handler: &str| json!({ "lifecycle": { "upgrade": handler }, "limits": { "timeoutMs": 300 } });
    published(world, NAME, "1.0.0", json!({ "lifecycle": { "upgrade": "note" } })).await?;
    published(world, NAME, "1.1.0", upgrade("spin")).await?;
    published(world, NAME, "1.2.0", upgrade("fail")).await?;
    published(world, NAME, "1.3.0", json!({ "lifecycle": { "upgrade": "spin" } })).await?;
    let workspace = world.user("alice").await?.tenant("acme-slow").await?;
    workspace.install("slow", NAME, json!({ "version": "=1.0.0", "public": GUEST_ENDPOINTS })).await?;
    let caller = caller(&has(&workspace, "slow", "1.0.0").await?)?;

    // A handler, by its deadline.
    workspace.change("slow", json!({ "version": "=1.1.0", "retries": 0 })).await?;
    let install = workspace.install_with("slow", "Remediated", "True", "RolledBack").await?;
    let record = &status(&install).history[0];
    assert_eq!((record.status, record.reason.as_deref()), (StageStatus::Cancelled, Some("LifecycleFailed")));
    let why = record.message.as_deref().unwrap_or_default();
    assert!(why.contains("handler spin") && why.contains("took longer than it may"), "{why}");

    // A flow, however often its handler may still be tried.
    workspace.change("slow", json!({ "version": "=1.2.0", "retries": 100, "timeout": "3s" })).await?;
    let timed_out = |install: &Install| {
        status(install).history.first().is_some_and(|record| record.to.as_deref() == Some("1.2.0"))
    };
    let install = when(&workspace.installs(), "slow", "it takes too long", timed_out).await?;
    let record = &status(&install).history[0];
    assert_eq!((record.status, record.reason.as_deref()), (StageStatus::Cancelled, Some("Timeout")));
    assert!(flow(&install).again_at.is_some(), "it is no fault of anybody's, and begun again");
    assert_eq!(guest_says(&caller, NAME, "/version").await?, "1.0.0");

    // By the platform's, where its version names none: that, too, is the handler's fault and not the runner's.
    let restarted = |env: &[(&str, &str)]| {
        world.stack.configure(Part::Controller, &[], env);
        block_in_place(|| world.stack.start(Part::Controller))
    };
    restarted(&[("EXT_LIFECYCLE_TIMEOUT_MS", "3000")])?;
    workspace.change("slow", json!({ "version": "=1.3.0", "retries": 0, "timeout": "10m" })).await?;
    let hangs = |install: &Install| {
        let record = status(install).history.first();
        record.is_some_and(|record| record.to.as_deref() == Some("1.3.0"))
    };
    let install = when(&workspace.installs(), "slow", "its handler has failed", hangs).await;
    restarted(&[])?;
    assert_eq!(status(&install?).history[0].reason.as_deref(), Some("LifecycleFailed"));
    without(&workspace, &["slow"]).await
}

/// What an extension stores is its workspace's: it goes with the Install that has it, and with no other.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_purges_what_another_install_has_stored() -> anyhow::Result<()> {
    const NAME: &str = "com.example.heirs";
    let (world, _turn) = shared().await;
    let handlers = |install: &str| json!({ "lifecycle": { "install": install, "uninstall": "note" } });
    published(world, NAME, "1.0.0", handlers("refuse")).await?;
    published(world, NAME, "1.1.0", handlers("note")).await?;
    published(world, NAME, "1.2.0", handlers("note")).await?;
    let workspace = world.user("alice").await?.tenant("acme-heirs").await?;
    let spec =
        |version: &str| json!({ "version": version, "public": GUEST_ENDPOINTS, "deletionPolicy": "Purge" });
    workspace.install("first", NAME, spec("=1.0.0")).await?;
    workspace.install_with("first", "Remediated", "True", "RolledBack").await?;
    workspace.install("second", NAME, spec("=1.1.0")).await?;
    let caller = caller(&has(&workspace, "second", "1.1.0").await?)?;
    let told = async || {
        let told = guest_was_told(&caller, NAME).await?;
        anyhow::Ok(told.into_iter().map(|[action, _, _, to]| format!("{action} {to}")).collect::<Vec<_>>())
    };
    let before = until("it is called", || async { Ok(told().await.ok()) }).await?;
    assert_eq!(before.last().map(String::as_str), Some("install 1.1.0"));
    gone(&workspace, "first").await?;
    assert_eq!(told().await?, before);

    // The catalog loses its version: nobody can be called any more, and yet it was asked for that nothing stays.
    let versions: Api<ExtensionVersion> = Api::all(world.admin().await?.at("root:annex")?);
    versions.delete(&format!("{NAME}-1.1.0"), &DeleteParams::default()).await?;
    workspace.refused("second", "VersionWithdrawn").await?;
    gone(&workspace, "second").await?;
    workspace.install("second", NAME, spec("=1.2.0")).await?;
    has(&workspace, "second", "1.2.0").await?;
    let after = until("it is called", || async { Ok(told().await.ok()) }).await?;
    assert_eq!(after, ["install 1.2.0"]);
    without(&workspace, &["second"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deprecated_module_is_disabled_last_and_not_called() -> anyhow::Result<()> {
    const NAME: &str = "com.example.ageing";
    let (world, _turn) = shared().await;
    let lifecycle = json!({ "install": "note", "upgrade": "note", "uninstall": "note" });
    let all = modules(&[("old", "1.0.0"), ("new", "1.0.0")]);
    published(world, NAME, "1.0.0", json!({ "lifecycle": lifecycle, "modules": all })).await?;
    // It is another in this version, too.
    let mut deprecated = modules(&[("old", "1.1.0"), ("new", "1.1.0")]);
    deprecated[0]["deprecated"] = json!(true);
    published(world, NAME, "1.1.0", json!({ "lifecycle": lifecycle, "modules": deprecated })).await?;
    let workspace = world.user("alice").await?.tenant("acme-ageing").await?;
    workspace.install("ageing", NAME, json!({ "version": "=1.0.0", "public": GUEST_ENDPOINTS })).await?;
    let caller = caller(&has(&workspace, "ageing", "1.0.0").await?)?;
    workspace.change("ageing", json!({ "version": "=1.1.0" })).await?;
    let install = has(&workspace, "ageing", "1.1.0").await?;
    assert_eq!(flow(&install).action, FlowAction::Upgrade);
    let names: Vec<&str> = flow(&install).stages.iter().map(|stage| stage.name.as_str()).collect();
    let at = |name: &str| names.iter().position(|other| *other == name);
    assert!(at("Disable") > at("Publish") && at("Lifecycle/old").is_none(), "{names:?}");
    let enabled: Vec<&str> = status(&install).modules.iter().map(|module| module.name.as_str()).collect();
    assert_eq!(enabled, ["new"]);
    let told: Vec<String> = guest_was_told(&caller, NAME)
        .await?
        .iter()
        .map(|[action, module, ..]| format!("{action} {module}"))
        .collect();
    assert_eq!(told, ["install old", "install new", "upgrade new"]);
    without(&workspace, &["ageing"]).await
}

/// Whoever requires an interface is told who provides it, and where that is reached.
#[tokio::test(flavor = "multi_thread")]
async fn where_an_interface_is_reached_is_told_and_another_provider_is_too() -> anyhow::Result<()> {
    const NAME: &str = "com.example.walker";
    const PROVIDERS: [(&str, &str, &str); 2] =
        [("com.example.floor", "floor", "3.1.0"), ("com.example.carpet", "carpet", "3.2.0")];
    let (world, _turn) = shared().await;
    let workspace = world.user("alice").await?.tenant("acme-walker").await?;
    for (provider, _, interface) in PROVIDERS {
        let provides = json!({ "provides": [{ "interface": "ground", "version": interface }] });
        published(world, provider, "1.0.0", provides).await?;
    }
    published(world, NAME, "1.0.0", json!({ "requires": [{ "interface": "ground", "version": "^3" }] }))
        .await?;
    let mut walker = None;
    for (provider, name, interface) in PROVIDERS {
        // The higher one is taken as soon as it is there.
        workspace.install(name, provider, json!({})).await?;
        let url = status(&workspace.installed(name).await?).url.clone().context("a URL")?;
        if walker.is_none() {
            workspace.install("walker", NAME, json!({ "public": GUEST_ENDPOINTS })).await?;
            walker = Some(caller(&workspace.installed("walker").await?)?);
        }
        let walker = walker.as_ref().context("it is installed")?;
        until(&format!("it is told of {provider}"), || async {
            let told = platform(walker, NAME).await?["interfaces"]["ground"].clone();
            let right = json!({
                "extension": provider, "interface": interface, "version": "1.0.0", "url": url, "api": format!("{url}api/ext/{provider}"),
            });
            Ok((told == right).then_some(()))
        })
        .await?;
    }
    without(&workspace, &["walker", "carpet", "floor"]).await
}

/// What is left behind where handlers refuse to undo what others did.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_undone_is_said_and_listed() -> anyhow::Result<()> {
    const NAME: &str = "com.example.stubborn";
    let (world, _turn) = shared().await;
    let version = |parts: &[(&str, &str)], upgrade: &str, uninstall: &str| {
        let lifecycle = json!({ "install": "note", "upgrade": upgrade, "uninstall": uninstall });
        json!({ "modules": modules(parts), "lifecycle": lifecycle })
    };
    published(world, NAME, "1.0.0", version(&[("old", "1.0.0")], "note", "note")).await?;
    let parts = [("new", "1.0.0"), ("old", "1.1.0")];
    published(world, NAME, "1.1.0", version(&parts, "refuse", "refuse")).await?;
    published(world, NAME, "1.2.0", version(&parts, "fail", "note")).await?;
    let workspace = world.user("alice").await?.tenant("acme-stubborn").await?;
    workspace.install("stubborn", NAME, json!({ "version": "=1.0.0", "public": GUEST_ENDPOINTS })).await?;
    let caller = caller(&has(&workspace, "stubborn", "1.0.0").await?)?;

    workspace.change("stubborn", json!({ "version": "=1.1.0" })).await?;
    let install = workspace.install_with("stubborn", "Remediated", "False", "RollbackFailed").await?;
    let record = &status(&install).history[0];
    assert_eq!(record.status, StageStatus::CancellationFailed);
    let why = record.message.as_deref().unwrap_or_default();
    assert!(why.contains("upgrade handler refuse"), "why it failed, not what came of that: {why}");
    let new = flow(&install).stages.iter().find(|stage| stage.name == "Lifecycle/new").context("a stage")?;
    assert_eq!(new.status, StageStatus::CancellationFailed);
    assert!(new.message.as_ref().is_some_and(|why| why.contains("uninstall handler refuse")), "{new:?}");
    let events = told(&workspace, &install, "RollbackFailed").await?;
    assert!(events.iter().all(|event| event.type_.as_deref() == Some("Warning")), "{events:?}");
    assert_eq!(guest_says(&caller, NAME, "/version").await?, "1.0.0");

    // Nobody is left who knows how to undo it, where the version is withdrawn meanwhile.
    workspace.change("stubborn", json!({ "version": "=1.2.0", "retries": 100, "timeout": "1h" })).await?;
    let is_at_old = |install: &Install| {
        let stages = status(install).flow.iter().flat_map(|flow| &flow.stages);
        stages.into_iter().any(|stage| stage.name == "Lifecycle/old" && stage.next_try_at.is_some())
    };
    when(&workspace.installs(), "stubborn", "its second handler fails", is_at_old).await?;
    let versions: Api<ExtensionVersion> = Api::all(world.admin().await?.at("root:annex")?);
    versions.delete(&format!("{NAME}-1.2.0"), &DeleteParams::default()).await?;
    let ended = |install: &Install| status(install).history[0].to.as_deref() == Some("1.2.0");
    let install = when(&workspace.installs(), "stubborn", "its flow has ended", ended).await?;
    let record = &status(&install).history[0];
    assert_eq!(
        (record.status, record.reason.as_deref()),
        (StageStatus::CancellationFailed, Some("NoMatchingVersion"))
    );
    let new = flow(&install).stages.iter().find(|stage| stage.name == "Lifecycle/new").context("a stage")?;
    assert!(new.message.as_ref().is_some_and(|why| why.contains("the catalog does not have")), "{new:?}");
    assert_eq!(guest_says(&caller, NAME, "/version").await?, "1.0.0");

    // Who refuses to go has gone all the same, and the operator can read what became of it.
    workspace.change("stubborn", json!({ "version": "=1.1.0" })).await?;
    workspace.install_with("stubborn", "Remediated", "False", "RollbackFailed").await?;
    let uid = install.metadata.uid.clone().context("a uid")?;
    gone(&workspace, "stubborn").await?;
    let events = told(&workspace, &install, "Uninstalled").await?;
    let [event] = events.as_slice() else { panic!("not one Event but {events:?}") };
    let note = event.note.as_deref().unwrap_or_default();
    assert!(
        event.type_.as_deref() == Some("Warning") && note.contains("uninstall handler refuse"),
        "{event:?}"
    );
    let tenants: Api<Tenant> = Api::all(world.admin().await?.at("root:annex")?);
    let left = tenants.get(workspace.cluster.as_str()).await?.status.context("a status")?.abandoned;
    let [left] = left.as_slice() else { panic!("not one is left behind but {left:?}") };
    assert_eq!(
        (left.what.as_str(), left.extension.as_str(), left.install.as_str()),
        ("handlers", NAME, &*uid)
    );
    assert!(left.message.contains("uninstall handler refuse"), "{}", left.message);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_goes_though_the_tenant_was_missing_for_a_moment() -> anyhow::Result<()> {
    const NAME: &str = "com.example.missed";
    let (world, _turn) = alone().await;
    published(world, NAME, "1.0.0", json!({ "lifecycle": { "install": "note" } })).await?;
    let workspace = world.user("alice").await?.tenant("acme-missed").await?;
    let spec = json!({ "public": GUEST_ENDPOINTS, "deletionPolicy": "Purge" });
    workspace.install("missed", NAME, spec.clone()).await?;
    has(&workspace, "missed", "1.0.0").await?;
    block_in_place(|| world.stack.kill(Part::Runner))?;
    workspace.installs().delete("missed", &DeleteParams::default()).await?;
    workspace.refused("missed", "Uninstalling").await?;
    let tenants: Api<Tenant> = Api::all(world.admin().await?.at("root:annex")?);
    let uid = tenants.get(workspace.cluster.as_str()).await?.metadata.uid;
    tenants.delete(workspace.cluster.as_str(), &DeleteParams::default()).await?;
    let another = |tenant: &Tenant| tenant.metadata.uid != uid;
    when(&tenants, workspace.cluster.as_str(), "it is made again", another).await?;
    block_in_place(|| world.stack.start(Part::Runner))?;
    workspace.gone("missed").await?;
    workspace.install("missed", NAME, spec).await?;
    let install = has(&workspace, "missed", "1.0.0").await?;
    assert_eq!(guest_was_told(&caller(&install)?, NAME).await?.len(), 1, "it begins anew");
    gone(&workspace, "missed").await
}

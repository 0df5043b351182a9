//! Installs, upgrades and revokes as flows: what is recorded of them, what they call, and what is left when one fails.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use annex_apis::{Flow, Install, InstallStatus, RETRY_ANNOTATION, StageStatus};
use annex_e2e::{
    Caller, GUEST_ENDPOINTS, Load, Workspace, World, condition, guest_capabilities, guest_says,
    guest_was_told, modules, publish_guest, until, when,
};
use anyhow::Context as _;
use axum::Json;
use http::{HeaderValue, StatusCode};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use kube_kcp::kinds::APIExportEndpointSlice;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::block_in_place;
use xtask::Part;

use crate::{
    environment::{alone, shared},
    registry::alice,
};

/// A version of an extension whose code is the engine's guest, with these modules (name and version) and this handler for upgrades.
pub(crate) async fn published(
    world: &World,
    name: &str,
    version: &str,
    parts: &[(&str, &str)],
    upgrade: &str,
) -> anyhow::Result<()> {
    let manifest = json!({
        "name": name, "publisher": "example.com", "version": version, "modules": modules(parts),
        "lifecycle": { "install": "note", "upgrade": upgrade, "uninstall": "note" },
        "capabilities": guest_capabilities(),
    });
    publish_guest(&alice(world).await?, manifest).await
}

pub(crate) fn caller(install: &Install) -> anyhow::Result<Caller> {
    Caller::of(install.status.as_ref().and_then(|status| status.url.as_ref()).context("a URL")?)
}

pub(crate) fn status(install: &Install) -> &InstallStatus {
    install.status.as_ref().expect("a status")
}

pub(crate) fn flow(install: &Install) -> &Flow {
    status(install).flow.as_ref().expect("a flow")
}

fn stages(install: &Install) -> Vec<(&str, StageStatus)> {
    flow(install).stages.iter().map(|stage| (stage.name.as_str(), stage.status)).collect()
}

/// The Install once it has this version, and is Ready for the generation that it has now.
pub(crate) async fn has(workspace: &Workspace, name: &str, version: &str) -> anyhow::Result<Install> {
    let install = workspace.installed(name).await?;
    assert_eq!(status(&install).installed_version.as_deref(), Some(version));
    Ok(install)
}

pub(crate) async fn gone(workspace: &Workspace, name: &str) -> anyhow::Result<()> {
    workspace.installs().delete(name, &DeleteParams::default()).await?;
    workspace.gone(name).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_is_upgraded_rolled_back_and_revoked_while_it_is_called() -> anyhow::Result<()> {
    const NAME: &str = "com.example.flows";
    let (world, _turn) = shared().await;
    published(world, NAME, "1.0.0", &[("store", "1.0.0"), ("search", "1.0.0"), ("old", "1.0.0")], "note")
        .await?;
    published(world, NAME, "1.1.0", &[("store", "1.0.0"), ("new", "1.0.0"), ("search", "1.1.0")], "note")
        .await?;
    published(world, NAME, "1.2.0", &[("store", "1.2.0"), ("new", "1.0.0"), ("search", "1.2.0")], "fail")
        .await?;
    let workspace = world.user("alice").await?.tenant("acme-flows").await?;
    let spec =
        json!({ "version": "=1.0.0", "public": GUEST_ENDPOINTS, "retries": 1, "deletionPolicy": "Purge" });
    workspace.install("flows", NAME, spec.clone()).await?;
    let install = has(&workspace, "flows", "1.0.0").await?;
    let caller = caller(&install)?;
    assert_eq!(guest_says(&caller, NAME, "/version").await?, "1.0.0");
    let row =
        |action: &str, module: &str, from: &str, to: &str| [action, module, from, to].map(str::to_owned);
    let mut expected = vec![
        row("install", "store", "-", "1.0.0"),
        row("install", "search", "-", "1.0.0"),
        row("install", "old", "-", "1.0.0"),
    ];
    assert_eq!(guest_was_told(&caller, NAME).await?, expected);
    assert!(
        stages(&install).iter().all(|(_, status)| *status == StageStatus::Finished),
        "{:?}",
        flow(&install)
    );
    let first = flow(&install).id.clone();
    assert_eq!(status(&install).history[0].id, first);

    // Only what changed is called, in the order of the manifest, and what goes is not; and nobody notices.
    let load = Load::on(&caller, NAME).await?;
    load.goes_on(20).await?;
    workspace.change("flows", json!({ "version": "=1.1.0" })).await?;
    let install = has(&workspace, "flows", "1.1.0").await?;
    expected.extend([row("install", "new", "-", "1.0.0"), row("upgrade", "search", "1.0.0", "1.1.0")]);
    until("the new version answers", || async {
        Ok((guest_says(&caller, NAME, "/version").await? == "1.1.0").then_some(()))
    })
    .await?;
    assert_eq!(guest_was_told(&caller, NAME).await?, expected);
    let names: Vec<&str> = stages(&install).into_iter().map(|(name, _)| name).collect();
    assert!(names.contains(&"Disable") && !names.contains(&"Lifecycle/store"), "{names:?}");
    assert_eq!(
        status(&install).modules.iter().map(|module| module.name.as_str()).collect::<Vec<_>>(),
        ["store", "new", "search"]
    );
    load.goes_on(20).await?;

    // What fails is undone, the old version goes on, and why is there to read.
    workspace.change("flows", json!({ "version": "=1.2.0" })).await?;
    workspace.refused("flows", "LifecycleFailed").await?;
    let install = workspace.install_with("flows", "Remediated", "True", "RolledBack").await?;
    let record = &status(&install).history[0];
    assert_eq!((record.status, record.reason.as_deref()), (StageStatus::Cancelled, Some("LifecycleFailed")));
    assert!(
        record.message.as_ref().is_some_and(|message| message.contains("the migration failed")),
        "{record:?}"
    );
    let ready = condition(&install, "Ready").context("Ready")?;
    assert!(ready.message.contains("version 1.1.0 goes on"), "{}", ready.message);
    assert_eq!(status(&install).installed_version.as_deref(), Some("1.1.0"));
    let failed =
        flow(&install).stages.iter().find(|stage| stage.name == "Lifecycle/store").context("a stage")?;
    assert_eq!(failed.status, StageStatus::Failed);
    // Once, and once more.
    expected.extend([row("upgrade", "store", "1.0.0", "1.2.0"), row("upgrade", "store", "1.0.0", "1.2.0")]);
    assert_eq!(guest_was_told(&caller, NAME).await?, expected);
    assert_eq!(guest_says(&caller, NAME, "/version").await?, "1.1.0");
    load.goes_on(20).await?;

    // It is begun again when somebody asks for it, and not before.
    let failed = flow(&install).id.clone();
    let asked = json!({ "metadata": { "annotations": { RETRY_ANNOTATION: "1" } } });
    workspace.installs().patch("flows", &PatchParams::default(), &Patch::Merge(asked)).await?;
    let again =
        |install: &Install| flow(install).id != failed && flow(install).status == StageStatus::Cancelled;
    when(&workspace.installs(), "flows", "a second flow failed", again).await?;
    assert_eq!(guest_says(&caller, NAME, "/version").await?, "1.1.0");

    workspace.change("flows", json!({ "version": "=1.1.0" })).await?;
    let install = has(&workspace, "flows", "1.1.0").await?;
    assert_eq!(condition(&install, "Remediated"), None, "what is as it is wanted needs no remedy");
    load.goes_on(20).await?;
    assert_eq!(load.ends().await?, Vec::<String>::new(), "every call was answered");

    // What it stored goes with it, and what it was told when it went.
    gone(&workspace, "flows").await?;
    workspace.install("flows", NAME, spec).await?;
    let install = has(&workspace, "flows", "1.0.0").await?;
    let caller = self::caller(&install)?;
    assert_eq!(guest_was_told(&caller, NAME).await?, expected[..3], "nothing is left of the first install");
    gone(&workspace, "flows").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_install_that_fails_leaves_nothing_and_one_that_retains_keeps_its_data() -> anyhow::Result<()>
{
    const NAME: &str = "com.example.flaky";
    let (world, _turn) = shared().await;
    let manifest = |version: &str, install: &str| {
        json!({
            "name": NAME, "publisher": "example.com", "version": version,
            "lifecycle": { "install": install, "uninstall": "note" },
            "capabilities": guest_capabilities(),
        })
    };
    publish_guest(&alice(world).await?, manifest("1.0.0", "flaky")).await?;
    publish_guest(&alice(world).await?, manifest("2.0.0", "refuse")).await?;
    let workspace = world.user("alice").await?.tenant("acme-flaky").await?;

    // For good: it is not even tried again.
    workspace.install("flaky", NAME, json!({ "version": "=2.0.0", "public": GUEST_ENDPOINTS })).await?;
    let install = workspace.install_with("flaky", "Remediated", "True", "RolledBack").await?;
    let ready = condition(&install, "Ready").context("Ready")?;
    assert_eq!((ready.reason.as_str(), status(&install).host.as_ref()), ("LifecycleFailed", None));
    assert!(ready.message.contains("this cannot be migrated"), "{}", ready.message);
    assert_eq!(flow(&install).stages.iter().map(|stage| stage.retries).sum::<i32>(), 0);
    assert!(status(&install).routes.is_empty() && status(&install).modules.is_empty());

    // With some patience.
    workspace.change("flaky", json!({ "version": "=1.0.0" })).await?;
    let install = has(&workspace, "flaky", "1.0.0").await?;
    let caller = caller(&install)?;
    let stage =
        flow(&install).stages.iter().find(|stage| stage.name == "Lifecycle/main").context("a stage")?;
    assert_eq!((stage.status, stage.retries), (StageStatus::Finished, 2));
    let calls = guest_was_told(&caller, NAME).await?.len();
    assert_eq!(calls, 4, "one that was refused, two that failed, and one more");

    // Retain: what it stored is there again.
    gone(&workspace, "flaky").await?;
    workspace.install("flaky", NAME, json!({ "version": "=1.0.0", "public": GUEST_ENDPOINTS })).await?;
    let caller = self::caller(&has(&workspace, "flaky", "1.0.0").await?)?;
    assert_eq!(guest_was_told(&caller, NAME).await?.len(), 6, "with the uninstall and the second install");
    gone(&workspace, "flaky").await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_executed_never_answers() -> anyhow::Result<()> {
    const NAME: &str = "com.example.unlinked";
    let (world, _turn) = shared().await;
    published(world, NAME, "1.0.0", &[("main", "1.0.0")], "note").await?;
    // Its code needs more than it asks for.
    let manifest =
        json!({ "name": NAME, "publisher": "example.com", "version": "1.1.0", "capabilities": ["context"] });
    publish_guest(&alice(world).await?, manifest).await?;
    let workspace = world.user("alice").await?.tenant("acme-unlinked").await?;
    workspace.install("unlinked", NAME, json!({ "version": "=1.0.0", "public": GUEST_ENDPOINTS })).await?;
    let caller = caller(&has(&workspace, "unlinked", "1.0.0").await?)?;
    let load = Load::on(&caller, NAME).await?;
    load.goes_on(10).await?;
    workspace.change("unlinked", json!({ "version": "=1.1.0" })).await?;
    let install = workspace.install_with("unlinked", "Remediated", "True", "RolledBack").await?;
    assert_eq!(condition(&install, "Ready").map(|ready| ready.reason.as_str()), Some("CapabilityDenied"));
    load.goes_on(10).await?;
    assert_eq!(load.ends().await?, Vec::<String>::new());
    assert_eq!(guest_says(&caller, NAME, "/version").await?, "1.0.0");
    gone(&workspace, "unlinked").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_goes_on_where_it_was_when_runner_and_controller_come_back() -> anyhow::Result<()> {
    const NAME: &str = "com.example.interrupted";
    let (world, _turn) = alone().await;
    published(world, NAME, "1.0.0", &[("a", "1.0.0"), ("b", "1.0.0")], "note").await?;
    published(world, NAME, "1.1.0", &[("a", "1.1.0"), ("b", "1.1.0")], "note").await?;
    let workspace = world.user("alice").await?.tenant("acme-interrupted").await?;
    workspace.install("interrupted", NAME, json!({ "version": "=1.0.0", "public": GUEST_ENDPOINTS })).await?;
    has(&workspace, "interrupted", "1.0.0").await?;

    block_in_place(|| world.stack.kill(Part::Runner))?;
    workspace.change("interrupted", json!({ "version": "=1.1.0" })).await?;
    let install = workspace.refused("interrupted", "RunnerUnavailable").await?;
    let id = flow(&install).id.clone();
    assert_eq!(flow(&install).status, StageStatus::InProgress);
    block_in_place(|| world.stack.kill(Part::Controller))?;
    block_in_place(|| world.stack.start(Part::Runner))?;
    block_in_place(|| world.stack.start(Part::Controller))?;
    let install = has(&workspace, "interrupted", "1.1.0").await?;
    assert_eq!(flow(&install).id, id, "it is the same flow");
    assert_eq!(status(&install).history.len(), 2);
    let caller = caller(&install)?;
    let upgrades =
        guest_was_told(&caller, NAME).await?.into_iter().filter(|[action, ..]| action == "upgrade");
    assert_eq!(upgrades.count(), 2);

    // Deleted in the middle of a flow, it goes.
    block_in_place(|| world.stack.kill(Part::Runner))?;
    workspace.change("interrupted", json!({ "version": "=1.0.0" })).await?;
    workspace.refused("interrupted", "RunnerUnavailable").await?;
    workspace.installs().delete("interrupted", &DeleteParams::default()).await?;
    let install = workspace.refused("interrupted", "Uninstalling").await?;
    assert!(install.metadata.deletion_timestamp.is_some());
    block_in_place(|| world.stack.start(Part::Runner))?;
    workspace.gone("interrupted").await
}

/// As when the operator has turned the platform's cluster off, or a tenant has let go of an environment.
#[tokio::test(flavor = "multi_thread")]
async fn who_runs_on_no_cluster_any_more_leaves_it_once() -> anyhow::Result<()> {
    const NAME: &str = "com.example.landed";
    let (world, _turn) = alone().await;
    published(world, NAME, "1.0.0", &[("a", "1.0.0")], "note").await?;
    let workspace = world.user("alice").await?.tenant("acme-landed").await?;
    workspace.install("landed", NAME, json!({ "public": GUEST_ENDPOINTS })).await?;
    has(&workspace, "landed", "1.0.0").await?;
    block_in_place(|| world.stack.kill(Part::Controller))?;
    // Nobody but the provider writes a status.
    let admin = world.admin().await?;
    let slices: Api<APIExportEndpointSlice> = Api::all(admin.at("root:annex")?);
    let slice = slices.list(&Default::default()).await?.items.into_iter().next().context("a slice")?;
    let endpoints = slice.status.context("a status")?.endpoints;
    let url = &endpoints.first().context("an endpoint")?.url;
    let admin: Api<Install> =
        Api::namespaced(admin.client_at(&format!("{url}/clusters/{}", workspace.cluster))?, "default");
    let was = Patch::Merge(json!({ "status": { "places": [{ "namespace": "annex-landed" }] } }));
    admin.patch_status("landed", &PatchParams::default(), &was).await?;
    block_in_place(|| world.stack.start(Part::Controller))?;
    let left = |install: &Install| status(install).places.is_empty();
    when(&workspace.installs(), "landed", "it has left", left).await?;
    // By one flow, and by no other however often it is looked at.
    for limit in [6, 7] {
        workspace.change("landed", json!({ "historyLimit": limit })).await?;
        let install = has(&workspace, "landed", "1.0.0").await?;
        assert_eq!(status(&install).history.len(), 2, "{:?}", status(&install).history);
    }
    gone(&workspace, "landed").await
}

/// A receiver of CloudEvents, which takes none while it is told not to.
#[derive(Clone, Default)]
struct Receiver {
    events: Arc<Mutex<Vec<Value>>>,
    takes_none: Arc<AtomicBool>,
    /// The uids of the Installs of what it has not taken.
    refused: Arc<Mutex<HashSet<String>>>,
}

impl Receiver {
    async fn start(&self) -> anyhow::Result<String> {
        let receiver = self.clone();
        let take = async move |Json(event): Json<Value>| {
            if receiver.takes_none.load(Ordering::Relaxed) {
                let uid = event["data"]["install"]["uid"].as_str().unwrap_or_default();
                receiver.refused.lock().insert(uid.to_owned());
                return StatusCode::SERVICE_UNAVAILABLE;
            }
            receiver.events.lock().push(event);
            StatusCode::ACCEPTED
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        // Of the media type of CloudEvents, which axum's own reader does not take for JSON.
        let as_json = axum::middleware::map_request(async |mut request: axum::extract::Request| {
            let type_ =
                request.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
            assert_eq!(type_, Some(HeaderValue::from_static("application/cloudevents+json")));
            request
        });
        let router = axum::Router::new().route("/", axum::routing::post(take)).layer(as_json);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(url)
    }

    /// Type, action and status of what came of an Install, each event once.
    fn of(&self, uid: &str) -> Vec<(String, String, String)> {
        let mut ids = HashSet::new();
        let events = self.events.lock();
        let theirs = events.iter().filter(|event| event["data"]["install"]["uid"] == uid);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let first = theirs.filter(|event| ids.insert(text(&event["id"])));
        first
            .map(|event| {
                (text(&event["type"]), text(&event["data"]["action"]), text(&event["data"]["status"]))
            })
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_are_told_to_the_sink_though_it_was_away_and_the_controller_was_restarted() -> anyhow::Result<()>
{
    const NAME: &str = "com.example.told";
    let (world, _turn) = alone().await;
    let receiver = Receiver::default();
    let url = receiver.start().await?;
    let restart = |env: &[(&str, &str)]| {
        block_in_place(|| {
            world.stack.kill(Part::Controller)?;
            world.stack.configure(Part::Controller, &[], env);
            world.stack.start(Part::Controller)
        })
    };
    restart(&[("K_SINK", &url), ("K_CE_OVERRIDES", r#"{"extensions": {"zone": "test"}}"#)])?;
    published(world, NAME, "1.0.0", &[("search", "1.0.0")], "note").await?;
    published(world, NAME, "1.1.0", &[("search", "1.1.0")], "note").await?;
    let workspace = world.user("alice").await?.tenant("acme-told").await?;
    receiver.takes_none.store(true, Ordering::Relaxed);
    workspace.install("told", NAME, json!({ "version": "=1.0.0", "historyLimit": 1 })).await?;
    let install = has(&workspace, "told", "1.0.0").await?;
    let uid = install.metadata.uid.clone().context("a uid")?;
    until("it was to be told", || async { Ok(receiver.refused.lock().contains(&uid).then_some(())) }).await?;
    assert_eq!(receiver.of(&uid), []);

    // Whoever leads next tells it.
    restart(&[("K_SINK", &url), ("K_CE_OVERRIDES", r#"{"extensions": {"zone": "test"}}"#)])?;
    receiver.takes_none.store(false, Ordering::Relaxed);
    let row = |type_: &str, action: &str, status: &str| {
        (format!("sh.annex.{type_}.v1"), action.to_owned(), status.to_owned())
    };
    let mut expected = vec![
        row("flow.started", "Install", ""),
        row("module.enabled", "", ""),
        row("flow.ended", "Install", "FINISHED"),
    ];
    until("the install is told", || async { Ok((receiver.of(&uid) == expected).then_some(())) }).await?;
    {
        let events = receiver.events.lock();
        let event =
            events.iter().find(|event| event["data"]["module"] == "search").context("the module's")?;
        let tenant = workspace.cluster.as_str();
        assert_eq!(event["partitionkey"], format!("{tenant}/{NAME}/search"));
        assert_eq!((&event["specversion"], &event["zone"]), (&json!("1.0"), &json!("test")));
    }

    // What its status does not say any more is told all the same.
    receiver.takes_none.store(true, Ordering::Relaxed);
    for version in ["1.1.0", "1.0.0"] {
        workspace.change("told", json!({ "version": format!("={version}") })).await?;
        let install = has(&workspace, "told", version).await?;
        assert_eq!(status(&install).history.len(), 1);
        expected.extend([
            row("flow.started", "Upgrade", ""),
            row("module.enabled", "", ""),
            row("flow.ended", "Upgrade", "FINISHED"),
        ]);
    }
    receiver.takes_none.store(false, Ordering::Relaxed);
    until("both upgrades are told", || async { Ok((receiver.of(&uid) == expected).then_some(())) }).await?;

    // The last of an Install is told before there is nobody left who knows of it.
    receiver.takes_none.store(true, Ordering::Relaxed);
    workspace.installs().delete("told", &DeleteParams::default()).await?;
    when(&workspace.installs(), "told", "waits for the sink", |install| {
        condition(install, "Ready")
            .is_some_and(|ready| ready.reason == "Uninstalling" && ready.message.contains("sink"))
    })
    .await?;
    receiver.takes_none.store(false, Ordering::Relaxed);
    workspace.gone("told").await?;
    expected.extend([
        row("flow.started", "Revoke", ""),
        row("module.disabled", "", ""),
        row("flow.ended", "Revoke", "FINISHED"),
    ]);
    assert_eq!(receiver.of(&uid), expected);
    restart(&[])
}

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use annex_apis::{Extension, ExtensionVersion, Install};
use annex_e2e::{Workspace, World, condition};
use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _, future::try_join_all, stream};
use kube::{
    Api, ResourceExt as _,
    api::PostParams,
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::json;
use xtask::Part;

use crate::figures::{milliseconds, percentile, rounded};

const WORKSPACES: usize = 50;
const INSTALLS_EACH: usize = 4;
const AT_A_TIME: usize = 20;

/// Measures how fast Installs become Ready with a runner that answers at once, and what the controller writes for each.
pub(crate) async fn run() -> anyhow::Result<()> {
    let world = tokio::task::block_in_place(|| World::up(true))?;
    let admin = world.admin().await?;
    let catalog = admin.at("root:annex")?;
    for number in 0..INSTALLS_EACH {
        publish(&catalog, number).await?;
    }
    let workspaces: Vec<Workspace> = stream::iter(0..WORKSPACES)
        .map(|number| {
            let admin = &admin;
            async move { admin.tenant(&format!("w{number}")).await }
        })
        .buffered(8)
        .try_collect()
        .await?;
    println!("{WORKSPACES} workspaces are Ready");
    settle(&world).await?;

    let before = Writes::read(&world).await?;
    let started = Instant::now();
    let ready = try_join_all(workspaces.iter().map(watch_ready));
    let orders = stream::iter(
        workspaces.iter().flat_map(|workspace| (0..INSTALLS_EACH).map(move |number| (workspace, number))),
    )
    .map(|(workspace, number)| async move {
        let at = Instant::now();
        let name = format!("i{number}");
        workspace.install(&name, &extension(number), json!({})).await?;
        anyhow::Ok(((workspace.cluster.to_string(), name), at))
    })
    .buffer_unordered(AT_A_TIME)
    .try_collect::<BTreeMap<_, _>>();
    let (ready, ordered) =
        tokio::time::timeout(Duration::from_secs(600), async { tokio::try_join!(ready, orders) })
            .await
            .context("not all Installs became Ready within 10 minutes")??;
    let total = started.elapsed();
    settle(&world).await?;
    let writes = Writes::read(&world).await?.since(&before);

    let ready: BTreeMap<_, _> = ready.into_iter().flatten().collect();
    let times: Vec<Duration> =
        ready.iter().filter_map(|(key, at)| Some(at.saturating_duration_since(*ordered.get(key)?))).collect();
    let installs = f64::from(u32::try_from(times.len())?);
    println!(
        "{}",
        json!({
            "bench": "install",
            "installs": times.len(),
            "installs_per_s": rounded(installs / total.as_secs_f64()),
            "writes_per_install": rounded(writes.all / installs),
            "status_writes_per_install": rounded(writes.status / installs),
            "p50_ms": milliseconds(percentile(&times, 0.5)),
            "p99_ms": milliseconds(percentile(&times, 0.99)),
            "rss_mib": rounded(resident_mib(&world)?),
        })
    );
    Ok(())
}

fn extension(number: usize) -> String {
    format!("com.example.bench{number}")
}

async fn publish(catalog: &kube::Client, number: usize) -> anyhow::Result<()> {
    let name = extension(number);
    let entry = json!({ "apiVersion": "annex.sh/v1alpha1", "kind": "Extension", "metadata": { "name": name },
        "spec": { "displayName": name, "publisher": "example.com" } });
    let version = json!({ "apiVersion": "annex.sh/v1alpha1", "kind": "ExtensionVersion",
        "metadata": { "name": format!("{name}-1.0.0") },
        "spec": { "extension": name, "version": "1.0.0", "publisher": "example.com",
            "contentHash": format!("sha256:{number:064}") } });
    let extensions: Api<Extension> = Api::all(catalog.clone());
    let versions: Api<ExtensionVersion> = Api::all(catalog.clone());
    extensions.create(&PostParams::default(), &serde_json::from_value(entry)?).await?;
    versions.create(&PostParams::default(), &serde_json::from_value(version)?).await?;
    Ok(())
}

/// When each Install of a workspace was first seen Ready.
async fn watch_ready(workspace: &Workspace) -> anyhow::Result<BTreeMap<(String, String), Instant>> {
    let mut ready = BTreeMap::new();
    let mut changes =
        watcher(workspace.installs(), watcher::Config::default()).default_backoff().applied_objects().boxed();
    while ready.len() < INSTALLS_EACH {
        let install: Install = changes.try_next().await?.context("the watch has ended")?;
        if condition(&install, "Ready").is_some_and(|condition| condition.status == "True") {
            ready.entry((workspace.cluster.to_string(), install.name_any())).or_insert_with(Instant::now);
        }
    }
    Ok(ready)
}

/// Returns once the controller has written nothing for a while: what belongs to the workspaces must not be counted with the
/// Installs, and what belongs to the Installs must not be missed.
pub(crate) async fn settle(world: &World) -> anyhow::Result<()> {
    let mut last = Writes::read(world).await?;
    let mut quiet = 0;
    let mut ticks = tokio::time::interval(Duration::from_millis(500));
    while quiet < 4 {
        ticks.tick().await;
        let now = Writes::read(world).await?;
        quiet = if now == last { quiet + 1 } else { 0 };
        last = now;
    }
    Ok(())
}

/// The controller's writes, tries that failed included, as its metrics count them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Writes {
    pub(crate) all: f64,
    status: f64,
}

impl Writes {
    pub(crate) async fn read(world: &World) -> anyhow::Result<Self> {
        let text =
            world.runner()?.text(&format!("{}/metrics", world.stack.ops_url(Part::Controller))).await?;
        let mut writes = Self::default();
        for line in text.lines().filter(|line| line.starts_with("annex_controller_api_writes_total{")) {
            let value: f64 = line.rsplit(' ').next().unwrap_or_default().parse()?;
            writes.all += value;
            if line.contains("what=\"InstallStatus\"") {
                writes.status += value;
            }
        }
        Ok(writes)
    }

    fn since(self, before: &Self) -> Self {
        Self { all: self.all - before.all, status: self.status - before.status }
    }
}

/// The controller's resident memory, as the kernel counts it.
fn resident_mib(world: &World) -> anyhow::Result<f64> {
    let pid = world.stack.pid(Part::Controller)?.context("the controller does not run")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib / 1024.0)
}

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use annex_apis::{Install, RETRY_ANNOTATION};
use annex_e2e::{
    Caller, GUEST_ENDPOINTS, Publisher, Workspace, World, condition, guest_capabilities, guest_was_told,
    modules, publish_guest, when,
};
use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _, future::try_join_all, stream};
use kube::{
    ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams},
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::{Value, json};
use xtask::Part;

use crate::{
    figures::{milliseconds, percentile, rounded},
    install::{Writes, settle},
};

const WORKSPACES: usize = 50;
const INSTALLS_EACH: usize = 20;
const AT_A_TIME: usize = 20;
/// As long as all flows of a phase may take together.
const PATIENCE: Duration = Duration::from_secs(900);

/// The parts of version 1.0.0 and, one of them another, of 1.1.0.
const OLD: [(&str, &str); 5] =
    [("a", "1.0.0"), ("b", "1.0.0"), ("c", "1.0.0"), ("d", "1.0.0"), ("e", "1.0.0")];
const NEW: [(&str, &str); 5] =
    [("a", "1.0.0"), ("b", "1.0.0"), ("c", "1.1.0"), ("d", "1.0.0"), ("e", "1.0.0")];

/// Measures what flows cost: a thousand installs of five modules, an upgrade that changes one of them, and the same by uninstalling and
/// installing anew.
pub(crate) async fn run() -> anyhow::Result<()> {
    let world = tokio::task::block_in_place(|| World::up(true))?;
    let publisher = Publisher::with_kubeconfig(&world.stack, &world.stack.paths().kcp_kubeconfig())?;
    for number in 0..INSTALLS_EACH {
        for (version, parts) in [("1.0.0", &OLD), ("1.1.0", &NEW)] {
            publish_guest(&publisher, manifest(&extension(number), version, parts)).await?;
        }
    }
    let admin = world.admin().await?;
    let workspaces: Vec<Workspace> = stream::iter(0..WORKSPACES)
        .map(|number| {
            let admin = &admin;
            async move { admin.tenant(&format!("f{number}")).await }
        })
        .buffered(8)
        .try_collect()
        .await?;
    println!("{WORKSPACES} workspaces are Ready, {INSTALLS_EACH} extensions are published in two versions");
    settle(&world).await?;

    let first = measured(&world, "installed", "1.0.0", &workspaces, async |workspace, number| {
        workspace.install(&name(number), &extension(number), spec("1.0.0")).await.map(drop)
    })
    .await?;
    let upgrade = measured(&world, "upgraded", "1.1.0", &workspaces, async |workspace, number| {
        workspace.change(&name(number), json!({ "version": "=1.1.0" })).await.map(drop)
    })
    .await?;
    sampled(&workspaces).await?;

    let before = Cost::read(&world).await?;
    let began = Instant::now();
    stream::iter(pairs(&workspaces))
        .map(|(workspace, number)| async move {
            workspace.installs().delete(&name(number), &DeleteParams::default()).await?;
            anyhow::Ok(())
        })
        .buffer_unordered(AT_A_TIME)
        .try_collect::<()>()
        .await?;
    try_join_all(workspaces.iter().map(none_left)).await?;
    let uninstalled = began.elapsed();
    println!("all are uninstalled, after {uninstalled:.1?}");
    let again = measured(&world, "installed anew", "1.1.0", &workspaces, async |workspace, number| {
        workspace.install(&name(number), &extension(number), spec("1.1.0")).await.map(drop)
    })
    .await?;
    let reinstall = Cost::read(&world).await?.since(&before);

    let installs = f64::from(u32::try_from(WORKSPACES * INSTALLS_EACH)?);
    let size = fullest_status(workspaces.first().context("a workspace")?).await?;
    println!(
        "{}",
        json!({
            "bench": "flows",
            "installs": WORKSPACES * INSTALLS_EACH,
            "modules": OLD.len(),
            "upgrade_write_ratio": rounded(upgrade.cost.all() / reinstall.all()),
            "upgrade_write_ratio_of_install": rounded(upgrade.cost.all() / first.cost.all()),
            "writes_per_upgrade": rounded(upgrade.cost.writes / installs),
            "calls_per_upgrade": rounded(upgrade.cost.calls / installs),
            "writes_per_install": rounded(first.cost.writes / installs),
            "calls_per_install": rounded(first.cost.calls / installs),
            "writes_per_reinstall": rounded(reinstall.writes / installs),
            "calls_per_reinstall": rounded(reinstall.calls / installs),
            "installs_per_s": rounded(installs / first.took.as_secs_f64()),
            "upgrades_per_s": rounded(installs / upgrade.took.as_secs_f64()),
            "reinstalls_per_s": rounded(installs / (uninstalled + again.took).as_secs_f64()),
            "upgrade_p50_ms": milliseconds(percentile(&upgrade.times, 0.5)),
            "upgrade_p99_ms": milliseconds(percentile(&upgrade.times, 0.99)),
            "status_bytes": size,
        })
    );
    Ok(())
}

fn name(number: usize) -> String {
    format!("i{number}")
}

fn extension(number: usize) -> String {
    format!("com.example.flow{number}")
}

fn spec(version: &str) -> Value {
    json!({ "version": format!("={version}"), "public": GUEST_ENDPOINTS })
}

fn manifest(name: &str, version: &str, parts: &[(&str, &str)]) -> Value {
    json!({
        "name": name, "publisher": "example.com", "version": version, "modules": modules(parts),
        "lifecycle": { "install": "note", "upgrade": "note", "uninstall": "note" },
        "capabilities": guest_capabilities(),
    })
}

fn pairs(workspaces: &[Workspace]) -> impl Iterator<Item = (&Workspace, usize)> {
    workspaces.iter().flat_map(|workspace| (0..INSTALLS_EACH).map(move |number| (workspace, number)))
}

/// What was done: writes of the controller, tries that failed included, and calls of lifecycle handlers, as the runner has counted them.
#[derive(Clone, Copy, Debug)]
struct Cost {
    writes: f64,
    calls: f64,
}

impl Cost {
    async fn read(world: &World) -> anyhow::Result<Self> {
        let text = world.runner()?.text(&format!("{}/metrics", world.stack.ops_url(Part::Runner))).await?;
        let lines = text.lines().filter(|line| line.starts_with("annex_runner_calls_total{"));
        let calls = lines.map(|line| Ok(line.rsplit(' ').next().unwrap_or_default().parse::<f64>()?));
        Ok(Self { writes: Writes::read(world).await?.all, calls: calls.sum::<anyhow::Result<f64>>()? })
    }

    fn since(self, before: &Self) -> Self {
        Self { writes: self.writes - before.writes, calls: self.calls - before.calls }
    }

    fn all(&self) -> f64 {
        self.writes + self.calls
    }
}

struct Measured {
    took: Duration,
    times: Vec<Duration>,
    cost: Cost,
}

/// Asks for something of every Install, and returns once all are Ready with this version, and nothing is written any more.
async fn measured(
    world: &World,
    what: &str,
    version: &str,
    workspaces: &[Workspace],
    ask: impl AsyncFn(&Workspace, usize) -> anyhow::Result<()>,
) -> anyhow::Result<Measured> {
    let before = Cost::read(world).await?;
    let began = Instant::now();
    let ready = try_join_all(workspaces.iter().map(|workspace| ready(workspace, version)));
    let ask = &ask;
    let asked = stream::iter(pairs(workspaces))
        .map(|(workspace, number)| async move {
            let at = Instant::now();
            ask(workspace, number).await?;
            anyhow::Ok(((workspace.cluster.to_string(), name(number)), at))
        })
        .buffer_unordered(AT_A_TIME)
        .try_collect::<BTreeMap<_, _>>();
    let (ready, asked) = tokio::time::timeout(PATIENCE, async { tokio::try_join!(ready, asked) })
        .await
        .with_context(|| format!("not all were {what} in time"))??;
    let took = began.elapsed();
    settle(world).await?;
    let cost = Cost::read(world).await?.since(&before);
    let ready: BTreeMap<_, _> = ready.into_iter().flatten().collect();
    let times: Vec<Duration> =
        ready.iter().filter_map(|(key, at)| Some(at.saturating_duration_since(*asked.get(key)?))).collect();
    ensure!(times.len() == WORKSPACES * INSTALLS_EACH, "{} were {what}", times.len());
    println!("{} are {what}, after {took:.1?}: {} writes, {} calls", times.len(), cost.writes, cost.calls);
    Ok(Measured { took, times, cost })
}

/// When each Install of a workspace was first seen Ready with this version.
async fn ready(workspace: &Workspace, version: &str) -> anyhow::Result<BTreeMap<(String, String), Instant>> {
    let mut ready = BTreeMap::new();
    let mut changes =
        watcher(workspace.installs(), watcher::Config::default()).default_backoff().applied_objects().boxed();
    while ready.len() < INSTALLS_EACH {
        let install: Install = changes.try_next().await?.context("the watch has ended")?;
        let has =
            install.status.as_ref().and_then(|status| status.installed_version.as_deref()) == Some(version);
        if has && condition(&install, "Ready").is_some_and(|ready| ready.status == "True") {
            ready.entry((workspace.cluster.to_string(), install.name_any())).or_insert_with(Instant::now);
        }
    }
    Ok(ready)
}

async fn none_left(workspace: &Workspace) -> anyhow::Result<()> {
    let installs = workspace.installs();
    let none = async {
        // Each look is a list: as seldom as it does not matter.
        let mut ticks = tokio::time::interval(Duration::from_millis(500));
        while !installs.list_metadata(&ListParams::default().limit(1)).await?.items.is_empty() {
            ticks.tick().await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, none).await.context("not all were uninstalled in time")?
}

/// One of each workspace was told what it had to be told, and nothing twice: otherwise what was counted would say nothing.
async fn sampled(workspaces: &[Workspace]) -> anyhow::Result<()> {
    for (number, workspace) in workspaces.iter().enumerate() {
        let number = number % INSTALLS_EACH;
        let install = workspace.installs().get(&name(number)).await?;
        let url = install.status.and_then(|status| status.url).context("a URL")?;
        let told = guest_was_told(&Caller::of(&url)?, &extension(number)).await?;
        let installs = told.iter().filter(|[action, ..]| action == "install").count();
        let upgrades: Vec<_> = told.iter().filter(|[action, ..]| action == "upgrade").collect();
        let right =
            installs == OLD.len() && matches!(upgrades.as_slice(), [[_, module, ..]] if module == "c");
        ensure!(right, "{}: {told:?}", workspace.path);
    }
    Ok(())
}

/// Bytes of the largest status, once its history is full.
async fn fullest_status(workspace: &Workspace) -> anyhow::Result<usize> {
    let (installs, name) = (workspace.installs(), name(0));
    let mut largest = 0;
    let mut install = installs.get(&name).await?;
    let limit = usize::try_from(install.spec.history_limit)?;
    for number in 0..=limit {
        let version = if number % 2 == 0 { "1.0.0" } else { "1.1.0" };
        let last = install.status.and_then(|status| Some(status.history.first()?.id.clone()));
        let asked = json!({
            "metadata": { "annotations": { RETRY_ANNOTATION: number.to_string() } }, "spec": { "version": format!("={version}") },
        });
        installs.patch(&name, &PatchParams::default(), &Patch::Merge(asked)).await?;
        let another = |install: &Install| {
            let first = install.status.as_ref().and_then(|status| status.history.first());
            first.map(|record| &record.id) != last.as_ref()
        };
        install = when(&installs, &name, "another flow has ended", another).await?;
        largest = largest.max(serde_json::to_vec(&install.status)?.len());
    }
    let recorded = install.status.map_or(0, |status| status.history.len());
    ensure!(recorded == limit, "{recorded} flows are recorded, of {limit}");
    Ok(largest)
}

use std::time::{Duration, Instant};

use annex_apis::{Install, StageStatus};
use annex_e2e::{
    Caller, GUEST_ENDPOINTS, Publisher, Workspace, World, guest_capabilities, guest_was_told, modules,
    publish_guest, when,
};
use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::DeleteParams;
use serde_json::json;

use crate::{
    counted::{Counted, resident_mib},
    figures::{milliseconds, percentile, rounded},
    many::{self, Took, name},
};

/// One workspace has one Install of each extension.
const WORKSPACES: usize = 50;
const INSTALLS_EACH: usize = 20;

const OLD: &str = "1.0.0";
const NEW: &str = "1.1.0";
/// Of which one is another in the new version.
const MODULES: [&str; 5] = ["a", "b", "c", "d", "e"];
const CHANGED: &str = "c";

/// Flows of one Install alone.
const ALONE: usize = 100;
/// As many flows as an Install's history can hold, and how many it holds unless somebody says otherwise.
const LONGEST_HISTORY: usize = 20;
const HISTORY: usize = 5;

/// Measures what flows cost: a thousand installs of five modules, an upgrade that changes one of them, and the same by uninstalling and
/// installing anew. Then one Install goes back and forth, with nothing beside it.
pub(crate) async fn run() -> anyhow::Result<()> {
    let world = tokio::task::block_in_place(|| World::up(true))?;
    publish(&world).await?;
    let workspaces = many::tenants(&world.admin().await?, WORKSPACES).await?;
    let bench = Bench { world: &world, workspaces: &workspaces };

    let install = bench.phase("installed", bench.installs(OLD)).await?;
    let upgrade = bench.phase("upgraded", bench.upgrades()).await?;
    let mut told: Vec<_> = MODULES.iter().map(|module| row("install", module, "-", OLD)).collect();
    told.push(row("upgrade", CHANGED, OLD, NEW));
    bench.were_told(&told).await?;

    let uninstall = bench.phase("uninstalled", bench.deletions()).await?;
    let anew = bench.phase("installed anew", bench.installs(NEW)).await?;
    told.extend(MODULES.iter().rev().map(|module| row("uninstall", module, new(module), "-")));
    told.extend(MODULES.iter().map(|module| row("install", module, "-", new(module))));
    bench.were_told(&told).await?;

    let rss = resident_mib(&world)?;
    let alone = alone(workspaces.first().context("a workspace")?).await?;
    let (writes, calls) = (uninstall.writes() + anew.writes(), uninstall.calls() + anew.calls());
    let ratio = (upgrade.writes() + upgrade.calls()) / (writes + calls);
    println!(
        "{}",
        json!({
            "bench": "flows",
            "installs": WORKSPACES * INSTALLS_EACH,
            "modules": MODULES.len(),
            "upgrade_write_ratio": rounded(ratio),
            "writes_per_upgrade": rounded(upgrade.writes()),
            "calls_per_upgrade": rounded(upgrade.calls()),
            "writes_per_install": rounded(install.writes()),
            "calls_per_install": rounded(install.calls()),
            "writes_per_reinstall": rounded(writes),
            "calls_per_reinstall": rounded(calls),
            "installs_per_s": rounded(1.0 / install.seconds()),
            "upgrades_per_s": rounded(1.0 / upgrade.seconds()),
            "reinstalls_per_s": rounded(1.0 / (uninstall.seconds() + anew.seconds())),
            "upgrade_p50_ms": milliseconds(percentile(&upgrade.took.each, 0.5)),
            "upgrade_p99_ms": milliseconds(percentile(&upgrade.took.each, 0.99)),
            "alone_p50_ms": milliseconds(percentile(&alone.each, 0.5)),
            "alone_p99_ms": milliseconds(percentile(&alone.each, 0.99)),
            "status_bytes": alone.bytes,
            "status_bytes_most": alone.most_bytes,
            "rss_mib": rounded(rss),
        })
    );
    // These are counted, and no matter of the machine.
    ensure!(ratio < 0.25, "an upgrade writes {ratio:.3} of what installing anew does");
    ensure!(alone.most_bytes < 8192, "a status of {} bytes", alone.most_bytes);
    Ok(())
}

struct Bench<'a> {
    world: &'a World,
    workspaces: &'a [Workspace],
}

/// What was asked of all Installs.
struct Phase {
    took: Took,
    counted: Counted,
    installs: f64,
}

/// Each Install's share.
impl Phase {
    fn writes(&self) -> f64 {
        self.counted.writes() / self.installs
    }

    /// Of lifecycle handlers: while all of this is measured nobody else calls.
    fn calls(&self) -> f64 {
        self.counted.calls() / self.installs
    }

    fn seconds(&self) -> f64 {
        self.took.all.as_secs_f64() / self.installs
    }
}

impl Bench<'_> {
    async fn phase(
        &self,
        what: &str,
        work: impl Future<Output = anyhow::Result<Took>>,
    ) -> anyhow::Result<Phase> {
        let before = Counted::settled(self.world).await?;
        let took = work.await.with_context(|| format!("not all were {what}"))?;
        let counted = Counted::settled(self.world).await?.since(&before);
        ensure!(took.each.len() == WORKSPACES * INSTALLS_EACH, "{} were {what}", took.each.len());
        println!("{} are {what}, after {:.1?}{}", took.each.len(), took.all, counted.series());
        Ok(Phase { installs: f64::from(u32::try_from(took.each.len())?), took, counted })
    }

    async fn installs(&self, version: &str) -> anyhow::Result<Took> {
        let order = async |workspace: &Workspace, number: usize| {
            let spec = json!({ "version": format!("={version}"), "public": GUEST_ENDPOINTS });
            workspace.install(&name(number), &extension(number), spec).await.map(drop)
        };
        many::reach(self.workspaces, INSTALLS_EACH, order, |install| has(install, version)).await
    }

    async fn upgrades(&self) -> anyhow::Result<Took> {
        let order = async |workspace: &Workspace, number: usize| {
            workspace.change(&name(number), json!({ "version": format!("={NEW}") })).await.map(drop)
        };
        many::reach(self.workspaces, INSTALLS_EACH, order, |install| has(install, NEW)).await
    }

    async fn deletions(&self) -> anyhow::Result<Took> {
        let order = async |workspace: &Workspace, number: usize| {
            workspace.installs().delete(&name(number), &DeleteParams::default()).await?;
            Ok(())
        };
        many::leave(self.workspaces, INSTALLS_EACH, order).await
    }

    /// One of each workspace was told what it had to be told, and nothing else: otherwise what was counted would say nothing. Where what a
    /// handler did could not be written down it is called once more, which is counted as well.
    async fn were_told(&self, expected: &[[String; 4]]) -> anyhow::Result<()> {
        let samples = stream::iter(self.workspaces.iter().enumerate());
        let asked = samples.map(|(index, workspace)| async move {
            let number = index % INSTALLS_EACH;
            let install = workspace.installs().get(&name(number)).await?;
            let url = install.status.and_then(|status| status.url).context("a URL")?;
            let mut told = guest_was_told(&Caller::of(&url)?, &extension(number)).await?;
            told.dedup();
            ensure!(told == expected, "{}: {told:?} instead of {expected:?}", workspace.path);
            Ok(())
        });
        asked.buffer_unordered(4).try_collect().await
    }
}

/// What came of one Install that nothing else is done beside.
#[derive(Default)]
struct Alone {
    each: Vec<Duration>,
    bytes: usize,
    most_bytes: usize,
}

/// Has one Install go back and forth, and looks at how long each flow takes and how large its status becomes.
async fn alone(workspace: &Workspace) -> anyhow::Result<Alone> {
    let name = name(0);
    workspace.change(&name, json!({ "historyLimit": LONGEST_HISTORY })).await?;
    let mut alone = Alone::default();
    for version in [OLD, NEW].into_iter().cycle().take(ALONE) {
        let began = Instant::now();
        workspace.change(&name, json!({ "version": format!("={version}") })).await?;
        let is = |install: &Install| has(install, version);
        let install = when(&workspace.installs(), &name, version, is).await?;
        alone.each.push(began.elapsed());
        let status = install.status.context("a status")?;
        let bytes = serde_json::to_vec(&status)?.len();
        if status.history.len() <= HISTORY {
            alone.bytes = alone.bytes.max(bytes);
        }
        alone.most_bytes = alone.most_bytes.max(bytes);
    }
    Ok(alone)
}

/// Whether it has this version, and the flow to it has ended.
fn has(install: &Install, version: &str) -> bool {
    many::is_ready(install)
        && install.status.as_ref().is_some_and(|status| {
            let flow = status.flow.as_ref();
            status.installed_version.as_deref() == Some(version)
                && flow.is_some_and(|flow| flow.status == StageStatus::Finished)
        })
}

fn extension(number: usize) -> String {
    format!("com.example.flow{number}")
}

/// A module's version in the new version.
fn new(module: &str) -> &'static str {
    if module == CHANGED { NEW } else { OLD }
}

/// What a handler is told.
fn row(action: &str, module: &str, from: &str, to: &str) -> [String; 4] {
    [action, module, from, to].map(str::to_owned)
}

async fn publish(world: &World) -> anyhow::Result<()> {
    let publisher = Publisher::with_kubeconfig(&world.stack, &world.stack.paths().kcp_kubeconfig())?;
    let versions =
        [(OLD, MODULES.map(|module| (module, OLD))), (NEW, MODULES.map(|module| (module, new(module))))];
    for number in 0..INSTALLS_EACH {
        for (version, parts) in &versions {
            let manifest = json!({
                "name": extension(number), "publisher": "example.com", "version": version,
                "modules": modules(parts),
                "lifecycle": { "install": "note", "upgrade": "note", "uninstall": "note" },
                "capabilities": guest_capabilities(),
            });
            publish_guest(&publisher, manifest).await?;
        }
    }
    println!("{INSTALLS_EACH} extensions are published in two versions");
    Ok(())
}

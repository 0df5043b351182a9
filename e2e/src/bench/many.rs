//! Many Installs at once, in many workspaces.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use annex_apis::Install;
use annex_e2e::{Tenancy, Workspace, condition};
use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _, future::try_join_all, stream};
use kube::{
    ResourceExt as _,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};

/// Requests at a time.
const AT_A_TIME: usize = 20;

/// As long as all of them may take together.
const PATIENCE: Duration = Duration::from_secs(900);

/// An Install by its workspace and its name.
type Key = (String, String);

/// How long all took together, and each from its order until it was seen.
pub(crate) struct Took {
    pub(crate) all: Duration,
    pub(crate) each: Vec<Duration>,
}

/// So many workspaces, Ready.
pub(crate) async fn tenants(admin: &Tenancy, count: usize) -> anyhow::Result<Vec<Workspace>> {
    let tenants: Vec<_> = stream::iter(0..count)
        .map(|number| async move { admin.tenant(&format!("w{number}")).await })
        .buffered(8)
        .try_collect()
        .await?;
    println!("{count} workspaces are Ready");
    Ok(tenants)
}

/// The name of one of a workspace's Installs.
pub(crate) fn name(number: usize) -> String {
    format!("i{number}")
}

/// Asks for so many Installs in each workspace, by `order`, until each was seen to satisfy `is`.
pub(crate) async fn reach(
    workspaces: &[Workspace],
    each: usize,
    order: impl AsyncFn(&Workspace, usize) -> anyhow::Result<()>,
    is: impl Fn(&Install) -> bool,
) -> anyhow::Result<Took> {
    let seen = try_join_all(workspaces.iter().map(|workspace| see(workspace, each, &is)));
    took(seen, workspaces, each, order).await
}

/// The same, until each is gone.
pub(crate) async fn leave(
    workspaces: &[Workspace],
    each: usize,
    order: impl AsyncFn(&Workspace, usize) -> anyhow::Result<()>,
) -> anyhow::Result<Took> {
    let seen = try_join_all(workspaces.iter().map(|workspace| see_go(workspace, each)));
    took(seen, workspaces, each, order).await
}

async fn took(
    seen: impl Future<Output = anyhow::Result<Vec<BTreeMap<Key, Instant>>>>,
    workspaces: &[Workspace],
    each: usize,
    order: impl AsyncFn(&Workspace, usize) -> anyhow::Result<()>,
) -> anyhow::Result<Took> {
    let (began, order) = (Instant::now(), &order);
    let orders = stream::iter(
        workspaces.iter().flat_map(|workspace| (0..each).map(move |number| (workspace, number))),
    )
    .map(|(workspace, number)| async move {
        let at = Instant::now();
        order(workspace, number).await?;
        anyhow::Ok(((workspace.cluster.to_string(), name(number)), at))
    })
    .buffer_unordered(AT_A_TIME)
    .try_collect::<BTreeMap<_, _>>();
    let (seen, ordered) = tokio::time::timeout(PATIENCE, async { tokio::try_join!(seen, orders) })
        .await
        .context("not in time")??;
    let all = began.elapsed();
    let seen = seen.into_iter().flatten();
    let each = seen.filter_map(|(key, at)| Some(at.saturating_duration_since(*ordered.get(&key)?))).collect();
    Ok(Took { all, each })
}

/// When so many Installs of a workspace were first seen to satisfy `is`.
async fn see(
    workspace: &Workspace,
    count: usize,
    is: impl Fn(&Install) -> bool,
) -> anyhow::Result<BTreeMap<Key, Instant>> {
    let mut seen = BTreeMap::new();
    let changes = watcher(workspace.installs(), watcher::Config::default());
    let mut changes = changes.default_backoff().applied_objects().boxed();
    while seen.len() < count {
        let install = changes.try_next().await?.context("the watch has ended")?;
        if is(&install) {
            seen.entry((workspace.cluster.to_string(), install.name_any())).or_insert_with(Instant::now);
        }
    }
    Ok(seen)
}

/// When each of so many Installs of a workspace was seen to have gone.
async fn see_go(workspace: &Workspace, count: usize) -> anyhow::Result<BTreeMap<Key, Instant>> {
    let mut there: BTreeSet<_> = (0..count).map(name).collect();
    let (mut listed, mut seen) = (BTreeSet::new(), BTreeMap::new());
    let changes = watcher(workspace.installs(), watcher::Config::default());
    let mut changes = changes.default_backoff().boxed();
    while !there.is_empty() {
        let mut gone = BTreeSet::new();
        match changes.try_next().await?.context("the watch has ended")? {
            Event::Init => listed.clear(),
            Event::InitApply(install) => drop(listed.insert(install.name_any())),
            // Those that went before the watch began, too.
            Event::InitDone => gone = there.difference(&listed).cloned().collect(),
            Event::Apply(_) => {}
            Event::Delete(install) => drop(gone.insert(install.name_any())),
        }
        for name in gone {
            there.remove(&name);
            seen.insert((workspace.cluster.to_string(), name), Instant::now());
        }
    }
    Ok(seen)
}

/// Whether it is Ready for the generation that it has now.
pub(crate) fn is_ready(install: &Install) -> bool {
    condition(install, "Ready").is_some_and(|ready| {
        ready.status == "True" && ready.observed_generation == install.metadata.generation
    })
}

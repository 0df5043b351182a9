use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use annex_e2e::{Tenancy, World};
use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::{
    Api, ResourceExt as _,
    api::PostParams,
    runtime::{WatchStreamExt as _, watcher},
};
use kube_kcp::kinds::{
    DefaultAPIBinding, LogicalClusterPhase, Workspace, WorkspaceType, WorkspaceTypeExtension,
    WorkspaceTypeReference, WorkspaceTypeSpec,
};
use serde_json::json;
use xtask::Part;

use crate::figures::{milliseconds, percentile, rounded};

/// Workspaces of each kind and round.
const WORKSPACES: usize = 100;
/// Workspaces under way at a time. Four keep kcp at all the work that two cores can do; with more, they only wait for each
/// other, and every millisecond of work is counted once for each that waits.
const AT_A_TIME: usize = 4;
const BASELINE: &str = "annex-baseline";

/// Measures how long workspaces take to become Ready with our initializer, and with kcp's own `defaultAPIBindings` for the
/// same export without it. The rounds go there and back (A B B A), so that what a growing kcp costs falls on both alike. The
/// controller is stopped: it would work on both, and on the baseline's more.
pub(crate) async fn run() -> anyhow::Result<()> {
    let world = tokio::task::block_in_place(|| World::up(true))?;
    tokio::task::block_in_place(|| world.stack.stop(Part::Controller))?;
    let admin = world.admin().await?;
    let types: Api<WorkspaceType> = Api::all(admin.at("root:annex")?);
    types.create(&PostParams::default(), &baseline()).await?;

    // The first binding of a schema makes kcp set it up, for seconds; that is neither kind's own time.
    for type_name in ["annex-tenant", BASELINE] {
        let name = format!("warm-{type_name}");
        admin.order(&name, "root:annex", type_name).await?;
        admin.ready(&name).await?;
    }
    let mut rounds: BTreeMap<&str, Vec<Round>> = BTreeMap::new();
    for (number, type_name) in ["annex-tenant", BASELINE, BASELINE, "annex-tenant"].into_iter().enumerate() {
        let round = measure(&admin, type_name, number).await?;
        println!(
            "{type_name:15} {WORKSPACES} workspaces: p50 {:.0} ms, p99 {:.0} ms, all in {:.1} s",
            milliseconds(percentile(&round.ready, 0.5)),
            milliseconds(percentile(&round.ready, 0.99)),
            round.total.as_secs_f64()
        );
        rounds.entry(type_name).or_default().push(round);
    }
    let of = |type_name: &str| {
        let rounds = rounds.get(type_name).map(Vec::as_slice).unwrap_or_default();
        let ready: Vec<Duration> = rounds.iter().flat_map(|round| round.ready.clone()).collect();
        (ready, rounds.iter().map(|round| round.total).sum::<Duration>())
    };
    let ((ours, our_total), (base, base_total)) = (of("annex-tenant"), of(BASELINE));
    let at = |values: &[Duration], share| milliseconds(percentile(values, share));
    println!(
        "{}",
        json!({
            "bench": "seed",
            "workspaces": ours.len(),
            "p50_ms": at(&ours, 0.5),
            "p99_ms": at(&ours, 0.99),
            "base_p50_ms": at(&base, 0.5),
            "base_p99_ms": at(&base, 0.99),
            "added_p50_ms": rounded(at(&ours, 0.5) - at(&base, 0.5)),
            "total_ratio": rounded(our_total.as_secs_f64() / base_total.as_secs_f64()),
        })
    );
    Ok(())
}

struct Round {
    /// From the request for the workspace to Ready, each.
    ready: Vec<Duration>,
    /// From the first request to the last Ready.
    total: Duration,
}

async fn measure(admin: &Tenancy, type_name: &str, number: usize) -> anyhow::Result<Round> {
    let prefix = format!("r{number}-");
    let workspaces: Api<Workspace> = Api::all(admin.at("root")?);
    let (changed, ready) = tokio::sync::watch::channel(BTreeMap::<String, Instant>::new());
    let watching = async {
        let mut changes =
            watcher(workspaces, watcher::Config::default()).default_backoff().applied_objects().boxed();
        while changed.borrow().len() < WORKSPACES {
            let workspace = changes.try_next().await?.context("the watch has ended")?;
            let phase = workspace.status.as_ref().and_then(|status| status.phase);
            if workspace.name_any().starts_with(&prefix) && phase == Some(LogicalClusterPhase::Ready) {
                changed.send_modify(|ready| {
                    ready.entry(workspace.name_any()).or_insert_with(Instant::now);
                });
            }
        }
        anyhow::Ok(())
    };
    let started = Instant::now();
    let orders = stream::iter(0..WORKSPACES).map(|workspace| {
        let (name, mut ready) = (format!("{prefix}{workspace}"), ready.clone());
        async move {
            let at = Instant::now();
            admin.order(&name, "root:annex", type_name).await?;
            let ready = ready.wait_for(|ready| ready.contains_key(&name)).await?;
            let ready_at = ready.get(&name).copied().context("just seen")?;
            anyhow::Ok(ready_at.duration_since(at))
        }
    });
    let ordering = orders.buffer_unordered(AT_A_TIME).try_collect::<Vec<Duration>>();
    let limit = Duration::from_secs(900);
    let (ready, ()) = tokio::time::timeout(limit, async { tokio::try_join!(ordering, watching) })
        .await
        .context("not all workspaces became Ready within 15 minutes")??;
    Ok(Round { ready, total: started.elapsed() })
}

fn baseline() -> WorkspaceType {
    WorkspaceType::new(
        BASELINE,
        WorkspaceTypeSpec {
            extend: Some(WorkspaceTypeExtension {
                with: vec![WorkspaceTypeReference { name: "universal".into(), path: Some("root".into()) }],
            }),
            default_api_bindings: vec![DefaultAPIBinding {
                path: "root:annex".into(),
                export: "annex.sh".into(),
            }],
            ..WorkspaceTypeSpec::default()
        },
    )
}

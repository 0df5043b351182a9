//! A workspace that cannot be initialized: it holds up no other, and the operator sees which it is and why.

use annex_e2e::{World, until, when};
use anyhow::ensure;
use kube::Api;
use kube_kcp::kinds::{LogicalClusterPhase, Workspace};
use xtask::Part;

use crate::environment::shared;

const NAME: &str = "acme-stuck";
const ERRORS: &str = "annex_initializer_errors_total{";
const UNDER_WAY: &str = "annex_initializer_workspaces{";

#[tokio::test(flavor = "multi_thread")]
async fn one_stuck_workspace_holds_up_no_other_and_is_named() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    // Of a workspace that a member of system:masters makes, kcp records no owner, and it lets no initializer in: not ever.
    let master = world.master().await?;
    let errors = metric(world, ERRORS).await?;
    master.order(NAME, "root:annex", "annex-tenant").await?;
    let workspaces: Api<Workspace> = Api::all(master.at("root")?);
    let cluster = |workspace: &Workspace| workspace.spec.cluster.clone();
    let stuck = when(&workspaces, NAME, "it has a logical cluster", |it| cluster(it).is_some()).await?;
    let cluster = cluster(&stuck).expect("a logical cluster");
    let seen = is_seen_and_holds_up_nobody(world, &workspaces, &cluster, errors).await;

    // Whatever came of it, the other tests need the environment as it was.
    master.remove(NAME).await?;
    seen?;
    until("/readyz has forgotten the workspace", || async {
        Ok(line_about(world, &cluster).await?.is_none().then_some(()))
    })
    .await
}

/// Fails without a panic: the workspace is to be deleted whatever comes of it.
async fn is_seen_and_holds_up_nobody(
    world: &World,
    workspaces: &Api<Workspace>,
    cluster: &str,
    errors_before: f64,
) -> anyhow::Result<()> {
    until("/readyz says why the workspace is not initialized", || async {
        Ok(line_about(world, cluster)
            .await?
            .filter(|line| line.contains("last error: ") && line.contains("no user recorded")))
    })
    .await?;

    ensure!(metric(world, ERRORS).await? > errors_before, "the failed tries are counted");

    let (alice, bob) = (world.user("alice").await?, world.user("bob").await?);
    tokio::try_join!(
        alice.tenant("acme-beside-stuck-1"),
        alice.tenant("acme-beside-stuck-2"),
        bob.tenant("globex-beside-stuck")
    )?;
    // While it only waits to be tried again, too, which is nearly always.
    until("/readyz says that the workspace waits to be tried again", || async {
        Ok(line_about(world, cluster).await?.filter(|line| line.contains("waits to be tried again")))
    })
    .await?;
    ensure!(metric(world, UNDER_WAY).await? >= 1.0, "the gauge counts it");
    let phase = workspaces.get(NAME).await?.status.and_then(|status| status.phase);
    ensure!(phase == Some(LogicalClusterPhase::Initializing), "it is stuck all the while: {phase:?}");
    ensure!(line_about(world, cluster).await?.is_some(), "and is still named");
    Ok(())
}

/// What the initializer's `/readyz` says of the workspace. That the initializer is ready all the while is checked, too.
async fn line_about(world: &World, cluster: &str) -> anyhow::Result<Option<String>> {
    let readyz = world.runner()?.text(&format!("{}/readyz", world.stack.ops_url(Part::Initializer))).await?;
    Ok(readyz.lines().find(|line| line.contains(cluster)).map(str::to_owned))
}

/// A metric of the initializer, over all its labels.
async fn metric(world: &World, name: &str) -> anyhow::Result<f64> {
    let text = world.runner()?.text(&format!("{}/metrics", world.stack.ops_url(Part::Initializer))).await?;
    let values =
        text.lines().filter_map(|line| line.strip_prefix(name)?.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(values.sum())
}

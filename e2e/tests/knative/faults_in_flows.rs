//! The stages that change something on a cluster fail, and the controller dies in them.

use annex_e2e::{
    Kind, Publisher,
    faults::{Case, FAULTS_ANNOTATION, Fate, Fault, Faults, Moment, NEW, OLD, each_case, publish_both},
    until,
};
use anyhow::{Context as _, ensure};
use futures::future::try_join_all;
use kube::{ResourceExt, api::DeleteParams};
use serde_json::json;

use crate::environment::{alone, namespace};

const STAGES: [&str; 5] = ["DomainClaim", "Environment", "Runner", "DomainMapping", "Publish"];
/// Of an upgrade in the same place.
const UPGRADED: [&str; 3] = ["Runner", "Lifecycle/search", "Publish"];

#[tokio::test(flavor = "multi_thread")]
async fn what_a_flow_made_on_the_cluster_goes_on_or_goes_away_whenever_the_controller_dies()
-> anyhow::Result<()> {
    let (world, cluster, _turn) = alone().await?;
    let publisher = Publisher::with_kubeconfig(&world.stack, &world.stack.paths().kcp_kubeconfig())?;
    let mut workspaces = Vec::new();
    for number in 0..3 {
        workspaces.push(world.user("alice").await?.tenant(&format!("kn-faults-{number}")).await?);
    }
    let fault = |stage: &str, moment, fate| Fault { stage: stage.to_owned(), moment, fate };
    let cases = Case::all(STAGES.into_iter().flat_map(Fault::few).collect(), &workspaces);
    for name in Case::extensions(&cases) {
        publish_both(&publisher, &name).await?;
    }

    let faults = Faults::begin(world)?;
    let asked = each_case(&cases, async |case| case.asks_for(OLD).await).await?;
    faults.hold_all(&cases, asked).await?;
    faults.crash()?;
    each_case(&cases, async |case| case.ended(None, OLD).await).await?;
    // Of what was undone nothing is left on the cluster, and of the others everything is there.
    let hosts = async |cases: &[Case]| {
        let hosts = each_case(cases, async |case| {
            let install = case.workspace.installs().get(&case.name()).await?;
            Ok(install.status.and_then(|status| status.host))
        });
        hosts.await
    };
    let mapped = async || {
        let mut mapped = Vec::new();
        for workspace in &workspaces {
            let mappings = cluster.list(Kind::DomainMapping, &namespace(workspace)).await?;
            mapped.extend(mappings.iter().map(ResourceExt::name_any));
        }
        mapped.sort();
        anyhow::Ok(mapped)
    };
    let (gone, there): (Vec<Case>, Vec<Case>) =
        cases.iter().cloned().partition(|case| case.fault.fate == Fate::RollsBack);
    ensure!(hosts(&gone).await?.iter().all(Option::is_none), "who was rolled back has no host");
    let finished: Vec<Case> = there.iter().filter(|case| !case.fails()).cloned().collect();
    let answering: Vec<String> = hosts(&finished).await?.into_iter().flatten().collect();
    ensure!(answering.len() == finished.len());
    let may_be: Vec<String> = hosts(&there).await?.into_iter().flatten().collect();
    let now = mapped().await?;
    ensure!(answering.iter().all(|host| now.contains(host)), "{answering:?} are mapped: {now:?}");
    ensure!(now.iter().all(|host| may_be.contains(host)), "{now:?} are of {may_be:?}");

    let failed: Vec<Case> = cases.iter().filter(|case| case.fails()).cloned().collect();
    each_case(&failed, async |case| case.tried_again(OLD).await).await?;
    ensure!(mapped().await?.len() == cases.len(), "each has a mapping");

    // The same on the way to another version: what was there answers until then, and where that fails.
    let upgrades = Case::all(UPGRADED.into_iter().flat_map(Fault::few).collect(), &workspaces);
    let asked = each_case(&upgrades, async |case| case.asks_for(NEW).await).await?;
    faults.hold_all(&upgrades, asked).await?;
    faults.crash()?;
    each_case(&upgrades, async |case| case.ended(Some(OLD), NEW).await).await?;
    let failed: Vec<Case> = upgrades.iter().filter(|case| case.fails()).cloned().collect();
    each_case(&failed, async |case| case.tried_again(NEW).await).await?;
    ensure!(mapped().await?.len() == cases.len(), "each has a mapping still");

    // All go, and of some the controller dies in what takes away what is on the cluster.
    let revoked = Case::all(
        ["Withdraw", "Purge", "RemoveDomainMapping"]
            .into_iter()
            .flat_map(|stage| {
                [Moment::Before, Moment::In, Moment::After].map(|at| fault(stage, at, Fate::Finishes))
            })
            .collect(),
        &workspaces,
    );
    each_case(&cases, async |case| {
        case.patch(json!({ "metadata": { "annotations": { FAULTS_ANNOTATION: null } } })).await
    })
    .await?;
    let asked = each_case(&revoked, async |case| {
        let annotations = json!({ FAULTS_ANNOTATION: case.fault.annotation() });
        case.patch(json!({ "metadata": { "annotations": annotations } })).await?;
        let deleted = case.workspace.installs().delete(&case.name(), &DeleteParams::default()).await?;
        deleted.left().context("it waits for its finalizer")
    })
    .await?;
    faults.hold_all(&revoked, asked).await?;
    faults.crash()?;
    try_join_all(workspaces.iter().map(|workspace| async move {
        let all = Default::default();
        workspace.installs().delete_collection(&DeleteParams::default(), &all).await?;
        until("all Installs are gone", || async {
            Ok(workspace.installs().list(&all).await?.items.is_empty().then_some(()))
        })
        .await
    }))
    .await?;
    for workspace in &workspaces {
        cluster.gone(Kind::Namespace, "", &namespace(workspace)).await?;
    }
    Ok(())
}

//! What happens to a flow that is under way: its version is withdrawn, something else is wanted, its workspace goes, another controller
//! leads.

use annex_apis::{ExtensionVersion, Install, StageStatus, Tenant};
use annex_e2e::{
    GUEST_ENDPOINTS, Workspace,
    faults::{FAULTS_ANNOTATION, Faults},
    guest_says, guest_was_told,
    replica::{CONTROLLER_LISTENERS, Replica, another_leads, leader, says, signal},
    until, when,
};
use anyhow::Context as _;
use futures::future::try_join_all;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
};
use kube_kcp::kinds::Workspace as WorkspaceObject;
use serde_json::json;
use tokio::task::block_in_place;
use xtask::Part;

use crate::{
    environment::alone,
    flows::{caller, flow, has, published, status},
    replicas::settled,
};

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_a_flow_whose_version_or_workspace_goes_or_that_nobody_wants_any_more()
-> anyhow::Result<()> {
    const WITHDRAWN: &str = "com.example.withdrawn";
    const UNWANTED: &str = "com.example.unwanted";
    let (world, _turn) = alone().await;
    for name in [WITHDRAWN, UNWANTED] {
        published(world, name, "1.0.0", &[("a", "1.0.0"), ("b", "1.0.0")], "note").await?;
        published(world, name, "1.1.0", &[("a", "1.1.0"), ("b", "1.0.0")], "note").await?;
    }
    let alice = world.user("alice").await?;
    let workspace = alice.tenant("acme-midflow").await?;
    let going = alice.tenant("acme-midflow-going").await?;
    let spec = json!({ "version": "=1.0.0", "public": GUEST_ENDPOINTS, "deletionPolicy": "Purge" });
    let installs: [(&Workspace, &str, &str); 3] = [
        (&workspace, "withdrawn", WITHDRAWN),
        (&workspace, "unwanted", UNWANTED),
        (&going, "going", UNWANTED),
    ];
    for (workspace, name, extension) in installs {
        workspace.install(name, extension, spec.clone()).await?;
        has(workspace, name, "1.0.0").await?;
    }
    block_in_place(|| world.stack.kill(Part::Runner))?;
    for (workspace, name, _) in installs {
        workspace.change(name, json!({ "version": "=1.1.0" })).await?;
        let install = workspace.refused(name, "RunnerUnavailable").await?;
        assert_eq!(flow(&install).status, StageStatus::InProgress);
    }

    let versions: Api<ExtensionVersion> = Api::all(world.admin().await?.at("root:annex")?);
    versions.delete(&format!("{WITHDRAWN}-1.1.0"), &DeleteParams::default()).await?;
    let install = workspace.refused("withdrawn", "NoMatchingVersion").await?;
    assert_eq!(status(&install).installed_version.as_deref(), Some("1.0.0"));
    workspace.change("unwanted", json!({ "version": "=1.0.0" })).await?;
    let host_of_going = status(&going.installs().get("going").await?).host.clone().context("a host")?;
    alice.delete("acme-midflow-going").await?;
    block_in_place(|| world.stack.start(Part::Runner))?;

    let ended = |install: &Install| flow(install).finished_at.is_some();
    let install = when(&workspace.installs(), "withdrawn", "its flow has ended", ended).await?;
    let record = &status(&install).history[0];
    assert_eq!(
        (record.status, record.reason.as_deref()),
        (StageStatus::Cancelled, Some("NoMatchingVersion"))
    );
    let caller_of = caller(&install)?;
    assert_eq!(guest_says(&caller_of, WITHDRAWN, "/version").await?, "1.0.0");

    let install = has(&workspace, "unwanted", "1.0.0").await?;
    let record = &status(&install).history[0];
    assert_eq!((record.status, record.reason.as_deref()), (StageStatus::Cancelled, Some("Superseded")));
    let told = guest_was_told(&caller(&install)?, UNWANTED).await?;
    assert_eq!(told.len(), 2, "nothing was called that would have to be undone: {told:?}");

    let workspaces: Api<WorkspaceObject> = Api::all(alice.at("root")?);
    until("the workspace is gone", || async {
        Ok(workspaces.get_opt("acme-midflow-going").await?.is_none().then_some(()))
    })
    .await?;
    world.runner()?.is_nobodys(&host_of_going).await?;
    let tenants: Api<Tenant> = Api::all(world.admin().await?.at("root:annex")?);
    until("its Tenant is gone", || async {
        Ok(tenants.get_opt(going.cluster.as_str()).await?.is_none().then_some(()))
    })
    .await?;
    for name in ["withdrawn", "unwanted"] {
        workspace.installs().delete(name, &DeleteParams::default()).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_controllers_do_no_stage_twice_that_one_of_them_has_written_down() -> anyhow::Result<()> {
    const COUNT: usize = 8;
    let (world, _turn) = alone().await;
    let names: Vec<String> = (0..COUNT).map(|number| format!("com.example.twice{number}")).collect();
    for name in &names {
        published(world, name, "1.0.0", &[("a", "1.0.0"), ("b", "1.0.0")], "note").await?;
        published(world, name, "1.1.0", &[("a", "1.1.0"), ("b", "1.1.0")], "note").await?;
    }
    let workspace = world.user("alice").await?.tenant("acme-two-controllers").await?;
    let spec = json!({ "version": "=1.0.0", "public": GUEST_ENDPOINTS, "deletionPolicy": "Purge" });
    try_join_all(names.iter().enumerate().map(|(number, name)| {
        let (workspace, spec) = (&workspace, spec.clone());
        async move { workspace.install(&format!("two{number}"), name, spec).await }
    }))
    .await?;
    for number in 0..COUNT {
        has(&workspace, &format!("two{number}"), "1.0.0").await?;
    }
    let faults = Faults::begin(world)?;
    let first = until("somebody leads", || leader(world)).await?;
    let mut second = Replica::start(world, Part::Controller, &CONTROLLER_LISTENERS, &[])?;
    // One has come to the end of its first module's call, and has yet to write that down; the others are wherever they are.
    let held = json!({ "metadata": { "annotations": { FAULTS_ANNOTATION: "Lifecycle/a:After:hold" } } });
    workspace.installs().patch("two0", &PatchParams::default(), &Patch::Merge(held)).await?;
    for number in 0..COUNT {
        workspace.change(&format!("two{number}"), json!({ "version": "=1.1.0" })).await?;
    }
    let install = workspace.installs().get("two0").await?;
    faults.hold(&[(install, "Lifecycle/a:After".to_owned())]).await?;
    let pid = world.stack.pid(Part::Controller)?.context("it runs")?;
    signal(pid, "STOP")?;
    let finished = async {
        another_leads(world, &first).await?;
        for number in 0..COUNT {
            has(&workspace, &format!("two{number}"), "1.1.0").await?;
        }
        // Where the registry hears of it late, it is written once more that a host does not answer, and that it does.
        settled(world, &second.url(0)).await?;
        let mut versions = Vec::new();
        for number in 0..COUNT {
            let install = has(&workspace, &format!("two{number}"), "1.1.0").await?;
            versions.push(install.resource_version());
        }
        anyhow::Ok(versions)
    }
    .await;
    signal(pid, "CONT")?;
    let versions = finished?;
    assert!(second.runs()?);
    // The first finds out that it does not lead any more, and what it was at has no effect.
    says(world, &world.stack.ops_url(Part::Controller), "stands by").await?;
    for (number, version) in versions.into_iter().enumerate() {
        let install = workspace.installs().get(&format!("two{number}")).await?;
        assert_eq!(install.resource_version(), version, "nobody has written it since");
        let told = guest_was_told(&caller(&install)?, &names[number]).await?;
        for module in ["a", "b"] {
            let calls = told.iter().filter(|[action, of, ..]| action == "upgrade" && of == module).count();
            assert!((1..=2).contains(&calls), "{calls} calls of {module}: {told:?}");
        }
        assert_eq!(told.last().map(|[_, module, ..]| module.as_str()), Some("b"), "{told:?}");
        assert_eq!(status(&install).history.len(), 2, "one flow for each wish");
    }
    second.kill()?;
    drop(faults);
    for number in 0..COUNT {
        workspace.installs().delete(&format!("two{number}"), &DeleteParams::default()).await?;
    }
    Ok(())
}

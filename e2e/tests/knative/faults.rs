//! What the cluster refuses, and what becomes of it when it is itself again. Nothing is lost, and nobody has to ask.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use annex_apis::{ABANDON_ANNOTATION, FlowAction, Install, Tenant};
use annex_e2e::{Cluster, Kind, World, condition, publish, publish_version, until, when};
use futures::future::try_join_all;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;
use xtask::{Component, Part};

use crate::environment::{Reconfigured, alone, hello, namespace, tenant_on};

fn is_ready(install: &Install) -> bool {
    condition(install, "Ready").is_some_and(|ready| ready.status == "True")
}

/// The cluster's API is away as long as this lives, also when a test fails meanwhile: the next ones need it.
struct Outage(&'static World);

impl Outage {
    fn begin(world: &'static World) -> anyhow::Result<Self> {
        let outage = Self(world);
        tokio::task::block_in_place(|| world.stack.compute()?.stop(Component::ApiServer))?;
        Ok(outage)
    }
}

impl Drop for Outage {
    fn drop(&mut self) {
        let back = tokio::task::block_in_place(|| self.0.stack.compute()?.start(Component::ApiServer));
        assert!(back.is_ok() || std::thread::panicking(), "{back:?}");
    }
}

/// How long the network is cut: a connection that says nothing is given up after half a minute, and whoever followed something over
/// it tries again and again then.
const CUT: Duration = Duration::from_secs(75);

/// Nothing that this machine sends arrives in the cluster as long as this lives. It is lost without a word, as in a network that is cut:
/// a link that is taken down would take its route along, and what was sent would go wherever the machine sends everything else.
struct Cut(&'static World);

impl Cut {
    fn begin(world: &'static World) -> anyhow::Result<Self> {
        let cut = Self(world);
        cut.rule("--insert")?;
        Ok(cut)
    }

    fn rule(&self, verb: &str) -> anyhow::Result<()> {
        let network = format!("--net=/run/netns/{}", self.0.stack.compute()?.name());
        let rule = ["PREROUTING", "--in-interface", "eth0", "--jump", "DROP"];
        let iptables = ["iptables", "--wait", "--table", "mangle", verb];
        let status = Command::new("nsenter").arg(network).args(iptables).args(rule).status()?;
        anyhow::ensure!(status.success(), "iptables {verb}: {status}");
        Ok(())
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        let back = self.rule("--delete");
        assert!(back.is_ok() || std::thread::panicking(), "{back:?}");
    }
}

/// A part of Knative's is away as long as this lives, also when a test fails meanwhile: the next ones need it.
struct Stopped<'a>(&'a Cluster, &'static str);

impl<'a> Stopped<'a> {
    async fn begin(cluster: &'a Cluster, part: &'static str) -> anyhow::Result<Self> {
        let stopped = Self(cluster, part);
        cluster.scale("knative-serving", part, 0).await?;
        Ok(stopped)
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        let back = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(self.0.scale("knative-serving", self.1, 1))
        });
        assert!(back.is_ok() || std::thread::panicking(), "{back:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_out_of_reach_and_back() -> anyhow::Result<()> {
    let (world, cluster, _turn) = alone().await?;
    let (stays, host) = hello(world, "alice", "kn-away-stays").await?;
    let (goes, gone_host) = hello(world, "alice", "kn-away-goes").await?;
    let (forsaken, _) = hello(world, "alice", "kn-away-forsaken").await?;
    let comes = world.user("alice").await?.tenant("kn-away-comes").await?;

    // Without the cluster's API nobody wakes what sleeps: it was just asked, and is awake for a minute.
    tenant_on(world, &host).await?;
    let outage = Outage::begin(world)?;
    let says = |install: &Install| {
        condition(install, "Ready").is_some_and(|ready| ready.reason == "ComputeUnreachable")
    };
    let told = when(&stays.installs(), "hello", "ComputeUnreachable", says).await?;
    let message = &condition(&told, "Ready").expect("Ready").message;
    assert!(message.contains("goes on as it was"), "{message}");
    assert_eq!(tenant_on(world, &host).await?, stays.cluster.to_string(), "it answers all the same");

    comes.install("hello", "com.example.hello", json!({})).await?;
    comes.refused("hello", "ComputeUnreachable").await?;
    goes.installs().delete("hello", &DeleteParams::default()).await?;
    let waits =
        |install: &Install| condition(install, "Ready").is_some_and(|ready| ready.reason == "Uninstalling");
    when(&goes.installs(), "hello", "it waits for the cluster", waits).await?;
    // Who is deleted answers no more, whatever the cluster does.
    world.runner()?.is_nobodys(&gone_host).await?;

    // Who cannot wait for a cluster that may be gone for good says so, and what is left there is listed.
    forsaken.installs().delete("hello", &DeleteParams::default()).await?;
    when(&forsaken.installs(), "hello", "it waits for the cluster", waits).await?;
    let abandon = json!({ "metadata": { "annotations": { ABANDON_ANNOTATION: "compute" } } });
    forsaken.installs().patch("hello", &PatchParams::default(), &Patch::Merge(abandon)).await?;
    forsaken.gone("hello").await?;
    let tenants: Api<Tenant> = Api::all(world.admin().await?.at("root:annex")?);
    let left = tenants.get(forsaken.cluster.as_str()).await?.status.expect("a status").abandoned;
    assert_eq!((left.len(), left[0].what.as_str()), (1, "compute"));
    assert!(left[0].message.contains(&namespace(&forsaken)), "{left:?}");

    drop(outage);
    when(&stays.installs(), "hello", "Ready again", is_ready).await?;
    let installed = when(&comes.installs(), "hello", "Ready", is_ready).await?;
    let host = installed.status.expect("a status").host.expect("a host");
    assert_eq!(tenant_on(world, &host).await?, comes.cluster.to_string());
    goes.gone("hello").await?;
    cluster.gone(Kind::DomainMapping, &namespace(&goes), &gone_host).await?;
    // Whoever installs it again has what was left, and takes it away in the end.
    forsaken.install("hello", "com.example.hello", json!({})).await?;
    forsaken.installed("hello").await?;
    forsaken.installs().delete("hello", &DeleteParams::default()).await?;
    cluster.gone(Kind::Namespace, "", &namespace(&forsaken)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_cut_for_longer_than_any_connection_lives() -> anyhow::Result<()> {
    let (world, cluster, _turn) = alone().await?;
    let (stays, host) = hello(world, "alice", "kn-cut-stays").await?;
    let comes = world.user("alice").await?.tenant("kn-cut-comes").await?;
    let controller = world.stack.pid(Part::Controller)?;

    let began = Instant::now();
    let cut = Cut::begin(world)?;
    let says = |install: &Install| {
        condition(install, "Ready").is_some_and(|ready| ready.reason == "ComputeUnreachable")
    };
    when(&stays.installs(), "hello", "ComputeUnreachable", says).await?;
    comes.install("hello", "com.example.hello", json!({})).await?;
    comes.refused("hello", "ComputeUnreachable").await?;
    // The fault is its length: connections are noticed to be dead one after the other, and none of it can be seen from here.
    tokio::time::sleep_until((began + CUT).into()).await;
    drop(cut);

    when(&stays.installs(), "hello", "Ready again", is_ready).await?;
    assert_eq!(tenant_on(world, &host).await?, stays.cluster.to_string());
    let installed = when(&comes.installs(), "hello", "Ready", is_ready).await?;
    let host = installed.status.expect("a status").host.expect("a host");
    assert_eq!(tenant_on(world, &host).await?, comes.cluster.to_string());
    // What has not changed meanwhile is followed again, too: nobody asks for it otherwise.
    let namespace = namespace(&stays);
    for (kind, name) in
        [(Kind::NetworkPolicy, "annex"), (Kind::ResourceQuota, "annex"), (Kind::Service, "exec")]
    {
        let uid = cluster.get(kind, &namespace, name).await?.expect("it is there").uid();
        cluster.delete(kind, &namespace, name).await?;
        cluster.when(kind, &namespace, name, "is made again", |object| object.uid() != uid).await?;
    }
    when(&stays.installs(), "hello", "Ready again", is_ready).await?;
    assert_eq!(world.stack.pid(Part::Controller)?, controller, "nobody has restarted it");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_of_knatives_that_is_down() -> anyhow::Result<()> {
    let (world, cluster, _turn) = alone().await?;
    let workspace = world.user("alice").await?.tenant("kn-webhook").await?;
    let webhook = Stopped::begin(&cluster, "webhook").await?;
    // A webhook that is being ended goes on answering on the connections that it has. The API server has none after a restart.
    drop(Outage::begin(world)?);
    workspace.install("hello", "com.example.hello", json!({})).await?;
    let refused = workspace.refused("hello", "ComputeRefused").await?;
    drop(webhook);
    assert!(condition(&refused, "RunnerReady").expect("RunnerReady").message.contains("webhook"));
    when(&workspace.installs(), "hello", "Ready", is_ready).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_is_full() -> anyhow::Result<()> {
    let (world, cluster, _turn) = alone().await?;
    let (workspace, host) = hello(world, "alice", "kn-quota").await?;
    let namespace = namespace(&workspace);
    // A second quota, of the operator's own: Annex's would be repaired.
    let none = json!({ "spec": { "hard": { "pods": "0" } } });
    cluster.create(Kind::ResourceQuota, &namespace, "none", none).await?;
    cluster.delete(Kind::Service, &namespace, "runner").await?;
    let refused = |install: &Install| {
        condition(install, "RunnerReady").is_some_and(|ready| ready.message.contains("exceeded quota"))
    };
    let told = when(&workspace.installs(), "hello", "the quota is named", refused).await?;
    assert_eq!(condition(&told, "Ready").expect("Ready").status, "False");
    cluster.delete(Kind::ResourceQuota, &namespace, "none").await?;
    when(&workspace.installs(), "hello", "Ready", is_ready).await?;
    assert_eq!(tenant_on(world, &host).await?, workspace.cluster.to_string());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_does_not_start_says_why_and_the_next_one_heals_it() -> anyhow::Result<()> {
    let (world, _cluster, _turn) = alone().await?;
    let workspace = world.user("alice").await?.tenant("kn-images").await?;
    let deadline = ["--runner-progress-deadline-seconds", "10"];
    let bad = |image: &'static str| [deadline.as_slice(), &["--runner-image", image]].concat();
    let told = |install: &Install| {
        condition(install, "RunnerReady").is_some_and(|ready| {
            ready.status == "False" && ready.reason != "Provisioning" && !ready.message.is_empty()
        })
    };
    {
        let _no_such_image = Reconfigured::start(world, &bad("dev.local/nobody:1"), &[])?;
        workspace.install("hello", "com.example.hello", json!({})).await?;
        let install = when(&workspace.installs(), "hello", "Knative's own reason", told).await?;
        assert!(!is_ready(&install));
    }
    let crashing = world.user("alice").await?.tenant("kn-crashes").await?;
    {
        // A program that ends at once.
        let _crashes = Reconfigured::start(world, &bad("dev.local/coredns:v1"), &[])?;
        crashing.install("hello", "com.example.hello", json!({})).await?;
        let install = when(&crashing.installs(), "hello", "Knative's own reason", told).await?;
        assert!(!is_ready(&install));
    }
    when(&crashing.installs(), "hello", "Ready with the right image", is_ready).await?;
    let installed = when(&workspace.installs(), "hello", "Ready with the right image", is_ready).await?;
    let host = installed.status.expect("a status").host.expect("a host");
    assert_eq!(tenant_on(world, &host).await?, workspace.cluster.to_string());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_installs_while_knatives_controller_is_stopped() -> anyhow::Result<()> {
    const WORKSPACES: usize = 3;
    const EACH: usize = 10;
    let (world, cluster, _turn) = alone().await?;
    for number in 0..EACH {
        publish(world, &format!("com.example.kn{number}"), &["1.0.0"]).await?;
    }
    let alice = world.user("alice").await?;
    let workspaces = try_join_all((0..WORKSPACES).map(|number| {
        let alice = &alice;
        async move { alice.tenant(&format!("kn-thirty-{number}")).await }
    }))
    .await?;
    let controller = Stopped::begin(&cluster, "controller").await?;
    for workspace in &workspaces {
        for number in 0..EACH {
            workspace.install(&format!("i{number}"), &format!("com.example.kn{number}"), json!({})).await?;
        }
    }
    let all = || workspaces.iter().flat_map(|workspace| (0..EACH).map(move |number| (workspace, number)));
    for (workspace, number) in all() {
        workspace.refused(&format!("i{number}"), "Provisioning").await?;
    }
    drop(controller);
    let runner = world.runner()?;
    for (workspace, number) in all() {
        let installs = workspace.installs();
        let name = format!("i{number}");
        let installed = until(&format!("{name} is Ready"), || async {
            Ok(installs.get_opt(&name).await?.filter(is_ready))
        })
        .await?;
        let host = installed.status.expect("a status").host.expect("a host");
        // It may have gone to sleep while the others came up.
        let identity = until(&format!("{host} answers"), || async {
            let (status, identity) = runner.get(&host).await?;
            Ok((status.as_u16() == 200).then_some(identity))
        })
        .await?;
        assert_eq!(identity["extension_id"], json!(format!("com.example.kn{number}")));
        assert_eq!(identity["tenant_id"], json!(workspace.cluster.to_string()));
    }
    Ok(())
}

/// Nobody goes whom others need, also where a controller begins that cannot look at the cluster yet; and who stays answers.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_needed_stays_though_the_controller_begins_anew_without_the_cluster() -> anyhow::Result<()> {
    let (world, _cluster, _turn) = alone().await?;
    let needs = json!({ "dependencies": [{ "extension": "com.example.kn-base", "version": "^1" }] });
    publish(world, "com.example.kn-base", &["1.0.0"]).await?;
    publish(world, "com.example.kn-above", &[]).await?;
    publish_version(world, "com.example.kn-above", "1.0.0", needs).await?;
    publish(world, "com.example.kn-after", &["1.0.0"]).await?;
    let workspace = world.user("alice").await?.tenant("kn-needed").await?;
    for name in ["base", "above"] {
        workspace.install(name, &format!("com.example.kn-{name}"), json!({})).await?;
        workspace.installed(name).await?;
    }
    workspace.installs().delete("base", &DeleteParams::default()).await?;
    workspace.refused("base", "HasDependents").await?;
    let cut = Cut::begin(world)?;
    tokio::task::block_in_place(|| {
        world.stack.kill(Part::Controller)?;
        world.stack.start(Part::Controller)
    })?;
    // It has looked at all Installs by the time it gives this answer.
    workspace.install("after", "com.example.kn-after", json!({})).await?;
    workspace.refused("after", "ComputeUnreachable").await?;
    drop(cut);
    workspace.installed("after").await?;
    let status = workspace.installs().get("base").await?.status.expect("a status");
    assert_eq!(status.dependents, ["above"]);
    assert_eq!(status.flow.map(|flow| flow.action), Some(FlowAction::Install));
    assert_eq!(tenant_on(world, &status.host.expect("a host")).await?, workspace.cluster.to_string());
    for name in ["above", "after"] {
        workspace.installs().delete(name, &DeleteParams::default()).await?;
    }
    until("all are gone", || async {
        Ok(workspace.installs().list(&ListParams::default()).await?.items.is_empty().then_some(()))
    })
    .await
}

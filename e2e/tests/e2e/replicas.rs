//! Several replicas of the controller: one leads, and whatever happens to the one that leads, another does, and no write of
//! two takes effect. These tests have the environment alone.

use std::{net::SocketAddr, sync::Arc};

use annex_e2e::{
    Workspace, World,
    replica::{CONTROLLER_LISTENERS, Replica, another_leads, leader, lease, says, signal},
    until,
};
use kube::ResourceExt as _;
use serde_json::json;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::block_in_place,
};
use xtask::Part;

use crate::environment::{alone, publish};

/// How many of a replica's writes have taken effect.
async fn writes(world: &World, operations: &str) -> anyhow::Result<f64> {
    let text = world.runner()?.text(&format!("{operations}/metrics")).await?;
    let written = text.lines().filter(|line| {
        line.starts_with("annex_controller_api_writes_total{") && line.contains("result=\"ok\"")
    });
    written.map(|line| Ok(line.rsplit(' ').next().unwrap_or_default().parse::<f64>()?)).sum()
}

/// Once nothing is written any more.
pub(crate) async fn settled(world: &World, operations: &str) -> anyhow::Result<f64> {
    let last = std::sync::Mutex::new((-1.0, 0));
    until("the replica has come to rest", || async {
        let now = writes(world, operations).await?;
        let mut last = last.lock().expect("no panic");
        let same = (last.0 - now).abs() < 0.5;
        *last = (now, if same { last.1 + 1 } else { 0 });
        Ok((last.1 >= 10).then_some(now))
    })
    .await
}

async fn answers(world: &World, workspace: &Workspace, name: &str) -> anyhow::Result<()> {
    let host = workspace.installs().get(name).await?.status.expect("a status").host.expect("a host");
    until(&format!("{host} answers"), || async {
        let (status, identity) = world.runner()?.get(&host).await?;
        let right = status.as_u16() == 200 && identity["tenant_id"] == json!(workspace.cluster.to_string());
        Ok(right.then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_to_the_one_that_leads_another_does_and_no_write_of_two_takes_effect()
-> anyhow::Result<()> {
    let (world, _turn) = alone().await;
    for name in ["com.example.one", "com.example.two", "com.example.three"] {
        publish(world, name, &["1.0.0"]).await?;
    }
    let workspace = world.user("alice").await?.tenant("acme-replicas").await?;
    let first = until("somebody leads", || leader(world)).await?;
    let first_operations = world.stack.ops_url(Part::Controller);
    let mut second = Replica::start(world, Part::Controller, &CONTROLLER_LISTENERS, &[])?;
    says(world, &second.url(0), &format!("stands by; {first} leads")).await?;

    workspace.install("one", "com.example.one", json!({})).await?;
    workspace.installed("one").await?;
    answers(world, &workspace, "one").await?;
    assert_eq!(leader(world).await?, Some(first.clone()));
    assert!(writes(world, &second.url(0)).await? < 0.5, "who stands by writes nothing");

    // The first is stopped in its tracks, as by a debugger or a frozen control group, and goes on later.
    let before = settled(world, &first_operations).await?;
    let pid = world.stack.pid(Part::Controller)?.expect("it runs");
    signal(pid, "STOP")?;
    let stopped = async {
        workspace.install("two", "com.example.two", json!({})).await?;
        let second_leads = another_leads(world, &first).await?;
        workspace.installed("two").await?;
        anyhow::Ok(second_leads)
    }
    .await;
    signal(pid, "CONT")?;
    let second_leads = stopped?;
    says(world, &first_operations, &format!("stands by; {second_leads} leads")).await?;
    let after = settled(world, &first_operations).await?;
    assert!(
        (after - before).abs() < 0.5,
        "{before} writes of the first before, {after} after it was stopped"
    );
    for name in ["one", "two"] {
        answers(world, &workspace, name).await?;
    }

    // The second is killed. The first leads again, and knows what the second has done.
    second.kill()?;
    let again = another_leads(world, &second_leads).await?;
    assert_eq!(again, first);
    workspace.install("three", "com.example.three", json!({})).await?;
    workspace.installed("three").await?;
    for name in ["one", "two", "three"] {
        answers(world, &workspace, name).await?;
    }

    // Asked to end, it lets the next one in at once: the Lease has no holder before anybody's patience is over.
    let mut third = Replica::start(world, Part::Controller, &CONTROLLER_LISTENERS, &[])?;
    says(world, &third.url(0), &format!("stands by; {first} leads")).await?;
    let transitions = lease(world).await?.spec.and_then(|spec| spec.lease_transitions);
    block_in_place(|| world.stack.stop(Part::Controller))?;
    another_leads(world, &first).await?;
    assert!(lease(world).await?.spec.and_then(|spec| spec.lease_transitions) > transitions);
    assert!(third.runs()?);
    third.kill()?;
    block_in_place(|| world.stack.start(Part::Controller))?;
    workspace.change("one", json!({ "version": "1" })).await?;
    until("the new one has looked at it", || async {
        let install = workspace.installs().get("one").await?;
        let seen = install.status.as_ref().and_then(|status| status.observed_generation);
        Ok((seen == install.metadata.generation).then_some(()))
    })
    .await?;
    Ok(())
}

/// A way to kcp that can be cut: what was sent and not answered stays so, and no connection is closed.
struct Way {
    address: SocketAddr,
    cut: watch::Sender<bool>,
}

impl Way {
    async fn to(port: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (cut, is_cut) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut cut = is_cut.clone();
                tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    let copied = copy_bidirectional(&mut client, &mut server);
                    tokio::select! {
                        _ = copied => return,
                        () = until_it_is(&mut cut, true) => {}
                    }
                    // Neither side is told. When the way is open again, this connection is of no use.
                    until_it_is(&mut cut, false).await;
                });
            }
        });
        Ok(Self { address, cut })
    }
}

async fn until_it_is(cut: &mut watch::Receiver<bool>, wanted: bool) {
    // An error means that the test has ended.
    let _ = cut.wait_for(|cut| *cut == wanted).await.map(drop);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_leads_and_is_cut_off_writes_nothing_when_it_is_back() -> anyhow::Result<()> {
    let (world, _turn) = alone().await;
    for name in ["com.example.cut1", "com.example.cut2"] {
        publish(world, name, &["1.0.0"]).await?;
    }
    let workspace = world.user("alice").await?.tenant("acme-cut-off").await?;
    let first = until("somebody leads", || leader(world)).await?;

    let way = Arc::new(Way::to(world.stack.settings().kcp_port).await?);
    let kubeconfig = std::fs::read_to_string(world.stack.paths().service_kubeconfig(Part::Controller))?;
    let (kcp, cuttable) = (format!("127.0.0.1:{}", world.stack.settings().kcp_port), way.address.to_string());
    assert!(kubeconfig.contains(&kcp), "{kcp}");
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, kubeconfig.replace(&kcp, &cuttable))?;
    let path = path.to_str().expect("a path in Unicode").to_owned();
    let more = ["--kubeconfig", &path, "--shard-host", &cuttable];
    let replica = Replica::start(world, Part::Controller, &CONTROLLER_LISTENERS, &more)?;
    says(world, &replica.url(0), &format!("stands by; {first} leads")).await?;
    block_in_place(|| world.stack.stop(Part::Controller))?;
    let second = another_leads(world, &first).await?;
    workspace.install("one", "com.example.cut1", json!({})).await?;
    workspace.installed("one").await?;
    block_in_place(|| world.stack.start(Part::Controller))?;
    let before = settled(world, &replica.url(0)).await?;

    way.cut.send_replace(true);
    workspace.install("two", "com.example.cut2", json!({})).await?;
    let third = another_leads(world, &second).await?;
    answers(world, &workspace, "one").await?;
    workspace.installed("two").await?;
    let versions = async || -> anyhow::Result<Vec<Option<String>>> {
        let mut versions = Vec::new();
        for name in ["one", "two"] {
            versions.push(workspace.installs().get(name).await?.resource_version());
        }
        Ok(versions)
    };
    settled(world, &world.stack.ops_url(Part::Controller)).await?;
    let settled_versions = versions().await?;

    way.cut.send_replace(false);
    says(world, &replica.url(0), &format!("stands by; {third} leads")).await?;
    let after = settled(world, &replica.url(0)).await?;
    assert!((after - before).abs() < 0.5, "{before} writes before, {after} after it was cut off");
    assert_eq!(versions().await?, settled_versions, "nothing of what it had in mind took effect");
    Ok(())
}

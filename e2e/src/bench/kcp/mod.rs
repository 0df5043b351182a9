//! What kube-kcp costs, and what a noisy workspace costs its neighbours, on a scripted server: kcp itself makes some hundred objects a
//! second on a small machine, which is no load.

mod client;
mod noise;

use std::time::Duration;

use anyhow::Context as _;
use kube_kcp_scripted_server::{Kind, ScriptedServer, Shard};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

pub(crate) use client::{Client, Peer};

use crate::figures::{milliseconds, percentile, rounded};

const OBJECTS: usize = 100_000;
const WORKSPACES: usize = 1_000;
const EVENTS: usize = 50_000;
/// The others' changes, each.
const SAMPLES: usize = 1_500;

/// Measures, and prints a line of figures.
pub(crate) async fn run() -> anyhow::Result<()> {
    let noise = noise::measure(SAMPLES).await?;
    let at = |times: &[Duration], share| milliseconds(percentile(times, share));
    println!(
        "others alone: p50 {} ms, p99 {} ms; beside a burst: p50 {} ms, p99 {} ms",
        at(&noise.alone, 0.5),
        at(&noise.alone, 0.99),
        at(&noise.beside, 0.5),
        at(&noise.beside, 0.99)
    );
    // There and back (A B B A), so that what the machine does meanwhile falls on both alike.
    let mut costs: Vec<(Peer, Cost)> = Vec::new();
    for peer in [Peer::KubeKcp, Peer::KubeRuntime, Peer::KubeRuntime, Peer::KubeKcp] {
        let cost = measure(peer).await?;
        println!("{peer:?}: {cost:?}");
        costs.push((peer, cost));
    }
    let mean = |peer: Peer, of: fn(&Cost) -> f64| {
        let values: Vec<f64> =
            costs.iter().filter(|(other, _)| *other == peer).map(|(_, cost)| of(cost)).collect();
        values.iter().sum::<f64>() / f64::from(u32::try_from(values.len()).unwrap_or(1).max(1))
    };
    let per_core = |peer| 1.0 / mean(peer, |cost| cost.seconds_per_event);
    println!(
        "{}",
        json!({
            "bench": "kcp",
            "samples": noise.beside.len(),
            "alone_p50_ms": at(&noise.alone, 0.5),
            "alone_p99_ms": at(&noise.alone, 0.99),
            "beside_p50_ms": at(&noise.beside, 0.5),
            "beside_p99_ms": at(&noise.beside, 0.99),
            "noisy_latency_ratio":
                rounded(percentile(&noise.beside, 0.99).as_secs_f64() / percentile(&noise.alone, 0.99).as_secs_f64()),
            "objects": OBJECTS,
            "events": EVENTS,
            "events_per_s_per_core": per_core(Peer::KubeKcp).round(),
            "peer_events_per_s_per_core": per_core(Peer::KubeRuntime).round(),
            "events_per_core_ratio": rounded(per_core(Peer::KubeKcp) / per_core(Peer::KubeRuntime)),
            "bytes_per_object": mean(Peer::KubeKcp, |cost| cost.bytes_per_object).round(),
            "peer_bytes_per_object": mean(Peer::KubeRuntime, |cost| cost.bytes_per_object).round(),
            "list_s": rounded(mean(Peer::KubeKcp, |cost| cost.list_seconds)),
            "peer_list_s": rounded(mean(Peer::KubeRuntime, |cost| cost.list_seconds)),
        })
    );
    Ok(())
}

#[derive(Debug)]
struct Cost {
    /// Of processor time, in the client.
    seconds_per_event: f64,
    /// Of processor time, for all objects.
    list_seconds: f64,
    /// Of resident memory.
    bytes_per_object: f64,
}

pub(super) fn object(cluster: &str, name: &str, round: usize) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "namespace": "default", "name": name, "annotations": { "kcp.io/cluster": cluster },
            "labels": { "annex.sh/managed": "true" } },
        "data": { "extension": "com.example.notes", "version": "^1.0", "round": round.to_string() } })
}

pub(super) fn served(server: &ScriptedServer) -> Shard {
    let shard = server.shard("/services/apiexport/provider/bench");
    shard.serve(Kind::new("v1", "ConfigMap"));
    shard
}

fn workspace(number: usize) -> String {
    format!("1s8uv2zt{number:08}")
}

/// What a client that is a process of its own needs for all objects, and for each change of one.
async fn measure(peer: Peer) -> anyhow::Result<Cost> {
    let server = ScriptedServer::start().await?;
    let shard = served(&server);
    shard.put_many((0..OBJECTS).map(|n| object(&workspace(n % WORKSPACES), &format!("object-{n}"), 0)))?;
    let ca = tempfile::NamedTempFile::new()?;
    std::fs::write(ca.path(), server.ca_pem())?;
    let mut child = Command::new(std::env::current_exe()?)
        .arg("kcp-client")
        .args(["--peer", peer.name(), "--shard", &shard.url(), "--events", &EVENTS.to_string()])
        .arg("--ca")
        .arg(ca.path())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut said = BufReader::new(child.stdout.take().context("its output")?).lines();
    let began = Usage::told(&mut said).await?;
    let listed = Usage::told(&mut said).await?;
    tokio::select! {
        () = shard.watches(1) => {}
        ended = child.wait() => anyhow::bail!("the client ended before it watched, with {}", ended?),
    }
    for round in 0..EVENTS / 5_000 {
        shard.put_many(
            (0..5_000).map(|n| object(&workspace(n % WORKSPACES), &format!("object-{n}"), round + 1)),
        )?;
        // As much as a burst, and no more: what is measured is not how a client falls behind.
        tokio::task::yield_now().await;
    }
    let done = Usage::told(&mut said).await?;
    ended(child).await?;
    let (objects, events) = (f64::from(u32::try_from(OBJECTS)?), f64::from(u32::try_from(EVENTS)?));
    Ok(Cost {
        seconds_per_event: (done.cpu_seconds - listed.cpu_seconds) / events,
        list_seconds: listed.cpu_seconds - began.cpu_seconds,
        bytes_per_object: (listed.resident_bytes - began.resident_bytes) / objects,
    })
}

async fn ended(mut child: Child) -> anyhow::Result<()> {
    let status = child.wait().await?;
    anyhow::ensure!(status.success(), "the client ended with {status}");
    Ok(())
}

/// What a client's process has used so far.
struct Usage {
    cpu_seconds: f64,
    resident_bytes: f64,
}

impl Usage {
    async fn told(said: &mut Lines<BufReader<ChildStdout>>) -> anyhow::Result<Self> {
        let line = tokio::time::timeout(Duration::from_secs(300), said.next_line()).await??;
        let line = line.context("the client has ended early")?;
        let mut numbers = line.split(' ').map(str::parse::<f64>);
        let mut next = || numbers.next().context("a number")?.context("a number");
        Ok(Self { cpu_seconds: next()?, resident_bytes: next()? })
    }
}

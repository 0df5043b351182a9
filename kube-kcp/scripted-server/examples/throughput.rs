//! How fast the server is and how much it holds, with a client that only counts lines: what is left of a core and of memory for the
//! client under test.
//!
//! `cargo run --release -p kube-kcp-scripted-server --example throughput -- 100000`
#![allow(clippy::unwrap_used, reason = "a measurement that cannot be made ends")]

use std::{fs, time::Instant};

use http_body_util::BodyExt as _;
use kube::{Client, Config, client::Body};
use kube_kcp_scripted_server::{ScriptedServer, Shard};
use serde_json::{Value, json};

/// As many as one workspace changes in a burst, beside the others.
const BURST: usize = 5_000;
const ROUNDS: usize = 20;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let objects: usize = std::env::args().nth(1).map_or(100_000, |count| count.parse().unwrap());
    let server = ScriptedServer::start().await.unwrap();
    let shard = server.shard("/services/apiexport/root:annex/annex.sh");

    let (before, started) = (resident(), Instant::now());
    shard.put_many((0..objects).map(|n| object(&format!("w{}", n % 100), &format!("o{n}"), 0))).unwrap();
    let put = started.elapsed();
    println!(
        "{objects} objects put: {:.0} per second, {} bytes each in memory",
        objects as f64 / put.as_secs_f64(),
        (resident() - before) / objects
    );

    let client = client(&server, &shard);
    let started = Instant::now();
    let mut list = get(&client, "").await;
    let mut bytes = 0;
    while let Some(frame) = list.frame().await {
        bytes += frame.unwrap().into_data().unwrap().len();
    }
    println!("listed: {} MB in {:.2?}, {} bytes each", bytes >> 20, started.elapsed(), bytes / objects);

    for watches in [1, 10] {
        let mut bodies = Vec::new();
        for _ in 0..watches {
            bodies.push(get(&client, &format!("?watch=true&resourceVersion={}", shard.revision())).await);
        }
        let started = Instant::now();
        for round in 1..=ROUNDS {
            shard.put_many((0..BURST).map(|n| object("w1", &format!("o{}", n * 100 + 1), round))).unwrap();
            for body in &mut bodies {
                let mut lines = 0;
                while lines < BURST {
                    let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
                    lines += frame.iter().filter(|byte| **byte == b'\n').count();
                }
            }
        }
        let (events, seconds) = (ROUNDS * BURST * watches, started.elapsed().as_secs_f64());
        println!(
            "{watches} watches, bursts of {BURST}: {:.0} events per second, their writes, TLS and the client included",
            events as f64 / seconds
        );
    }
}

/// Of the size that most objects have.
fn object(cluster: &str, name: &str, round: usize) -> Value {
    json!({
        "apiVersion": "annex.sh/v1alpha1",
        "kind": "Install",
        "metadata": {"namespace": "default", "name": name, "annotations": {"kcp.io/cluster": cluster},
            "labels": {"annex.sh/managed": "true"}},
        "spec": {"extension": "com.example.notes", "version": "^1.0", "parameters": {"title": "Notes"}},
        "status": {"round": round, "conditions": [{"type": "Ready", "status": "True", "reason": "Ready", "message": ""}]},
    })
}

fn client(server: &ScriptedServer, shard: &Shard) -> Client {
    let mut config = Config::new(format!("{}/clusters/*", shard.url()).parse().unwrap());
    config.root_cert = Some(vec![server.ca_der().to_vec()]);
    Client::try_from(config).unwrap()
}

async fn get(client: &Client, query: &str) -> Body {
    let path = format!("/apis/annex.sh/v1alpha1/installs{query}");
    client.send(http::Request::get(path).body(Body::empty()).unwrap()).await.unwrap().into_body()
}

/// Bytes of memory in use, as Linux has it.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap_or(0) << 10
}

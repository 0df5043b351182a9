//! The first call of an extension whose code is compiled and on the disk, but not in this process: after a restart, of each of many. And
//! what so many hold of memory.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use super::Arguments;
use super::calls::{Callee, Gateway};
use super::load::{Prepared, closed_loop, connect, exchange, joined, on_a_thread};
use super::published::Published;
use crate::figures::{percentile, rounded};

const WARMING: usize = 500;

pub(super) async fn measure(arguments: &Arguments, figures: &mut Map<String, Value>) -> Result<()> {
    let published = Published::new().await?;
    let gateway = Gateway::new()?;
    let component = std::fs::read(&arguments.hello)?;
    let mut callees = Vec::new();
    for number in 0..arguments.extensions {
        let name = format!("com.example.cold{number}");
        let content = published.publish(&name, &distinct(&component, number)?, &[])?;
        callees.push(Callee::new("acme", &name, content));
    }
    let first = callees.first().context("no extension")?;

    println!("compiling {} components, once …", callees.len());
    let compiling = published.runner(&arguments.runner, &gateway, "cold")?;
    load(compiling.internal, gateway.calls(first, WARMING)?, 4)?;
    let empty = compiling.process.resident_kib()?;
    // One thread of a compiler's at a time is what the engine takes; a few wait, so that it never does.
    // Some at a time, because a grant is good for less than it takes to compile all.
    for some in callees.chunks(50) {
        load(compiling.internal, some.iter().map(|callee| gateway.call(callee)).collect::<Result<_>>()?, 4)?;
    }
    compiling.process.end()?;

    let runner = published.runner(&arguments.runner, &gateway, "cold")?;
    // Of one that is left out below: all that a process does once.
    load(runner.internal, gateway.calls(first, WARMING)?, 4)?;
    let known = runner.process.resident_kib()?;
    let mut pairs = Vec::new();
    for callee in callees.iter().skip(1) {
        pairs.push((gateway.call(callee)?, gateway.call(callee)?));
    }
    let address = runner.internal;
    let times = joined(on_a_thread(0, move || in_turn(address, pairs)))?;
    let full = runner.process.resident_kib()?;
    runner.process.end()?;

    let added: Vec<f64> =
        times.iter().map(|(cold, hot)| (cold.as_secs_f64() - hot.as_secs_f64()) * 1e3).collect();
    let (cold, hot): (Vec<Duration>, Vec<Duration>) = times.into_iter().unzip();
    let at = |times: &[Duration], share| rounded(percentile(times, share).as_secs_f64() * 1e3);
    figures.insert("cold_added_ms".into(), json!(rounded(super::median(added))));
    figures.insert("cold_p50_ms".into(), json!(at(&cold, 0.5)));
    figures.insert("cold_p99_ms".into(), json!(at(&cold, 0.99)));
    figures.insert("cold_hot_p50_ms".into(), json!(at(&hot, 0.5)));
    figures.insert("cold_hot_p99_ms".into(), json!(at(&hot, 0.99)));
    let each = |kib: u64| {
        #[expect(clippy::cast_precision_loss, reason = "a figure")]
        let each = kib.saturating_sub(empty) as f64 / arguments.extensions as f64;
        json!(rounded(each))
    };
    figures.insert("extensions".into(), json!(arguments.extensions));
    figures.insert("rss_per_extension_kib".into(), each(full));
    figures.insert("rss_per_known_extension_kib".into(), each(known));
    figures.insert("rss_empty_mib".into(), json!(empty / 1024));
    println!(
        "resident: {empty} KiB with one extension, {known} KiB with all on the disk, {full} KiB with all called"
    );
    Ok(())
}

fn load(address: SocketAddr, requests: Vec<Prepared>, connections: usize) -> Result<()> {
    let mut requests = requests.into_iter();
    joined(on_a_thread(0, move || closed_loop(address, connections, move || requests.next())))?.all()?;
    Ok(())
}

/// Each one's first call and its second, one at a time.
async fn in_turn(address: SocketAddr, pairs: Vec<(Prepared, Prepared)>) -> Result<Vec<(Duration, Duration)>> {
    let mut sender = connect(address).await?;
    let mut times = Vec::new();
    for (cold, hot) in pairs {
        let (cold, first) = exchange(&mut sender, cold).await?;
        let (hot, second) = exchange(&mut sender, hot).await?;
        first.and(second).map_err(|said| anyhow::anyhow!("a call was refused with {said}"))?;
        times.push((cold, hot));
    }
    Ok(times)
}

/// The same component with other bytes: a custom section at its end, which nothing reads.
fn distinct(component: &[u8], number: usize) -> Result<Vec<u8>> {
    let content = format!("\u{5}annex{number:08}");
    let mut distinct = component.to_vec();
    // Section 0; its length, which fits one byte.
    distinct.extend([0, u8::try_from(content.len())?]);
    distinct.extend(content.as_bytes());
    Ok(distinct)
}

//! Calls of a component that is ready, beside `wasmtime serve` with the same component.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use http::Request;
use serde_json::{Map, Value, json};

use super::calls::{Callee, Gateway};
use super::load::{Answered, Prepared, closed_loop, joined, on_a_thread};
use super::process::{Process, free_address};
use super::published::{Published, Runner, answer_to};
use super::{Arguments, spread};
use crate::figures::{milliseconds, percentile, rounded};

const CONNECTIONS: usize = 16;

/// What makes `wasmtime serve` the fastest: a pool, of which memories and tables stay resident between instances, as ours do. A new
/// instance for each request is its default for such a component, and what we do. `-S cli`, because the guest's standard library imports that.
const FLAGS: [&str; 9] = [
    "serve",
    "-O",
    "pooling-allocator=y",
    "-O",
    "pooling-memory-keep-resident=1310720",
    "-O",
    "pooling-table-keep-resident=16384",
    "-S",
    "cli",
];

struct Round {
    answered: Answered,
    /// Of the server, for each call.
    processor: Duration,
}

pub(super) async fn measure(arguments: &Arguments, figures: &mut Map<String, Value>) -> Result<()> {
    let published = Published::new().await?;
    let gateway = Gateway::new()?;
    let component = std::fs::read(&arguments.hello)?;
    let content = published.publish("com.example.hello", &component, &[])?;
    let ours = published.runner(&arguments.runner, &gateway, "hot")?;
    let (peer, peer_address) = wasmtime(arguments, &published)?;
    let callee = Callee::new("acme", "com.example.hello", content);
    let calls = |count| gateway.calls(&callee, count);
    let requests = |count: usize| -> Result<Vec<Prepared>> {
        let plain = || Request::get("/hello").header("host", "peer").header("accept", "application/json");
        (0..count).map(|_| Ok(plain().body(bytes::Bytes::new().into())?)).collect()
    };
    // The first calls compile, fill the pools and the processor's caches.
    round(&ours.process, ours.internal, calls(2_000)?)?;
    round(&peer, peer_address, requests(2_000)?)?;
    let (mut rounds, mut peers): (Vec<Round>, Vec<Round>) = (Vec::new(), Vec::new());
    for number in 0..arguments.rounds {
        let our = round(&ours.process, ours.internal, calls(arguments.calls)?)?;
        let their = round(&peer, peer_address, requests(arguments.calls)?)?;
        println!("hot {number}: ours {}; wasmtime serve {}", shown(&our), shown(&their));
        rounds.push(our);
        peers.push(their);
    }
    counted(&ours, arguments)?;
    let ratios = |of: fn(&Round) -> f64| {
        rounds.iter().zip(&peers).map(|(our, their)| of(our) / of(their)).collect::<Vec<_>>()
    };
    spread(figures, "hot_rps_ratio", ratios(|round| round.answered.per_second()));
    spread(figures, "hot_p99_ratio", ratios(|round| p99(round).as_secs_f64()));
    spread(figures, "hot_processor_ratio", ratios(|round| round.processor.as_secs_f64()));
    for (name, rounds) in [("hot", &rounds), ("wasmtime_serve", &peers)] {
        let median = |of: fn(&Round) -> f64| super::median(rounds.iter().map(of).collect());
        figures.insert(format!("{name}_rps"), json!(median(|round| round.answered.per_second()).round()));
        figures
            .insert(format!("{name}_p99_ms"), json!(rounded(median(|round| p99(round).as_secs_f64() * 1e3))));
        let processor = median(|round| round.processor.as_secs_f64() * 1e6);
        figures.insert(format!("{name}_processor_us"), json!(rounded(processor)));
    }
    ours.process.end()
}

/// That it was our runner that did it all, and that it counted.
fn counted(ours: &Runner, arguments: &Arguments) -> Result<()> {
    let metrics = answer_to(ours.internal, "/metrics").context("no metrics")?;
    let prefix = "annex_runner_calls_total{outcome=\"Answered\"} ";
    let counted =
        metrics.lines().find_map(|line| line.strip_prefix(prefix)).context("no calls were counted")?;
    let calls = arguments.rounds * arguments.calls + 2_000;
    ensure!(counted.trim().parse() == Ok(calls), "{counted} calls were counted, of {calls}");
    Ok(())
}

fn wasmtime(arguments: &Arguments, published: &Published) -> Result<(Process, SocketAddr)> {
    let address = free_address()?;
    let flags = FLAGS.map(str::to_owned).into_iter().chain(["--addr".to_owned(), address.to_string()]);
    let flags = flags.chain([arguments.hello.display().to_string()]);
    let is_up = || answer_to(address, "/hello").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"));
    Ok((Process::start(&arguments.wasmtime, flags, &published.at("wasmtime.log"), is_up)?, address))
}

fn round(process: &Process, address: SocketAddr, requests: Vec<Prepared>) -> Result<Round> {
    let count = u32::try_from(requests.len())?;
    let before = process.processor()?;
    let mut requests = requests.into_iter();
    let load = on_a_thread(0, move || closed_loop(address, CONNECTIONS, move || requests.next()));
    let answered = joined(load)?.all()?;
    Ok(Round { answered, processor: (process.processor()? - before) / count.max(1) })
}

fn p99(round: &Round) -> Duration {
    percentile(&round.answered.latencies, 0.99)
}

fn shown(round: &Round) -> String {
    let (p50, p99) = (percentile(&round.answered.latencies, 0.5), p99(round));
    format!(
        "{:.0}/s, p50 {} ms, p99 {} ms, {:.1?} of processor each",
        round.answered.per_second(),
        milliseconds(p50),
        milliseconds(p99),
        round.processor
    )
}

//! An honest tenant beside one whose guests spin, one that floods and one whose guests take all the memory that they get.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use annex_core::ContentHash;
use annex_grant::Limits;
use anyhow::Result;
use serde_json::{Map, Value, json};

use super::calls::{Callee, Gateway};
use super::load::{Answered, Prepared, closed_loop, joined, on_a_thread, paced};
use super::published::Published;
use super::{Arguments, median, spread};
use crate::figures::{milliseconds, percentile, rounded};

/// The honest one's calls: what a page with a few users does, and far from what the machine can.
const EVERY: Duration = Duration::from_millis(10);
const CALLS: usize = 800;

/// Everything, so that nothing is refused for want of a grant.
const ALL: &[&str] = &["storage.kv", "secrets", "log", "metrics", "context", "http.fetch"];

/// Who is hostile, how, and over how many connections. An install may have 32 calls at a time: the flood is twice that.
const HOSTILE: [(&str, &str, usize); 3] =
    [("spinner", "/spin", 32), ("flooder", "/hello", 64), ("allocator", "/allocate", 16)];

pub(super) async fn measure(arguments: &Arguments, figures: &mut Map<String, Value>) -> Result<()> {
    let published = Published::new().await?;
    let gateway = Arc::new(Gateway::new()?);
    let hello = published.publish("com.example.hello", &std::fs::read(&arguments.hello)?, &[])?;
    let hostile = published.publish("com.example.hostile", &std::fs::read(&arguments.hostile)?, &[])?;
    let runner = published.runner(&arguments.runner, &gateway, "noisy")?;
    let address = runner.internal;
    let honest = Callee::new("acme", "com.example.hello", hello);
    let callees = HOSTILE.map(|(tenant, path, connections)| {
        (Callee { tenant: tenant.to_owned(), path, ..hostile_callee(hostile) }, connections)
    });
    let calm = || -> Result<Answered> {
        let requests = gateway.calls(&honest, CALLS)?;
        joined(on_a_thread(0, move || paced(address, EVERY, requests)))
    };
    // Both are compiled and ready before anything is timed: one call at a time, because all that come meanwhile wait for the compiler, and
    // then are too many at once.
    for callee in [honest.clone(), Callee { path: "/hello", ..hostile_callee(hostile) }] {
        let mut requests = gateway.calls(&callee, 100)?.into_iter();
        joined(on_a_thread(0, move || closed_loop(address, 1, move || requests.next())))?.all()?;
    }

    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    let mut answered = [0; HOSTILE.len()];
    for number in 0..arguments.rounds {
        alone.push(calm()?);
        let noise: Vec<_> = callees
            .iter()
            .map(|(callee, connections)| {
                Noise::start(address, Arc::clone(&gateway), callee.clone(), *connections)
            })
            .collect();
        // Under way, and the spinners' first calls ended.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let outcome = calm();
        for (sum, noise) in answered.iter_mut().zip(noise) {
            *sum += noise.end()?;
        }
        beside.push(outcome?);
        for (name, rounds) in [("alone", &alone), ("beside", &beside)] {
            if let Some(round) = rounds.last() {
                let at = |share| milliseconds(percentile(&round.latencies, share));
                println!(
                    "noisy {number}: {name} p50 {} ms, p99 {} ms, most {} ms",
                    at(0.5),
                    at(0.99),
                    at(1.0)
                );
            }
        }
    }
    let p99 = |round: &Answered| percentile(&round.latencies, 0.99).as_secs_f64();
    spread(
        figures,
        "noisy_p99_ratio",
        alone.iter().zip(&beside).map(|(alone, beside)| p99(beside) / p99(alone)).collect(),
    );
    for (name, rounds) in [("alone", &alone), ("beside", &beside)] {
        for (share, value) in [("p50", 0.5), ("p99", 0.99)] {
            let at = |round: &Answered| percentile(&round.latencies, value).as_secs_f64() * 1e3;
            figures.insert(
                format!("{name}_{share}_ms"),
                json!(rounded(median(rounds.iter().map(at).collect()))),
            );
        }
    }
    // On a machine that stands still for a moment, calls pile up to more than an install may have.
    let refused: usize = alone.iter().chain(&beside).map(|round| round.refused).sum();
    figures.insert("honest_refused".into(), json!(refused));
    for ((name, ..), count) in HOSTILE.iter().zip(answered) {
        figures.insert(format!("{name}_calls"), json!(count));
    }
    runner.process.end()
}

/// With what an operator's platform gives a call: five seconds, 64 MiB.
fn hostile_callee(content: ContentHash) -> Callee {
    let limits = Limits { timeout_ms: 5_000, memory_mb: 64, fuel: None };
    Callee { capabilities: ALL, limits, ..Callee::new("hostile", "com.example.hostile", content) }
}

/// A hostile tenant at work. Its client is less urgent than the honest one's: what is measured is the runner, not how two clients share a
/// machine.
struct Noise {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    thread: JoinHandle<Result<Answered>>,
}

impl Noise {
    fn start(address: SocketAddr, gateway: Arc<Gateway>, callee: Callee, connections: usize) -> Self {
        let (stop, answers) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let next = {
            let (stop, answers) = (Arc::clone(&stop), Arc::clone(&answers));
            move || -> Option<Prepared> {
                if stop.load(Ordering::Relaxed) {
                    return None;
                }
                answers.fetch_add(1, Ordering::Relaxed);
                // A grant of a bench cannot fail; if it does, the load ends and the count of it shows.
                gateway.call(&callee).ok()
            }
        };
        let thread = on_a_thread(10, move || closed_loop(address, connections, next));
        Self { stop, answers, thread }
    }

    /// How many calls it has made.
    fn end(self) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        joined(self.thread)?;
        Ok(self.answers.load(Ordering::Relaxed))
    }
}

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Config;
use kube_kcp::{
    Backoff, Connection, Index, Limits, Metrics, ObjectKey, Outcome, Readiness, ShardUrl, Stop,
    VirtualWorkspace, VirtualWorkspaceOptions, WorkMetrics, WorkQueue, run_workers,
};
use kube_kcp_scripted_server::{ScriptedServer, Shard};
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;

use super::{object, served, workspace};

const BURST: usize = 5_000;
const OTHERS: usize = 50;
const NOISY: &str = "noisy";
/// How long a reconcile waits for the answers to its requests. They are left out: what is measured is who waits for whom.
const WORK: Duration = Duration::from_millis(5);

/// How long each of the others' changes took until it was worked on.
pub(super) struct Noise {
    pub(super) alone: Vec<Duration>,
    pub(super) beside: Vec<Duration>,
}

/// One change at a time in each of the other workspaces, alone, and while one workspace changes 5,000 objects at once, again and
/// again, each worked on for 5 ms by 32 workers of which it may have 4.
pub(super) async fn measure(samples: usize) -> anyhow::Result<Noise> {
    // The server has a thread of its own, so that what it does is not in the client's way.
    let (tell, told) = tokio::sync::oneshot::channel();
    let (_end, ended) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let server = ScriptedServer::start().await?;
            let shard = served(&server);
            let _ = tell.send((shard, server.ca_der().to_vec()));
            let _ = ended.await;
            anyhow::Ok(())
        })
    });
    let (shard, ca) = told.await.context("the server does not start")?;
    let all = (0..OTHERS).map(|n| object(&workspace(n), "one", 0));
    shard.put_many(all.chain((0..BURST).map(|n| object(NOISY, &format!("object-{n}"), 0))))?;

    let url: ShardUrl = shard.url().parse()?;
    let mut config = Config::new(shard.url().parse()?);
    config.root_cert = Some(vec![ca]);
    let connection = Connection::new(config)?;
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let options = VirtualWorkspaceOptions::default();
    let workspaces = VirtualWorkspace::fixed(&connection, [url].into(), options, metrics);
    let index: Arc<Index<ConfigMap>> = Arc::default();
    let readiness = Readiness::default();
    let queue = Arc::new(WorkQueue::new(Backoff::default(), 4));
    let changed = queue.clone();
    let gate = readiness.gate("list");
    let _watch = workspaces.objects(&index, gate, move |change| changed.add(change.key().clone()));
    readiness.wait().await;

    let (begun, mut begins) = mpsc::unbounded_channel();
    let limits = Limits { concurrency: 32, timeout: Duration::from_secs(60) };
    let work = tokio::spawn(run_workers(
        queue.clone(),
        limits,
        WorkMetrics::register(&mut registry),
        std::future::pending::<Stop>(),
        move |key: ObjectKey| {
            // A handful of bytes; that nobody listens any more is the end of the bench.
            let _ = begun.send((Instant::now(), key.clone()));
            let object = index.get(&key);
            async move {
                tokio::time::sleep(WORK).await;
                drop(object);
                Outcome::Done
            }
        },
    ));
    // What the list brought is worked on first.
    let mut left = OTHERS + BURST;
    while left > 0 {
        begins.recv().await.context("the workers have ended")?;
        left -= 1;
    }
    let alone = others(&shard, &mut begins, samples, false).await?;
    let beside = others(&shard, &mut begins, samples, true).await?;
    work.abort();
    Ok(Noise { alone, beside })
}

async fn others(
    shard: &Shard,
    begins: &mut mpsc::UnboundedReceiver<(Instant, ObjectKey)>,
    samples: usize,
    noisy: bool,
) -> anyhow::Result<Vec<Duration>> {
    let (mut times, mut waiting, mut round) = (Vec::new(), HashMap::new(), 1);
    let mut at_work_on_burst = 0;
    let change = |n: usize, round: usize, waiting: &mut HashMap<String, (Instant, usize)>| {
        shard.put(object(&workspace(n), "one", round))?;
        waiting.insert(workspace(n), (Instant::now(), n));
        anyhow::Ok(())
    };
    for n in 0..4 {
        change(n, round, &mut waiting)?;
    }
    let mut next = 4;
    while times.len() < samples {
        if noisy && at_work_on_burst == 0 {
            round += 1;
            let shard = shard.clone();
            // Beside the others' changes, not before them.
            std::thread::spawn(move || {
                shard.put_many((0..BURST).map(|n| object(NOISY, &format!("object-{n}"), round)))
            });
            at_work_on_burst = BURST;
        }
        let (at, key) = begins.recv().await.context("the workers have ended")?;
        if key.cluster.as_str() == NOISY {
            at_work_on_burst = at_work_on_burst.saturating_sub(1);
            continue;
        }
        let Some((asked, _)) = waiting.remove(key.cluster.as_str()) else { continue };
        times.push(at.saturating_duration_since(asked));
        round += 1;
        change(next % OTHERS, round, &mut waiting)?;
        next += 1;
    }
    Ok(times)
}

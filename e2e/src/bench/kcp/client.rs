use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use anyhow::Context as _;
use clap::ValueEnum;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Config,
    runtime::{WatchStreamExt as _, reflector, watcher},
};
use kube_kcp::{
    Connection, Index, Metrics, Readiness, ShardUrl, VirtualWorkspace, VirtualWorkspaceOptions, trust_also,
};
use prometheus_client::registry::Registry;
use tokio::sync::Notify;

/// Whose client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// Ours: its watch and index.
    KubeKcp,
    /// kube-runtime's watcher and reflector, which cannot tell workspaces apart.
    KubeRuntime,
}

impl Peer {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::KubeKcp => "kube-kcp",
            Self::KubeRuntime => "kube-runtime",
        }
    }
}

/// A client that lists all objects, then watches so many changes, and says after each what it has used. The bench starts it.
#[derive(clap::Args)]
pub(crate) struct Client {
    #[arg(long)]
    peer: Peer,
    #[arg(long)]
    shard: ShardUrl,
    #[arg(long)]
    ca: PathBuf,
    #[arg(long)]
    events: usize,
}

impl Client {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let mut config = Config::new(format!("{}/clusters/*", self.shard).parse()?);
        config.root_cert = None;
        trust_also(&mut config, &std::fs::read(&self.ca)?)?;
        tell()?;
        match self.peer {
            Peer::KubeKcp => self.kube_kcp(config).await,
            Peer::KubeRuntime => self.kube_runtime(config).await,
        }
    }

    async fn kube_kcp(self, config: Config) -> anyhow::Result<()> {
        let connection = Connection::new(config)?;
        let workspaces = VirtualWorkspace::fixed(
            &connection,
            [self.shard].into(),
            VirtualWorkspaceOptions::default(),
            Metrics::register(&mut Registry::default()),
        );
        let index: Arc<Index<ConfigMap>> = Arc::default();
        let readiness = Readiness::default();
        let (seen, done) = (AtomicUsize::new(0), Arc::new(Notify::new()));
        // What the list tells is no change, so counting begins once it has ended: the bench changes nothing before it is told so.
        let counting = Arc::new(AtomicBool::new(false));
        let (counts, bell, wanted) = (counting.clone(), done.clone(), self.events);
        let listed = readiness.gate("list");
        let _watch = workspaces.objects(&index, listed, move |_| {
            if counts.load(Ordering::Relaxed) && seen.fetch_add(1, Ordering::Relaxed) + 1 == wanted {
                bell.notify_one();
            }
        });
        readiness.wait().await;
        counting.store(true, Ordering::Relaxed);
        tell()?;
        done.notified().await;
        tell()?;
        anyhow::ensure!(!index.is_empty(), "nothing was kept");
        Ok(())
    }

    async fn kube_runtime(self, config: Config) -> anyhow::Result<()> {
        let api: Api<ConfigMap> = Api::all(kube::Client::try_from(config)?);
        let (store, writer) = reflector::store();
        let mut events = watcher(api, watcher::Config::default())
            .modify(|object| object.metadata.managed_fields = None)
            .reflect(writer)
            .boxed();
        let (mut listed, mut seen) = (false, 0);
        while seen < self.events {
            match events.next().await.context("the watch has ended")?? {
                watcher::Event::InitDone => {
                    listed = true;
                    tell()?;
                }
                watcher::Event::Apply(_) if listed => seen += 1,
                _ => {}
            }
        }
        tell()?;
        anyhow::ensure!(!store.is_empty(), "nothing was kept");
        Ok(())
    }
}

/// Seconds of processor time and bytes of resident memory, by the kernel's count.
fn tell() -> anyhow::Result<()> {
    let schedstat: f64 = threads()?;
    let statm = std::fs::read_to_string("/proc/self/status")?;
    let line = statm.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    println!("{} {}", schedstat / 1e9, kib * 1024.0);
    Ok(())
}

/// Nanoseconds that all threads have run.
fn threads() -> anyhow::Result<f64> {
    let mut sum = 0.0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        let schedstat = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        sum += schedstat.split(' ').next().context("a number")?.parse::<f64>()?;
    }
    Ok(sum)
}

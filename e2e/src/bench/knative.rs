use std::time::{Duration, Instant};

use annex_core::IDENTITY_PATH;
use annex_e2e::{Cluster, Kind, Workspace, World};
use anyhow::Context as _;
use kube::{api::DeleteParams, runtime::wait::await_condition};
use serde_json::{Value, json};
use xtask::{Kubectl, Part};

use crate::figures::{milliseconds, percentile, rounded};

/// Of each kind. With fewer the 99th percentile would be the slowest of all.
const ROUNDS: usize = 100;
/// How often a domain is asked whether it answers.
const POLL: Duration = Duration::from_millis(10);
/// What the controller writes on the compute cluster, as its metric calls it.
const COMPUTE_KINDS: [&str; 7] = [
    "Namespace",
    "ResourceQuota",
    "NetworkPolicy",
    "Secret",
    "Service",
    "DomainMapping",
    "ClusterDomainClaim",
];

/// Measures how long it takes from `kubectl apply` to an answer through Envoy: of an Install in a new workspace, and of a plain
/// Knative Service with a DomainMapping, the very same that Annex makes, whose namespace and claim are there already. One after
/// the other and there and back (A B B A), so that what a growing cluster costs falls on both alike.
pub(crate) async fn run() -> anyhow::Result<()> {
    let world = tokio::task::block_in_place(|| World::up_knative(true))?;
    let cluster = world.cluster().await?;
    let admin = world.admin().await?;
    let bench = Bench { world: &world, cluster: &cluster, http: http()? };

    // The first of each pays for what a node does once.
    let warm = admin.tenant("warm").await?;
    let (_, host) = bench.install(&warm).await?;
    let namespace = format!("annex-{}", warm.cluster);
    let service = cluster.get(Kind::Service, &namespace, "runner").await?.context("a runner")?;
    let spec = service.data.get("spec").cloned().unwrap_or_default();
    let mapping = cluster.get(Kind::DomainMapping, &namespace, &host).await?.context("a mapping")?;
    let annotations = json!({ "networking.knative.dev/http-protocol": mapping.metadata.annotations.context("annotations")?
        .get("networking.knative.dev/http-protocol") });
    bench.uninstall(&warm).await?;
    bench.plain("plain-warm", &spec, &annotations).await?;

    let (mut ours, mut plain, mut counted) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let workspace = admin.tenant(&format!("bench-{round}")).await?;
        let name = format!("plain-{round}");
        if round % 2 == 1 {
            plain.push(bench.plain(&name, &spec, &annotations).await?);
        }
        let (time, writes) = bench.counted_install(&workspace).await?;
        ours.push(time);
        counted.push(writes);
        if round % 2 == 0 {
            plain.push(bench.plain(&name, &spec, &annotations).await?);
        }
        println!(
            "round {round:2}: install {:.0} ms and {writes:.0} writes, plain {:.0} ms",
            ours.last().map_or(0.0, |time| milliseconds(*time)),
            plain.last().map_or(0.0, |time| milliseconds(*time)),
        );
    }
    let rounds = f64::from(u32::try_from(ROUNDS)?);
    let at = |times: &[Duration], share| milliseconds(percentile(times, share));
    println!(
        "{}",
        json!({
            "bench": "knative",
            "rounds": ROUNDS,
            "p50_ms": at(&ours, 0.5),
            "p99_ms": at(&ours, 0.99),
            "plain_p50_ms": at(&plain, 0.5),
            "plain_p99_ms": at(&plain, 0.99),
            "added_p50_ms": rounded(at(&ours, 0.5) - at(&plain, 0.5)),
            "compute_writes_per_install": rounded(counted.iter().sum::<f64>() / rounds),
            "compute_writes_most": counted.iter().copied().fold(0.0, f64::max),
        })
    );
    Ok(())
}

struct Bench<'a> {
    world: &'a World,
    cluster: &'a Cluster,
    http: reqwest::Client,
}

impl Bench<'_> {
    /// Installs the sample and returns how long it took to answer, and its host.
    async fn install(&self, workspace: &Workspace) -> anyhow::Result<(Duration, String)> {
        let slug: String = workspace.cluster.as_str().chars().take(12).collect();
        let host = format!("{slug}--hello.{}", self.world.stack.settings().domain_root);
        let install = json!({
            "apiVersion": "annex.sh/v1alpha1", "kind": "Install",
            "metadata": { "name": "hello", "namespace": "default" },
            "spec": { "extension": "com.example.hello" },
        });
        let server = format!("--server={}/clusters/{}", self.world.stack.ops_url(Part::Kcp), workspace.path);
        let kubectl = self.world.stack.admin();
        let time = self.answers((&kubectl, &[&server]), &[install], &host, |status| status == 200).await?;
        workspace.installed("hello").await?;
        Ok((time, host))
    }

    /// An install and, once its writes have been counted, its uninstall.
    async fn counted_install(&self, workspace: &Workspace) -> anyhow::Result<(Duration, f64)> {
        // What the last uninstall wrote is not this one's.
        let before = writes(self.world).await?;
        let (time, _) = self.install(workspace).await?;
        let writes = writes(self.world).await? - before;
        self.uninstall(workspace).await?;
        Ok((time, writes))
    }

    async fn uninstall(&self, workspace: &Workspace) -> anyhow::Result<()> {
        workspace.installs().delete("hello", &DeleteParams::default()).await?;
        await_condition(workspace.installs(), "hello", |install: Option<&annex_apis::Install>| {
            install.is_none()
        })
        .await?;
        Ok(())
    }

    /// The same Knative Service and a mapping, without Annex.
    async fn plain(&self, name: &str, spec: &Value, annotations: &Value) -> anyhow::Result<Duration> {
        let host = format!("{name}--bench.{}", self.world.stack.settings().domain_root);
        let labels = json!({ "labels": { "pod-security.kubernetes.io/enforce": "restricted" } });
        self.cluster.create(Kind::Namespace, "", name, json!({ "metadata": labels })).await?;
        self.cluster
            .create(Kind::ClusterDomainClaim, "", &host, json!({ "spec": { "namespace": name } }))
            .await?;
        let service = json!({
            "apiVersion": "serving.knative.dev/v1", "kind": "Service",
            "metadata": { "name": "runner", "namespace": name, "labels": { "networking.knative.dev/visibility": "cluster-local" } },
            "spec": spec,
        });
        let mapping = json!({
            "apiVersion": "serving.knative.dev/v1beta1", "kind": "DomainMapping",
            "metadata": { "name": host, "namespace": name, "annotations": annotations },
            "spec": { "ref": { "apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "runner" } },
        });
        let kubectl = self.world.stack.compute_admin();
        // The runner knows no such host and says so: its own answer, and not the ingress's.
        let time = self.answers((&kubectl, &[]), &[service, mapping], &host, |status| status == 404).await?;
        self.cluster.delete(Kind::DomainMapping, name, &host).await?;
        self.cluster.delete(Kind::ClusterDomainClaim, "", &host).await?;
        self.cluster.delete(Kind::Service, name, "runner").await?;
        // Its end takes half a minute, as long as its pods may take, on both sides.
        self.cluster.api(Kind::Namespace, "").delete(name, &DeleteParams::default()).await?;
        Ok(time)
    }

    /// Applies objects with kubectl, and returns how long it took from then until `host` answers from a runner.
    async fn answers(
        &self,
        (kubectl, options): (&Kubectl, &[&str]),
        objects: &[Value],
        host: &str,
        expected: impl Fn(u16) -> bool,
    ) -> anyhow::Result<Duration> {
        let text = json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string();
        let started = Instant::now();
        let args = [options, &["apply", "--filename=-"]].concat();
        tokio::task::block_in_place(|| kubectl.run_with_input(&args, &text))?;
        let url = format!("{}{IDENTITY_PATH}", self.world.stack.settings().runner_url());
        let mut ticks = tokio::time::interval(POLL);
        let asking = async {
            loop {
                ticks.tick().await;
                let Ok(answer) = self.http.get(&url).header("host", host).send().await else { continue };
                let status = answer.status().as_u16();
                // An ingress that knows no such host answers without a body.
                if expected(status) && answer.json::<Value>().await.is_ok() {
                    return started.elapsed();
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(180), asking)
            .await
            .with_context(|| format!("{host} does not answer within 3 minutes"))
    }
}

fn http() -> anyhow::Result<reqwest::Client> {
    Ok(reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?)
}

/// What the controller has written on the compute cluster, tries that failed included. Read when it has come to rest: when it has
/// written nothing for two seconds.
async fn writes(world: &World) -> anyhow::Result<f64> {
    let read = || async {
        let url = format!("{}/metrics", world.stack.ops_url(Part::Controller));
        let mut sum = 0.0;
        for line in world.runner()?.text(&url).await?.lines() {
            let counted = line.strip_prefix("annex_controller_api_writes_total{").unwrap_or_default();
            if COMPUTE_KINDS.iter().any(|kind| counted.contains(&format!("what=\"{kind}\""))) {
                sum += line.rsplit(' ').next().unwrap_or_default().parse::<f64>()?;
            }
        }
        anyhow::Ok(sum)
    };
    let (mut last, mut quiet) = (read().await?, 0);
    let mut ticks = tokio::time::interval(Duration::from_millis(500));
    ticks.tick().await;
    while quiet < 4 {
        ticks.tick().await;
        let now = read().await?;
        quiet = if (now - last).abs() < 0.5 { quiet + 1 } else { 0 };
        last = now;
    }
    Ok(last)
}

//! kcp, kubectl and what a cluster is made of, built from pinned Go modules into a cache that all checkouts share.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, process};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::checkout::Checkout;
use crate::envoy;
use crate::process::hex;
use crate::progress;
use crate::settings::{ComputeMode, Settings};

/// A program that is built, or downloaded, into the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tool {
    Kcp,
    Kubectl,
    Etcd,
    KubeApiserver,
    KubeControllerManager,
    KubeScheduler,
    Kubelet,
    KubeProxy,
    Coredns,
    KnativeController,
    KnativeWebhook,
    KnativeAutoscaler,
    KnativeActivator,
    KnativeQueue,
    Kourier,
    Envoy,
    /// An S3 server, for tests of the registry's store.
    Versitygw,
}

impl Tool {
    /// What a cluster that runs here is made of, besides the system's own packages.
    pub(crate) const CLUSTER: [Self; 13] = [
        Self::Etcd,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::Kubelet,
        Self::KubeProxy,
        Self::Coredns,
        Self::KnativeController,
        Self::KnativeWebhook,
        Self::KnativeAutoscaler,
        Self::KnativeActivator,
        Self::KnativeQueue,
        Self::Kourier,
    ];

    pub(crate) fn name(self) -> &'static str {
        self.facts().0
    }

    /// The folder of `hack/tools` that pins it.
    fn module(self) -> &'static str {
        self.facts().1
    }

    fn package(self) -> &'static str {
        self.facts().2
    }

    /// Name, folder of `hack/tools`, Go package.
    fn facts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Kcp => ("kcp", "kcp", "github.com/kcp-dev/kcp/cmd/kcp"),
            Self::Kubectl => ("kubectl", "kubernetes", "k8s.io/kubernetes/cmd/kubectl"),
            Self::Etcd => ("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
            Self::KubeApiserver => ("kube-apiserver", "kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver"),
            Self::KubeControllerManager => {
                ("kube-controller-manager", "kubernetes", "k8s.io/kubernetes/cmd/kube-controller-manager")
            }
            Self::KubeScheduler => ("kube-scheduler", "kubernetes", "k8s.io/kubernetes/cmd/kube-scheduler"),
            Self::Kubelet => ("kubelet", "kubernetes", "k8s.io/kubernetes/cmd/kubelet"),
            Self::KubeProxy => ("kube-proxy", "kubernetes", "k8s.io/kubernetes/cmd/kube-proxy"),
            Self::Coredns => ("coredns", "coredns", "github.com/coredns/coredns"),
            Self::KnativeController => ("controller", "knative", "knative.dev/serving/cmd/controller"),
            Self::KnativeWebhook => ("webhook", "knative", "knative.dev/serving/cmd/webhook"),
            Self::KnativeAutoscaler => ("autoscaler", "knative", "knative.dev/serving/cmd/autoscaler"),
            Self::KnativeActivator => ("activator", "knative", "knative.dev/serving/cmd/activator"),
            Self::KnativeQueue => ("queue", "knative", "knative.dev/serving/cmd/queue"),
            Self::Kourier => ("kourier", "kourier", "knative.dev/net-kourier/cmd/kourier"),
            Self::Envoy => ("envoy", "envoy", ""),
            Self::Versitygw => ("versitygw", "versitygw", "github.com/versity/versitygw/cmd/versitygw"),
        }
    }

    /// Kubernetes calls itself v0.0.0-master unless it is told its version: kubectl then warns at every server, and
    /// Knative refuses the server. Without debug information
    /// what goes into images is a third smaller; kcp and kubectl are as earlier releases have cached them.
    fn ldflags(self, go_mod: &str) -> Result<String> {
        if self == Self::Kcp {
            return Ok(String::new());
        }
        if self.module() != Self::Kubectl.module() {
            return Ok("-s -w".to_owned());
        }
        let version =
            pinned_version(go_mod, "k8s.io/kubernetes").context("go.mod does not pin k8s.io/kubernetes")?;
        let mut numbers = version.trim_start_matches('v').split('.');
        let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
        let variable = "-X k8s.io/component-base/version";
        let version = format!(
            "{variable}.gitVersion={version} {variable}.gitMajor={major} {variable}.gitMinor={minor}"
        );
        Ok(if self == Self::Kubectl { version } else { format!("-s -w {version}") })
    }

    /// Changes whenever what is pinned does.
    pub(crate) fn pin(self, checkout: &Checkout) -> Result<String> {
        let folder = checkout.join("hack/tools").join(self.module());
        let mut hash = Sha256::new();
        let files: &[&str] = if self == Self::Envoy { &["requirements.txt"] } else { &["go.mod", "go.sum"] };
        for file in files {
            let path = folder.join(file);
            hash.update(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
        }
        Ok(hex(&hash.finalize()).chars().take(16).collect())
    }

    /// Where the cache has it, or would.
    pub(crate) fn cached(self, checkout: &Checkout) -> Result<PathBuf> {
        let folder = format!("{}-{}", self.module(), self.pin(checkout)?);
        Ok(cache()?.join("tools").join(folder).join(self.name()))
    }

    fn build(self, checkout: &Checkout, target: &Path) -> Result<()> {
        if self == Self::Envoy {
            return envoy::install(&checkout.join("hack/tools/envoy/requirements.txt"), target);
        }
        let module = checkout.join("hack/tools").join(self.module());
        let go_mod = fs::read_to_string(module.join("go.mod")).context("cannot read go.mod")?;
        // Under another name until it is whole: an interrupted build must not leave a broken tool behind.
        let draft = target.with_added_extension(format!("{}.tmp", process::id()));
        let mut command = Command::new("go");
        command
            .args(["build", "-v", "-mod=readonly", "-ldflags", &self.ldflags(&go_mod)?, "-o"])
            .arg(&draft)
            .arg(self.package())
            .current_dir(&module)
            .env("CGO_ENABLED", "0")
            .env("GOWORK", "off");
        run_counting_packages(&mut command, self.name())?;
        fs::rename(&draft, target).with_context(|| format!("cannot write {}", target.display()))
    }
}

/// The programs that an environment needs.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    /// None where kcp runs elsewhere.
    pub(crate) kcp: Option<PathBuf>,
    pub(crate) kubectl: PathBuf,
    /// None where installs run on this machine.
    pub(crate) envoy: Option<PathBuf>,
}

impl Tools {
    /// Where they are or will be; builds nothing.
    pub(crate) fn locate(checkout: &Checkout, settings: &Settings) -> Result<Self> {
        let kcp = match (&settings.kcp_kubeconfig, &settings.kcp_bin) {
            (Some(_), _) => None,
            (None, Some(path)) => Some(path.clone()),
            (None, None) => Some(Tool::Kcp.cached(checkout)?),
        };
        let envoy = match settings.compute {
            ComputeMode::Direct => None,
            ComputeMode::Knative => Some(Tool::Envoy.cached(checkout)?),
        };
        Ok(Self { kcp, kubectl: Tool::Kubectl.cached(checkout)?, envoy })
    }

    /// What is not in the cache yet.
    pub(crate) fn missing(checkout: &Checkout, settings: &Settings) -> Result<Vec<Tool>> {
        let mut wanted = vec![Tool::Kubectl];
        if settings.kcp_kubeconfig.is_none() && settings.kcp_bin.is_none() {
            wanted.insert(0, Tool::Kcp);
        }
        if settings.compute == ComputeMode::Knative {
            wanted.push(Tool::Envoy);
        }
        if settings.runs_cluster() {
            wanted.extend(Tool::CLUSTER);
        }
        missing(checkout, wanted)
    }

    /// Builds what is missing.
    pub(crate) fn ensure(checkout: &Checkout, settings: &Settings) -> Result<Self> {
        ensure(checkout, Self::missing(checkout, settings)?)?;
        Self::locate(checkout, settings)
    }
}

/// A server that speaks S3 and keeps what it is given in a folder: versitygw, built into the cache if it is not there yet.
///
/// # Errors
/// It cannot be built: without Go or a network.
pub fn s3_server() -> Result<PathBuf> {
    let checkout = Checkout::find()?;
    ensure(&checkout, vec![Tool::Versitygw])?;
    Tool::Versitygw.cached(&checkout)
}

fn missing(checkout: &Checkout, wanted: Vec<Tool>) -> Result<Vec<Tool>> {
    let mut missing = Vec::new();
    for tool in wanted {
        if !tool.cached(checkout)?.is_file() {
            missing.push(tool);
        }
    }
    Ok(missing)
}

/// Builds those of `wanted` that are not in the cache.
pub(crate) fn ensure(checkout: &Checkout, wanted: Vec<Tool>) -> Result<()> {
    if missing(checkout, wanted.clone())?.is_empty() {
        return Ok(());
    }
    let folder = cache()?.join("tools");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    // Two checkouts at once would build the same twice, each at half the speed.
    let path = folder.join("lock");
    let lock = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    if lock.try_lock().is_err() {
        progress::note("waiting for another checkout, which builds tools");
        lock.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    }
    for tool in missing(checkout, wanted)? {
        let target = tool.cached(checkout)?;
        remove_drafts(&target)?;
        progress::step(&format!("build {} into the cache", tool.name()), || tool.build(checkout, &target))?;
    }
    Ok(())
}

/// The folder for what is worth keeping across checkouts.
pub(crate) fn cache() -> Result<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = set("ANNEX_CACHE") {
        return std::path::absolute(path).context("ANNEX_CACHE is not a path");
    }
    let parent = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    Ok(parent
        .context("neither ANNEX_CACHE nor HOME is set: set ANNEX_CACHE to a folder for built tools")?
        .join("annex"))
}

/// Empties the tool's folder of what interrupted builds left. Only under the lock.
fn remove_drafts(target: &Path) -> Result<()> {
    let folder = target.parent().context("a tool has a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|extension| extension == "tmp") {
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// The version that a go.mod requires of a module.
fn pinned_version<'a>(go_mod: &'a str, module: &str) -> Option<&'a str> {
    go_mod.lines().find_map(|line| {
        let mut words = line.trim().trim_start_matches("require ").split_whitespace();
        (words.next() == Some(module)).then(|| words.next()).flatten()
    })
}

/// Runs `go build -v`, which names each package that it has compiled: the only progress that it offers.
fn run_counting_packages(command: &mut Command, name: &str) -> Result<()> {
    const REPORT: Duration = Duration::from_secs(10);
    const KEPT: usize = 30;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run go: is it installed?")?;
    let (mut packages, mut reported) = (0_usize, Instant::now());
    let mut last = VecDeque::new();
    for line in BufReader::new(child.stderr.take().context("go has no output")?).lines() {
        let line = line.context("cannot read go's output")?;
        packages += 1;
        if last.len() == KEPT {
            last.pop_front();
        }
        last.push_back(line);
        if reported.elapsed() > REPORT {
            progress::note(&format!("{name}: {packages} packages downloaded or compiled"));
            reported = Instant::now();
        }
    }
    let status = child.wait().context("cannot wait for go")?;
    if !status.success() {
        bail!("go build of {name} failed ({status}):\n{}", last.make_contiguous().join("\n"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubectl_is_told_the_version_that_is_pinned() {
        let go_mod = "module x\n\nrequire (\n\tk8s.io/kubernetes-other v1.0.0\n\tk8s.io/kubernetes v1.34.0 // indirect\n)\n";
        assert_eq!(pinned_version(go_mod, "k8s.io/kubernetes"), Some("v1.34.0"));
        assert_eq!(pinned_version(go_mod, "k8s.io/other"), None);
        let flags = Tool::Kubectl.ldflags(go_mod).unwrap();
        assert!(flags.contains("gitVersion=v1.34.0") && flags.contains("gitMinor=34"), "{flags}");
    }

    #[test]
    fn the_cache_is_keyed_by_what_is_pinned() {
        let path = Tool::Kcp.cached(&Checkout::find().unwrap()).unwrap();
        let folder = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
        assert_eq!(folder.strip_prefix("kcp-").unwrap().len(), 16);
    }
}

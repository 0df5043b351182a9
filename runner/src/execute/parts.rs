//! The parts of executing, made of what the operator set.

use std::path::Path;
use std::sync::Arc;

use annex_egress::{EgressMetrics, EgressOptions, SystemResolver, WayOut};
use annex_engine::{
    CallContext, CodeCache, CodeOptions, CompileLimits, CompilerProcess, Engine, EngineOptions, Kv, KvError,
};
use annex_grant::{KeyRing, ReplayGuard};
use annex_service::Followed;
use annex_storage::{Store, StoreOptions};
use anyhow::{Context as _, Result};
use reqwest::Certificate;
use tokio_util::sync::CancellationToken;

use super::args::ExecuteArgs;
use super::broker::Broker;
use super::said::{GuestLog, GuestMetrics};
use super::{Behind, Executor, Measured, REMEMBERED};
use crate::cache::Cache;

/// By what grants are verified, as it is now.
pub(crate) type Keys = Followed<KeyRing>;

/// What executes; none where there are no keys. `cache_folder` is where bundles are kept.
///
/// # Errors
/// A folder, a file or a URL cannot be used, or the machine has not the room for an engine.
pub(crate) fn executor(
    args: &ExecuteArgs,
    cache: Arc<Cache>,
    cache_folder: &Path,
    measured: &mut prometheus_client::registry::Registry,
    stop: CancellationToken,
) -> Result<Option<(Arc<Executor>, Keys)>> {
    if !args.has_keys() {
        return Ok(None);
    }
    let keys = keys(args)?;
    let engine = engine(args, cache_folder).context("setting up the engine")?;
    let behind = behind(args, measured)?;
    let executor = Executor {
        engine,
        cache,
        keys: keys.clone(),
        audience: args.audience.clone(),
        replays: ReplayGuard::new(REMEMBERED),
        behind,
        measured: Arc::new(Measured::register(measured)),
        stop,
    };
    Ok(Some((Arc::new(executor), keys)))
}

fn keys(args: &ExecuteArgs) -> Result<Keys> {
    const NAME: &str = "the keys of grants";
    let parse = |files: &[(String, Vec<u8>)]| KeyRing::parse(files).map_err(|error| error.to_string());
    match (&args.grant_keys_dir, &args.grant_keys) {
        (Some(folder), _) => Followed::load_folder(NAME, folder.clone(), parse),
        (None, given) => {
            let files = given.as_ref().map(|given| given.0.clone()).unwrap_or_default();
            Followed::load(NAME, Vec::new(), move |_| parse(&files))
        }
    }
}

fn engine(args: &ExecuteArgs, cache_folder: &Path) -> Result<Engine> {
    let code = CodeOptions { fuel: args.fuel };
    let options = EngineOptions {
        code,
        concurrency: args.concurrency,
        tenant_concurrency: (args.concurrency / 4).max(1),
        install_concurrency: (args.concurrency / 8).max(1),
        memory_bytes: usize::try_from(args.memory_max_mib)? << 20,
        ..EngineOptions::default()
    };
    // This very program, which is there when nothing else of an image is.
    let program = match &args.compiler {
        Some(program) => program.clone(),
        None => std::env::current_exe().context("finding this program")?,
    };
    let compiler =
        CompilerProcess { program, arguments: vec![crate::COMPILE.into()], limits: CompileLimits::default() };
    let folder = args.code_cache_dir.clone().unwrap_or_else(|| beside(cache_folder));
    let cache = CodeCache::open(&folder, args.code_cache_max_bytes)?;
    Ok(Engine::new(options, Arc::new(compiler), Some(cache))?)
}

/// Bundles and code do not share a folder: each removes what it does not know.
fn beside(folder: &Path) -> std::path::PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push("-code");
    folder.with_file_name(name)
}

fn behind(args: &ExecuteArgs, measured: &mut prometheus_client::registry::Registry) -> Result<Behind> {
    let egress_metrics = EgressMetrics::default();
    egress_metrics.register(measured);
    let egress = EgressOptions { blocked: args.egress_blocked.clone(), ..EgressOptions::default() };
    let way_out =
        WayOut::new(args.egress_allowlist.clone(), &egress, Arc::new(SystemResolver), egress_metrics)
            .context("setting up the way out (--egress-allowlist)")?;
    let kv: Arc<dyn Kv> = match &args.storage_url {
        // The error names no part of the URL.
        Some(url) => Arc::new(Store::open(&url.0, StoreOptions::default()).context("--storage-url")?),
        None => {
            tracing::warn!("--storage-url is not given: extensions cannot store anything");
            Arc::new(NoStorage)
        }
    };
    let broker = match &args.broker_url {
        Some(url) => Some(Broker::new(url, authorities(args)?).context("--broker-url")?),
        None => None,
    };
    Ok(Behind {
        kv,
        log: Arc::new(GuestLog),
        metrics: Arc::new(GuestMetrics::register(measured)),
        way_out,
        broker,
    })
}

fn authorities(args: &ExecuteArgs) -> Result<Option<Vec<Certificate>>> {
    let (name, pem) = match (&args.broker_ca_file, &args.broker_ca) {
        (Some(path), _) => {
            let name = format!("--broker-ca-file {}", path.display());
            (name.clone(), std::fs::read(path).context(name)?)
        }
        (None, Some(text)) => ("--broker-ca".to_owned(), text.clone().into_bytes()),
        (None, None) => return Ok(None),
    };
    let certificates = Certificate::from_pem_bundle(&pem).unwrap_or_default();
    anyhow::ensure!(!certificates.is_empty(), "{name} holds no PEM certificate");
    Ok(Some(certificates))
}

/// Where nothing is stored: every operation says so, instead of losing what was written at the next restart.
struct NoStorage;

#[async_trait::async_trait]
impl Kv for NoStorage {
    async fn get(&self, _: &CallContext, _: &str) -> Result<Option<Vec<u8>>, KvError> {
        Err(KvError::Unavailable)
    }

    async fn set(&self, _: &CallContext, _: &str, _: Vec<u8>) -> Result<(), KvError> {
        Err(KvError::Unavailable)
    }

    async fn compare_and_set(
        &self,
        _: &CallContext,
        _: &str,
        _: Option<Vec<u8>>,
        _: Vec<u8>,
    ) -> Result<bool, KvError> {
        Err(KvError::Unavailable)
    }

    async fn delete(&self, _: &CallContext, _: &str) -> Result<(), KvError> {
        Err(KvError::Unavailable)
    }

    async fn list_keys(
        &self,
        _: &CallContext,
        _: &str,
        _: Option<&str>,
        _: u32,
    ) -> Result<Vec<String>, KvError> {
        Err(KvError::Unavailable)
    }
}

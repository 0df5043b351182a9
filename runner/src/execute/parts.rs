//! The parts of executing, made of what the operator set.

use std::path::Path;
use std::sync::Arc;

use annex_egress::{EgressMetrics, EgressOptions, SystemResolver, WayOut};
use annex_engine::{CodeCache, CodeOptions, CompileLimits, CompilerProcess, Engine, EngineOptions, Kv};
use annex_grant::{KeyRing, ReplayGuard};
use annex_service::Followed;
use annex_storage::{Store, StoreOptions};
use anyhow::{Context as _, Result};
use tokio_util::sync::CancellationToken;

use super::args::ExecuteArgs;
use super::behind::Storage;
use super::broker::Broker;
use super::said::{GuestLog, GuestMetrics};
use super::{Behind, Executor, Measured, REMEMBERED};
use crate::authorities::authorities;
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
    let broker = broker(args)?;
    let storage = match (&args.storage_url, &broker) {
        (Some(url), _) => {
            // The error names no part of the URL.
            let store = Store::open(url.expose(), StoreOptions::default()).context("--storage-url")?;
            Storage::Own { kv: Arc::new(store.clone()) as Arc<dyn Kv>, store }
        }
        (None, Some(_)) => Storage::OfBroker(Arc::default()),
        (None, None) => {
            tracing::warn!(
                "neither --storage-url nor --broker-url is given: extensions cannot store anything"
            );
            Storage::None
        }
    };
    Ok(Behind {
        storage,
        log: Arc::new(GuestLog),
        metrics: Arc::new(GuestMetrics::register(measured)),
        way_out,
        broker,
    })
}

fn broker(args: &ExecuteArgs) -> Result<Option<Broker>> {
    let Some(url) = &args.broker_url else { return Ok(None) };
    let file = args.broker_ca_file.as_deref();
    let authorities = authorities("--broker-ca-file", file, args.broker_ca.as_deref())?;
    Ok(Some(Broker::new(url, authorities).context("--broker-url")?))
}

//! Extensions with modules and lifecycle handlers, and somebody who calls them all the time.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::task::{JoinHandle, block_in_place};

use crate::{Caller, Publisher, component, packed_with, until};

/// Endpoints of what [`publish_guest`] publishes, for an Install that lets everybody call them.
pub const GUEST_ENDPOINTS: [&str; 4] = ["GET /hello", "GET /version", "GET /lifecycle", "GET /context"];

/// All that the engine's guest needs.
#[must_use]
pub fn guest_capabilities() -> Value {
    json!(["context", "http.fetch", "log", "metrics", "secrets", "storage.kv"])
}

/// Modules by name and version, as a manifest has them.
#[must_use]
pub fn modules(modules: &[(&str, &str)]) -> Value {
    let digest = |module: &str, version: &str| {
        let hash = Sha256::digest(format!("{module} {version}"));
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{hex}")
    };
    let module = |(module, version): &(&str, &str)| json!({ "name": module, "version": version, "digest": digest(module, version) });
    modules.iter().map(module).collect()
}

/// Publishes the engine's guest under this manifest, to which the endpoints are added.
///
/// # Errors
/// It does not compile, or the registry refuses it.
pub async fn publish_guest(publisher: &Publisher, mut manifest: Value) -> anyhow::Result<()> {
    static COMPONENT: OnceLock<Vec<u8>> = OnceLock::new();
    let component = match COMPONENT.get() {
        Some(component) => component,
        None => {
            let built = block_in_place(|| component("engine/tests/guests", "annex_engine_guests"))?;
            COMPONENT.get_or_init(|| built)
        }
    };
    let endpoint = |path: &str| {
        let (method, path) = path.split_once(' ').unwrap_or(("GET", path));
        json!({ "method": method, "path": path, "handler": "answer" })
    };
    let endpoints: Vec<Value> = GUEST_ENDPOINTS.iter().copied().map(endpoint).collect();
    manifest.as_object_mut().context("a manifest")?.insert("endpoints".to_owned(), endpoints.into());
    let (archive, unpacked) = packed_with(&manifest, component)?;
    let (status, body) = publisher.upload(&archive, Some(&publisher.signature(&unpacked)?)).await?;
    ensure!(status.is_success(), "{body}");
    Ok(())
}

/// What the gateway says of an Install as long as it has not heard of the status that says Ready, which it does by a watch of its own.
const UNHEARD_OF: [&str; 2] = ["RunnerUnknown", "WorkspaceUnknown"];

/// What an endpoint of the guest says, once the gateway has heard of its Install.
///
/// # Errors
/// It is not answered with 200.
pub async fn guest_says(caller: &Caller, extension: &str, path: &str) -> anyhow::Result<String> {
    let (status, body) = until("the gateway has heard of it", || async {
        let (status, body) = caller.call(Method::GET, extension, path, None).await?;
        let early = !status.is_success() && UNHEARD_OF.iter().any(|word| body.contains(word));
        Ok((!early).then_some((status, body)))
    })
    .await?;
    ensure!(status == 200, "{path}: {status} {body}");
    Ok(body)
}

/// The configuration that the guest is handed in a call.
///
/// # Errors
/// It does not say.
pub async fn guest_is_handed(caller: &Caller, extension: &str) -> anyhow::Result<Value> {
    let said = guest_says(caller, extension, "/context").await?;
    let (_, config) = said.split_once(" {").context("a configuration")?;
    Ok(serde_json::from_str(&format!("{{{config}"))?)
}

/// Action, module, from and to of what the guest's lifecycle handlers were told, in the order in which they were.
///
/// # Errors
/// It does not say.
pub async fn guest_was_told(caller: &Caller, extension: &str) -> anyhow::Result<Vec<[String; 4]>> {
    let lines = guest_says(caller, extension, "/lifecycle").await?;
    let parsed = lines.lines().map(|line| {
        let told: Value = serde_json::from_str(line)?;
        let text = |field: &str| told.get(field).and_then(Value::as_str).unwrap_or("-").to_owned();
        Ok([text("action"), text("module"), text("from"), text("to")])
    });
    parsed.collect()
}

/// Somebody who calls an extension all the time, one call after the other.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
    task: JoinHandle<Vec<String>>,
}

impl Load {
    /// Begins to call, once the first call is answered.
    ///
    /// # Errors
    /// It is not.
    pub async fn on(caller: &Caller, extension: &str) -> anyhow::Result<Self> {
        guest_says(caller, extension, "/hello").await?;
        let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (caller, extension) = (caller.clone(), extension.to_owned());
        let task = tokio::spawn({
            let (stop, calls) = (stop.clone(), calls.clone());
            async move {
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match caller.call(Method::GET, &extension, "/hello", None).await {
                        Ok((status, body)) if status == 200 && body == "hello" => {}
                        Ok((status, body)) => failures.push(format!("{status} {body}")),
                        Err(error) => failures.push(format!("{error:#}")),
                    }
                    calls.fetch_add(1, Ordering::Relaxed);
                    // A person's pace, times a hundred: the rest of the machine is needed for what is to be disturbed by it.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                failures
            }
        });
        Ok(Self { stop, calls, task })
    }

    /// Returns when so many more calls were answered, in whatever way.
    ///
    /// # Errors
    /// They are not.
    pub async fn goes_on(&self, more: u64) -> anyhow::Result<()> {
        let wanted = self.calls.load(Ordering::Relaxed) + more;
        until("calls are made", || async { Ok((self.calls.load(Ordering::Relaxed) >= wanted).then_some(())) })
            .await
    }

    /// Ends, and returns what went wrong.
    ///
    /// # Errors
    /// The task has failed.
    pub async fn ends(self) -> anyhow::Result<Vec<String>> {
        self.stop.store(true, Ordering::Relaxed);
        Ok(self.task.await?)
    }
}

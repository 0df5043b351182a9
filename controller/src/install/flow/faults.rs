//! Faults on purpose, for tests on real servers: only in programs that are built with the feature `fault-injection`, and there only where
//! [`FOLDER`] is set. A release has none of this.
//!
//! An Install says in the annotation [`ANNOTATION`] what is to happen to its flow: `STAGE:MOMENT:WHAT`, several separated by commas. `hold` makes
//! the pass stay at that point until the process is killed, once for each generation of the Install: a file in the folder says that it does, and
//! lets it go on as soon as something is written into it.
//! `fail` makes the stage fail, as often as it comes to that point.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::Duration,
};

use annex_apis::Install;
use kube::ResourceExt as _;
use parking_lot::Mutex;

use super::step::Moment;
use crate::conditions::Because;

const ANNOTATION: &str = "faults.annex.sh/flow";
const FOLDER: &str = "ANNEX_FAULTS_DIR";

/// What the Install says is to happen here happens.
pub(super) async fn meet(install: &Install, stage: &str, moment: Moment) -> Result<(), Because> {
    let Some(folder) = std::env::var_os(FOLDER) else { return Ok(()) };
    let faults = install.annotations().get(ANNOTATION).map(String::as_str).unwrap_or_default();
    let point = format!("{stage}:{moment:?}");
    for fault in faults.split(',') {
        match fault.rsplit_once(':') {
            Some((at, "hold")) if at == point => hold(Path::new(&folder), install, &point).await,
            Some((at, "fail")) if at == point => {
                return Err(Because::new("FlowFailed", format!("a test lets it fail at {point}")));
            }
            _ => {}
        }
    }
    Ok(())
}

async fn hold(folder: &Path, install: &Install, point: &str) {
    let generation = install.metadata.generation.unwrap_or_default();
    let name = format!("{}.{generation}.{}", install.uid().unwrap_or_default(), point.replace('/', "+"));
    let file = folder.join(name);
    // A pass that takes too long is given up, and the next one is held as well: another process is not, once this one is killed.
    static HELD: LazyLock<Mutex<HashSet<PathBuf>>> = LazyLock::new(Mutex::default);
    let is_first = std::fs::File::create_new(&file).is_ok();
    if is_first {
        HELD.lock().insert(file.clone());
    }
    if is_first || HELD.lock().contains(&file) {
        tracing::warn!(install = install.name_any(), point, "it is held here until the process is killed");
        while std::fs::metadata(&file).is_ok_and(|file| file.len() == 0) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

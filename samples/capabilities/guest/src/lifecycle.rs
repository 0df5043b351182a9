//! Handlers of its own life: what Annex calls before an install or an upgrade is published.

use serde::Deserialize;

use crate::Problem;
use crate::annex::host::storage_kv;

/// An upgrade of a module. There are also `action`, `module` and `purge`.
#[derive(Deserialize)]
struct Upgrade {
    from: String,
    to: String,
}

pub fn setup() -> Result<String, Problem> {
    // Only where there is none yet. An earlier Install may have left one, and this call may be the second.
    storage_kv::compare_and_set("theme", None, b"light")?;
    Ok("there is a theme".into())
}

/// Before 1.0 the visits were under the key `count`.
pub fn migrate(body: &[u8]) -> Result<String, Problem> {
    let Upgrade { from, to } = serde_json::from_slice(body)
        .map_err(|error| Problem::new(400, format!("this is no upgrade: {error}")))?;
    if from.starts_with("0.1.") {
        // It is not tried again, and the tenant reads why.
        return Err(Problem::new(422, "what 0.1 has stored cannot be read: install 0.2 first"));
    }
    if to.starts_with("0.") {
        // It is rolled back. The former version goes on with `count`; what was made of it must not be found by the next upgrade.
        storage_kv::delete("visits")?;
    } else if let Some(count) = storage_kv::get("count")? {
        // `count` stays: the former version answers until this one does. And what is there is not written over: this may be the second call.
        storage_kv::compare_and_set("visits", None, &count)?;
    }
    Ok("the visits are where they belong".into())
}

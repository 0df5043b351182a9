//! storage.kv: a value that outlives the call.

use crate::Problem;
use crate::annex::host::storage_kv;

pub fn theme() -> Result<String, Problem> {
    let theme: Option<Vec<u8>> = storage_kv::get("theme")?;
    Ok(theme.map_or("light".into(), |bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

pub fn set_theme(body: &[u8]) -> Result<String, Problem> {
    storage_kv::set("theme", body)?;
    theme()
}

//! storage.kv: two calls at one time do not lose each other's writes.

use crate::Problem;
use crate::annex::host::storage_kv;

pub fn visit() -> Result<String, Problem> {
    // Whoever lost a race begins again with what the other one has written. With an end: the call has one, too.
    for _ in 0..10 {
        let old = storage_kv::get("visits")?;
        let next = old.as_deref().map_or(0, number) + 1;
        if storage_kv::compare_and_set("visits", old.as_deref(), next.to_string().as_bytes())? {
            return Ok(next.to_string());
        }
    }
    Err(Problem::new(409, "too many at one time; try again"))
}

fn number(bytes: &[u8]) -> u64 {
    str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

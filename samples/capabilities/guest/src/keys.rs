//! storage.kv: all keys, page by page.

use crate::Problem;
use crate::annex::host::storage_kv;

pub fn keys() -> Result<String, Problem> {
    let mut all: Vec<String> = Vec::new();
    loop {
        let page = storage_kv::list_keys("", all.last().map(String::as_str), 100)?;
        if page.is_empty() {
            return Ok(all.join("\n"));
        }
        all.extend(page);
    }
}

//! Whether an Install's parameters are what its version's schema wants, found out once.
//!
//! An Install is reconciled far more often than its parameters or its version change, and to make a schema ready can take a tenth of a second. Of
//! a verdict is kept what it says, and not what was made ready for it, which is large where a publisher wants it to be; and neither schema nor
//! parameters, which may come out of Secrets.

use std::sync::{Arc, LazyLock};

use moka::sync::Cache;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// Bytes that verdicts may take: some ten thousand. Each set of parameters that a tenant tries is one more, and those that were asked for least
/// go first.
const AT_MOST: u64 = 4 << 20;
/// What one takes besides what it says: its key, and what the cache has of it.
const ENTRY: usize = 256;

/// Of the whole process, as what is in it depends on nothing else.
static VERDICTS: LazyLock<Verdicts> = LazyLock::new(|| Verdicts::new(AT_MOST));

/// As [`annex_parameters::check`] says.
pub(super) fn check(schema: Option<&Value>, parameters: &Map<String, Value>) -> Result<(), String> {
    // Without one their size is all that is asked for, and to look for a verdict takes longer.
    let Some(schema) = schema else { return annex_parameters::check(None, parameters) };
    VERDICTS.on(schema, parameters, || annex_parameters::check(Some(schema), parameters))
}

struct Verdicts(Cache<[u8; 32], Result<(), Arc<str>>>);

impl Verdicts {
    fn new(at_most: u64) -> Self {
        let weigh = |_: &[u8; 32], verdict: &Result<(), Arc<str>>| {
            let said = verdict.as_ref().err().map_or(0, |why| why.len());
            u32::try_from(ENTRY + said).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(at_most).weigher(weigh).build())
    }

    fn on(
        &self,
        schema: &Value,
        parameters: &Map<String, Value>,
        judge: impl FnOnce() -> Result<(), String>,
    ) -> Result<(), String> {
        match digest(schema, parameters) {
            Some(digest) => {
                self.0.get_with(digest, || judge().map_err(Arc::from)).map_err(|why| why.as_ref().to_owned())
            }
            None => judge(),
        }
    }
}

/// By their bytes and not by the version's content hash: what an operator has applied by hand may have another's.
fn digest(schema: &Value, parameters: &Map<String, Value>) -> Option<[u8; 32]> {
    let (schema, parameters) = (serde_json::to_vec(schema).ok()?, serde_json::to_vec(parameters).ok()?);
    let mut hash = Sha256::new();
    // So that no end of the one is taken for a beginning of the other.
    hash.update((schema.len() as u64).to_be_bytes());
    hash.update(schema);
    hash.update(parameters);
    Some(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(members) = value else { panic!("{value} is no object") };
        members
    }

    #[test]
    fn a_verdict_is_found_out_once_for_each_schema_and_parameters() {
        let (verdicts, asked) = (Verdicts::new(1 << 20), Cell::new(0));
        let on = |schema: Value, parameters: Value, verdict: Result<(), &str>| {
            let judge = || {
                asked.set(asked.get() + 1);
                verdict.map_err(str::to_owned)
            };
            verdicts.on(&schema, &object(parameters), judge)
        };
        let (schema, other) = (json!({ "type": "object" }), json!({ "required": ["a"] }));
        for _ in 0..3 {
            assert_eq!(on(schema.clone(), json!({}), Ok(())), Ok(()));
            assert_eq!(on(schema.clone(), json!({ "a": 1 }), Err("no")), Err("no".to_owned()));
            assert_eq!(on(other.clone(), json!({}), Err("none")), Err("none".to_owned()));
            assert_eq!(on(other.clone(), json!({ "a": 1 }), Ok(())), Ok(()));
        }
        assert_eq!(asked.get(), 4);
    }

    #[test]
    fn it_is_what_the_check_says_each_time() {
        let schema = json!({ "properties": { "colour": { "enum": ["red"] } } });
        for _ in 0..2 {
            for parameters in [json!({ "colour": "red" }), json!({ "colour": "blue" }), json!({})] {
                let parameters = object(parameters);
                let (kept, said) =
                    (check(Some(&schema), &parameters), annex_parameters::check(Some(&schema), &parameters));
                assert_eq!(kept, said);
            }
            let large = object(json!({ "a": "x".repeat(100_000) }));
            assert!(check(None, &large).is_err_and(|why| why.contains("larger than")));
            assert!(check(Some(&schema), &large).is_err_and(|why| why.contains("larger than")));
        }
    }

    #[test]
    fn a_tenant_who_tries_many_parameters_fills_no_memory() {
        let verdicts = Verdicts::new(64 << 10);
        let schema = json!({});
        let why = "w".repeat(512);
        for number in 0..5000 {
            let told = verdicts.on(&schema, &object(json!({ "a": number })), || Err(why.clone()));
            assert_eq!(told.as_ref(), Err(&why));
        }
        verdicts.0.run_pending_tasks();
        assert!((1..=64 << 10).contains(&verdicts.0.weighted_size()), "{}", verdicts.0.weighted_size());
        assert!(verdicts.0.entry_count() < 100, "{}", verdicts.0.entry_count());
    }
}

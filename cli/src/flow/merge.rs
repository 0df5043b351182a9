//! Merge patches (RFC 7386) that lead from one value to another. Pure.

use serde_json::{Map, Value};

/// `to`, with a null, which removes a field in a merge patch, for each that only `from` has. As deep as JSON and YAML may be, which their
/// readers bound.
pub(super) fn merged(from: &Value, to: &Value) -> Value {
    let (Value::Object(from), Value::Object(to)) = (from, to) else { return to.clone() };
    let gone = from.keys().filter(|name| !to.contains_key(*name)).map(|name| (name.clone(), Value::Null));
    let kept = to.iter().map(|(name, value)| {
        (name.clone(), from.get(name).map_or_else(|| value.clone(), |from| merged(from, value)))
    });
    Value::Object(gone.chain(kept).collect::<Map<_, _>>())
}

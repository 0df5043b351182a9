//! The manifest's JSON Schema, for editors and for those who write manifests with other tools.

use serde_json::{Value, json};

use super::Manifest;

impl Manifest {
    /// The manifest as `manifest.json` has it.
    pub fn to_json(&self) -> String {
        // Nothing in it fails to be written: keys are texts, numbers are finite.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

/// The JSON Schema of `manifest.json` as `docs/manifest.schema.json` has it.
///
/// It shows the fields and their bounds. What a schema cannot say (that versions satisfy semver, that two endpoints differ) only
/// [`Manifest::from_json`] checks.
pub fn manifest_schema() -> Value {
    let mut schema = schemars::schema_for!(Manifest).to_value();
    if let Some(properties) = schema.pointer_mut("/properties").and_then(Value::as_object_mut) {
        // Editors look for it in the document; it means nothing there.
        properties.insert("$schema".to_owned(), json!({"type": "string", "maxLength": 2048}));
    }
    schema
}

use std::fmt::Write as _;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionNames,
};
use sha2::{Digest, Sha256};

use crate::kinds::{APIResourceSchema, APIResourceSchemaSpec, APIResourceVersion};

/// A definition that no APIResourceSchema can be made from.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A version without a schema.
    #[error("version {0} of the definition has no OpenAPI schema")]
    NoSchema(String),
    /// It cannot be written as JSON.
    #[error("the definition cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// The APIResourceSchema with the content of a CustomResourceDefinition.
///
/// An APIResourceSchema is immutable, and its name is `<anything>.<plural>.<group>`. Here the first label is `v` and the first
/// 12 hex digits of SHA-256 over the spec, so that a changed schema is another object by itself and an unchanged one is the
/// same object.
///
/// # Errors
/// See [`SchemaError`].
pub fn resource_schema(crd: &CustomResourceDefinition) -> Result<APIResourceSchema, SchemaError> {
    let mut versions = Vec::new();
    for version in &crd.spec.versions {
        let schema = version
            .schema
            .as_ref()
            .and_then(|schema| schema.open_api_v3_schema.as_ref())
            .ok_or_else(|| SchemaError::NoSchema(version.name.clone()))?;
        versions.push(APIResourceVersion {
            name: version.name.clone(),
            served: version.served,
            storage: version.storage,
            schema: serde_json::to_value(schema)?,
            subresources: version.subresources.clone(),
            additional_printer_columns: version.additional_printer_columns.clone().unwrap_or_default(),
        });
    }
    let spec = APIResourceSchemaSpec {
        group: crd.spec.group.clone(),
        names: CustomResourceDefinitionNames {
            // A CustomResourceDefinition's is filled in by the server; kcp requires it.
            list_kind: crd
                .spec
                .names
                .list_kind
                .clone()
                .or_else(|| Some(format!("{}List", crd.spec.names.kind))),
            ..crd.spec.names.clone()
        },
        scope: crd.spec.scope.clone(),
        versions,
    };
    // Through Value, whose maps are sorted: the hash must not depend on the order of fields in a struct.
    let digest = Sha256::digest(serde_json::to_value(&spec)?.to_string());
    let hash = digest.iter().take(6).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let name = format!("v{hash}.{}.{}", spec.names.plural, spec.group);
    Ok(APIResourceSchema::new(&name, spec))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::CustomResourceExt;
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    #[derive(kube::CustomResource, Serialize, Deserialize, Clone, Debug, JsonSchema)]
    #[kube(group = "example.com", version = "v1", kind = "Thing", namespaced)]
    struct ThingSpec {
        size: i32,
    }

    #[test]
    fn the_name_follows_the_content() {
        let crd = Thing::crd();
        let first = resource_schema(&crd).unwrap();
        assert_eq!(first.metadata.name, resource_schema(&crd).unwrap().metadata.name);
        assert!(first.metadata.name.as_ref().unwrap().ends_with(".things.example.com"));

        let mut changed = crd;
        changed.spec.names.short_names = Some(vec!["th".into()]);
        assert_ne!(first.metadata.name, resource_schema(&changed).unwrap().metadata.name);
    }
}

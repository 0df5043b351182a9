//! What the provider offers and asks for: the APIExport, its schemas and claims, and the CustomResourceDefinitions of its own
//! workspace.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use kube_kcp::{
    SchemaError,
    kinds::{
        APIExport, APIExportSpec, APIResourceSchema, AcceptablePermissionClaim, ClaimSelector, ClaimState,
        MaximalPermissionPolicy, PermissionClaim, ResourceSchema, Storage,
    },
    resource_schema,
};

use crate::{
    ExecutionQuota, Extension, ExtensionVersion, GROUP, Install, MANAGED_LABEL, ManagedEnvironment, Tenant,
};

/// The APIExport's name, and that of the APIBinding that the seed makes.
pub const EXPORT_NAME: &str = "annex.sh";
/// The WorkspaceType whose workspaces are seeded on creation.
pub const WORKSPACE_TYPE: &str = "annex-tenant";

/// The definitions of the kinds that tenants bind.
#[must_use]
pub fn tenant_definitions() -> Vec<CustomResourceDefinition> {
    vec![Install::crd(), ManagedEnvironment::crd(), ExecutionQuota::crd()]
}

/// The definitions of the kinds in the provider's own workspace.
#[must_use]
pub fn provider_definitions() -> Vec<CustomResourceDefinition> {
    vec![Extension::crd(), ExtensionVersion::crd(), Tenant::crd()]
}

/// The schemas that [`api_export`] refers to, each named after its content.
///
/// # Errors
/// A definition has no schema, which is a fault of this crate.
pub fn resource_schemas() -> Result<Vec<APIResourceSchema>, SchemaError> {
    tenant_definitions().iter().map(resource_schema).collect()
}

/// What Annex asks to see and to write in a workspace besides its own kinds, each with explicit verbs. Where a workspace
/// accepts with [`accepted_claims`], only objects with the label [`MANAGED_LABEL`] are covered.
#[must_use]
pub fn permission_claims() -> Vec<PermissionClaim> {
    let rbac = "rbac.authorization.k8s.io";
    let read_write = ["get", "list", "watch", "create", "update", "delete"].as_slice();
    [
        ("", "namespaces", ["get", "list", "watch", "create"].as_slice()),
        ("", "secrets", read_write),
        ("", "serviceaccounts", read_write),
        (rbac, "clusterrolebindings", read_write),
        (rbac, "clusterroles", read_write),
        (rbac, "rolebindings", read_write),
        (rbac, "roles", read_write),
        // Events are stored as the core kind whatever group they are written through, and kcp asks for the claims of both.
        ("", "events", ["create", "patch"].as_slice()),
        ("events.k8s.io", "events", ["create", "patch"].as_slice()),
        ("authorization.k8s.io", "subjectaccessreviews", ["create"].as_slice()),
    ]
    .into_iter()
    .map(|(group, resource, verbs)| PermissionClaim {
        group: group.to_owned(),
        resource: resource.to_owned(),
        verbs: verbs.iter().map(|&verb| verb.to_owned()).collect(),
        identity_hash: String::new(),
    })
    .collect()
}

/// Every claim accepted for labelled objects only. `subjectaccessreviews` are no stored objects, so kcp takes them with
/// `matchAll` alone.
#[must_use]
pub fn accepted_claims() -> Vec<AcceptablePermissionClaim> {
    let labelled = ClaimSelector {
        match_labels: [(MANAGED_LABEL.to_owned(), "true".to_owned())].into(),
        ..ClaimSelector::default()
    };
    let all = ClaimSelector { match_all: true, ..ClaimSelector::default() };
    permission_claims()
        .into_iter()
        .map(|claim| {
            let selector = if claim.resource == "subjectaccessreviews" { &all } else { &labelled };
            AcceptablePermissionClaim { selector: selector.clone(), claim, state: ClaimState::Accepted }
        })
        .collect()
}

/// Of the claims that Annex needs, those that a binding does not grant in full, each as `resource.group`: not answered,
/// rejected, for fewer verbs, or for fewer objects than the labelled ones.
#[must_use]
pub fn missing_claims(granted: &[AcceptablePermissionClaim]) -> Vec<String> {
    accepted_claims()
        .into_iter()
        .filter(|needed| !granted.iter().any(|claim| grants(claim, needed)))
        .map(|AcceptablePermissionClaim { claim, .. }| match claim.group.as_str() {
            "" => claim.resource,
            group => format!("{}.{group}", claim.resource),
        })
        .collect()
}

fn grants(granted: &AcceptablePermissionClaim, needed: &AcceptablePermissionClaim) -> bool {
    let same = granted.claim.group == needed.claim.group && granted.claim.resource == needed.claim.resource;
    let every_verb =
        needed.claim.verbs.iter().all(|verb| granted.claim.verbs.iter().any(|v| v == verb || v == "*"));
    let every_object = granted.selector.match_all
        || (granted.selector.match_labels == needed.selector.match_labels
            && granted.selector.match_expressions.is_empty());
    same && granted.state == ClaimState::Accepted && every_verb && every_object
}

/// The APIExport. Its maximal permission policy is the RBAC of `manifests/provider/maximal-permissions.yaml`: whatever RBAC the
/// owner of a workspace writes, a status and an ExecutionQuota can only be read there.
///
/// # Errors
/// See [`resource_schemas`].
pub fn api_export() -> Result<APIExport, SchemaError> {
    let resources = resource_schemas()?
        .into_iter()
        .map(|schema| ResourceSchema {
            name: schema.spec.names.plural,
            group: GROUP.to_owned(),
            schema: schema.metadata.name.unwrap_or_default(),
            storage: Storage::default(),
        })
        .collect();
    let spec = APIExportSpec {
        resources,
        permission_claims: permission_claims(),
        maximal_permission_policy: Some(MaximalPermissionPolicy::default()),
    };
    Ok(APIExport::new(EXPORT_NAME, spec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accepted_claims_miss_nothing() {
        assert_eq!(missing_claims(&accepted_claims()), Vec::<String>::new());
    }

    #[test]
    fn rejected_narrowed_and_absent_claims_are_named() {
        let mut claims = accepted_claims();
        claims.retain(|claim| claim.claim.resource != "events");
        for claim in &mut claims {
            match claim.claim.resource.as_str() {
                "secrets" => claim.state = ClaimState::Rejected,
                "roles" => claim.claim.verbs.retain(|verb| verb != "create"),
                "serviceaccounts" => {
                    claim.selector.match_labels.insert("more".into(), "labels".into());
                }
                _ => {}
            }
        }
        assert_eq!(
            missing_claims(&claims),
            [
                "secrets",
                "serviceaccounts",
                "roles.rbac.authorization.k8s.io",
                "events",
                "events.events.k8s.io"
            ]
        );
    }

    #[test]
    fn every_field_is_documented() {
        fn check(path: &str, schema: &serde_json::Value, missing: &mut Vec<String>) {
            let properties = schema.get("properties").and_then(serde_json::Value::as_object);
            for (name, property) in properties.into_iter().flatten() {
                let path = format!("{path}.{name}");
                if property.get("description").is_none() {
                    missing.push(path.clone());
                }
                check(&path, property, missing);
                if let Some(items) = property.get("items") {
                    check(&path, items, missing);
                }
            }
        }
        let mut missing = Vec::new();
        for crd in tenant_definitions().into_iter().chain(provider_definitions()) {
            let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
            let properties = &schema["openAPIV3Schema"]["properties"];
            for part in ["spec", "status"] {
                check(&format!("{}.{part}", crd.spec.names.kind), &properties[part], &mut missing);
            }
        }
        assert_eq!(missing, Vec::<String>::new());
    }
}

//! `GET /api/catalog`.

use std::{collections::BTreeMap, sync::Arc};

use annex_answering::{Catalog, Refusal};
use annex_apis::ExtensionVersion;
use axum::{
    Json,
    extract::{RawQuery, State},
    http::HeaderMap,
};
use kube::ResourceExt as _;
use semver::Version;
use serde_json::{Value, json};

use crate::{app::App, query::optional, reverify::VERIFIED, version::slug};

/// What can be installed.
pub(crate) async fn catalog(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    app.callers.identify(&headers).await?;
    let only = optional(query.as_deref(), "extension").map_err(Refusal::malformed)?;
    if !app.catalog.is_synced() {
        return Err(Refusal::not_synced());
    }
    Ok(Json(listing(&app.catalog, only.as_deref())))
}

/// The catalog, sorted; the newest version first. Versions of no Extension cannot be installed and are left out.
fn listing(catalog: &Catalog, only: Option<&str>) -> Value {
    let wanted = |name: &str| only.is_none_or(|only| only == name);
    let mut versions: BTreeMap<String, Vec<Arc<ExtensionVersion>>> = BTreeMap::new();
    for version in catalog.versions.filter(|version| wanted(&version.spec.extension)) {
        versions.entry(version.spec.extension.clone()).or_default().push(version);
    }
    let mut extensions = catalog.extensions.filter(|extension| wanted(&extension.name_any()));
    extensions.sort_by_key(|extension| extension.name_any());
    let extensions: Vec<Value> = extensions
        .iter()
        .map(|extension| {
            let name = extension.name_any();
            let mut versions = versions.remove(&name).unwrap_or_default();
            versions.sort_by_key(|version| std::cmp::Reverse(number(version)));
            json!({
                "name": name,
                "displayName": extension.spec.display_name,
                "publisher": extension.spec.publisher,
                "slug": slug(extension),
                "deprecated": extension.spec.deprecated,
                "versions": versions.iter().map(|version| entry(version)).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({ "extensions": extensions })
}

fn number(version: &ExtensionVersion) -> Option<Version> {
    version.spec.version.parse().ok()
}

fn entry(version: &ExtensionVersion) -> Value {
    let spec = &version.spec;
    let conditions = version.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let verified = conditions.iter().find(|condition| condition.type_ == VERIFIED);
    let mut entry = json!({
        "version": spec.version,
        "name": version.name_any(),
        "publisher": spec.publisher,
        "contentHash": spec.content_hash,
        "capabilities": spec.capabilities,
        "egress": spec.egress,
        "dependencies": spec.dependencies,
        "provides": spec.provides,
        "requires": spec.requires,
        "deprecated": spec.deprecated,
        "yanked": spec.yanked,
        "verified": verified.map_or("Unknown", |verified| verified.status.as_str()),
        "publishedAt": version.metadata.creation_timestamp,
    });
    if let Some(fields) = entry.as_object_mut() {
        if let Some(verified) = verified {
            fields.insert("reason".to_owned(), json!(verified.reason));
            fields.insert("message".to_owned(), json!(verified.message));
        }
        if let Some(archive) = &spec.archive {
            fields.insert("archive".to_owned(), json!(archive));
        }
    }
    entry
}

#[cfg(test)]
mod tests {
    use annex_apis::{Extension, ExtensionSpec, ExtensionVersionSpec};

    use super::*;

    #[test]
    fn the_newest_version_comes_first_and_orphans_are_left_out() {
        let catalog = Catalog::default();
        let extension = |name: &str| {
            Extension::new(name, ExtensionSpec { display_name: name.to_owned(), ..Default::default() })
        };
        catalog.extensions.put(extension("com.example.b"));
        catalog.extensions.put(extension("com.example.a"));
        for (extension, version) in [
            ("com.example.a", "1.10.0"),
            ("com.example.a", "1.9.0"),
            ("com.example.a", "2.0.0-rc.1"),
            ("com.example.none", "1.0.0"),
        ] {
            let spec = ExtensionVersionSpec {
                extension: extension.into(),
                version: version.into(),
                ..Default::default()
            };
            catalog.versions.put(ExtensionVersion::new(&format!("{extension}-{version}"), spec));
        }
        let all = listing(&catalog, None);
        assert_eq!(all["extensions"].as_array().unwrap().len(), 2);
        let versions: Vec<&str> = all["extensions"][0]["versions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v["version"].as_str().unwrap())
            .collect();
        assert_eq!(versions, ["2.0.0-rc.1", "1.10.0", "1.9.0"]);
        assert_eq!(all["extensions"][0]["slug"], "a");
        assert_eq!(all["extensions"][0]["versions"][0]["verified"], "Unknown");
        let one = listing(&catalog, Some("com.example.b"));
        assert_eq!(
            (one["extensions"].as_array().unwrap().len(), &one["extensions"][0]["name"]),
            (1, &json!("com.example.b"))
        );
        assert_eq!(listing(&catalog, Some("com.example.none")), json!({ "extensions": [] }));
    }
}

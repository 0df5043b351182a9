//! What the catalog says, in the form of the registry's `GET /api/catalog`.

use std::collections::BTreeMap;

use annex_apis::{Dependency, Extension, ExtensionVersion, ProvidedInterface, RequiredInterface};
use annex_core::ExtensionName;
use jiff::Timestamp;
use kube::ResourceExt as _;
use semver::Version;
use serde::Serialize;

use super::read::Objects;
use crate::mark::MESSAGE_ANNOTATION;

/// The extensions, by name.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Catalog {
    pub(super) extensions: Vec<Entry>,
}

/// An extension.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) display_name: String,
    pub(super) publisher: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) slug: Option<String>,
    pub(super) deprecated: bool,
    /// The newest first.
    pub(super) versions: Vec<VersionEntry>,
}

/// One of its versions.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VersionEntry {
    pub(super) version: String,
    /// Of the ExtensionVersion.
    pub(super) name: String,
    pub(super) publisher: String,
    pub(super) content_hash: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) archive: Option<annex_apis::Archive>,
    pub(super) capabilities: Vec<String>,
    pub(super) egress: Vec<String>,
    pub(super) dependencies: Vec<Dependency>,
    pub(super) provides: Vec<ProvidedInterface>,
    pub(super) requires: Vec<RequiredInterface>,
    pub(super) deprecated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) deprecation_message: Option<String>,
    pub(super) yanked: bool,
    /// `True`, `False` or `Unknown`.
    pub(super) verified: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) published_at: Option<Timestamp>,
}

impl Catalog {
    /// `yanked`: also versions that were.
    pub(super) fn of(objects: Objects, yanked: bool) -> Self {
        let mut entries: BTreeMap<String, Entry> = objects
            .extensions
            .into_iter()
            .map(|extension| (extension.name_any(), entry(extension)))
            .collect();
        for version in objects.versions.into_iter().filter(|version| yanked || !version.spec.yanked) {
            // The Extension may be gone, or its version come first.
            let name = version.spec.extension.clone();
            let publisher = &version.spec.publisher;
            let entry = entries.entry(name).or_insert_with_key(|name| Entry {
                name: name.clone(),
                display_name: name.clone(),
                publisher: publisher.clone(),
                slug: slug(name),
                deprecated: false,
                versions: Vec::new(),
            });
            entry.versions.push(version_entry(version));
        }
        let mut extensions: Vec<_> =
            entries.into_values().filter(|entry| !entry.versions.is_empty()).collect();
        for entry in &mut extensions {
            // What is no version is at the end: it was made by hand, and cannot be chosen.
            entry.versions.sort_by_cached_key(|version| {
                (std::cmp::Reverse(Version::parse(&version.version).ok()), version.version.clone())
            });
        }
        Self { extensions }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.extensions.is_empty()
    }
}

fn entry(extension: Extension) -> Entry {
    let name = extension.name_any();
    let spec = extension.spec;
    Entry {
        display_name: spec.display_name,
        publisher: spec.publisher,
        slug: spec.slug.or_else(|| slug(&name)),
        deprecated: spec.deprecated,
        versions: Vec::new(),
        name,
    }
}

fn slug(name: &str) -> Option<String> {
    let name: ExtensionName = name.parse().ok()?;
    name.default_slug().ok().map(|slug| slug.to_string())
}

fn version_entry(version: ExtensionVersion) -> VersionEntry {
    let conditions = version.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let verified = conditions.iter().find(|condition| condition.type_ == "Verified").cloned();
    let text = |text: String| Some(text).filter(|text| !text.is_empty());
    VersionEntry {
        name: version.name_any(),
        published_at: version.creation_timestamp().map(|time| time.0),
        deprecation_message: version.annotations().get(MESSAGE_ANNOTATION).cloned(),
        verified: verified.as_ref().map_or("Unknown", |condition| condition.status.as_str()).to_owned(),
        reason: verified.as_ref().and_then(|condition| text(condition.reason.clone())),
        message: verified.and_then(|condition| text(condition.message)),
        version: version.spec.version,
        publisher: version.spec.publisher,
        content_hash: version.spec.content_hash,
        archive: version.spec.archive,
        capabilities: version.spec.capabilities,
        egress: version.spec.egress,
        dependencies: version.spec.dependencies,
        provides: version.spec.provides,
        requires: version.spec.requires,
        deprecated: version.spec.deprecated,
        yanked: version.spec.yanked,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn objects() -> Objects {
        let version = |extension: &str, version: &str, extra: serde_json::Value| {
            let mut object = json!({
                "apiVersion": "annex.sh/v1alpha1",
                "kind": "ExtensionVersion",
                "metadata": {"name": format!("{extension}-{version}"), "annotations": {}},
                "spec": {"extension": extension, "version": version, "contentHash": "", "publisher": "example.com"},
            });
            for (key, value) in extra.as_object().unwrap() {
                object["spec"][key] = value.clone();
            }
            serde_json::from_value::<ExtensionVersion>(object).unwrap()
        };
        let mut deprecated = version("com.example.b", "1.0.0", json!({"deprecated": true}));
        deprecated.annotations_mut().insert(MESSAGE_ANNOTATION.to_owned(), "take 2".to_owned());
        let extension = |name: &str| {
            serde_json::from_value::<Extension>(json!({
                "apiVersion": "annex.sh/v1alpha1",
                "kind": "Extension",
                "metadata": {"name": name},
                "spec": {"displayName": "B", "publisher": "example.com"},
            }))
            .unwrap()
        };
        Objects {
            extensions: vec![extension("com.example.b"), extension("com.example.empty")],
            versions: vec![
                version("com.example.b", "2.0.0-rc.1", json!({})),
                version("com.example.b", "10.0.0", json!({"yanked": true})),
                deprecated,
                version("com.example.b", "2.0.0", json!({})),
                version(
                    "com.example.alone",
                    "1.0.0",
                    json!({
                        "dependencies": [{"extension": "com.example.base", "version": "^1.2"}],
                        "provides": [{"interface": "notes", "version": "2.1.0"}],
                        "requires": [{"interface": "mail", "version": ">=1, <3", "optional": true}],
                    }),
                ),
            ],
        }
    }

    fn versions(catalog: &Catalog) -> Vec<(&str, Vec<&str>)> {
        catalog
            .extensions
            .iter()
            .map(|entry| {
                (entry.name.as_str(), entry.versions.iter().map(|version| version.version.as_str()).collect())
            })
            .collect()
    }

    #[test]
    fn newest_first_and_nothing_that_cannot_be_chosen() {
        let catalog = Catalog::of(objects(), false);
        let expected =
            [("com.example.alone", vec!["1.0.0"]), ("com.example.b", vec!["2.0.0", "2.0.0-rc.1", "1.0.0"])];
        assert_eq!(versions(&catalog), expected);
        let all = Catalog::of(objects(), true);
        assert_eq!(versions(&all)[1].1, ["10.0.0", "2.0.0", "2.0.0-rc.1", "1.0.0"]);
    }

    #[test]
    fn has_the_registrys_form() {
        let json = serde_json::to_value(Catalog::of(objects(), false)).unwrap();
        let b = &json["extensions"][1];
        assert_eq!((&b["displayName"], &b["slug"]), (&json!("B"), &json!("b")));
        let last = &b["versions"][2];
        assert_eq!(last["deprecationMessage"], "take 2");
        assert_eq!(last["verified"], "Unknown");
        assert_eq!(last.get("reason"), None);
        assert_eq!(last["capabilities"], json!([]));
        let needs = |version: &serde_json::Value| {
            ["dependencies", "provides", "requires"].map(|field| version[field].clone())
        };
        assert_eq!(needs(last), [json!([]), json!([]), json!([])]);
        assert_eq!(
            needs(&json["extensions"][0]["versions"][0]),
            [
                json!([{"extension": "com.example.base", "version": "^1.2", "optional": false}]),
                json!([{"interface": "notes", "version": "2.1.0"}]),
                json!([{"interface": "mail", "version": ">=1, <3", "optional": true}]),
            ]
        );
    }
}

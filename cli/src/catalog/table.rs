//! The catalog as a table, as kubectl prints them.

use jiff::Timestamp;

use super::list::{Catalog, Entry, VersionEntry};
use crate::printable::one_line;

const COLUMNS: [&str; 6] = ["NAME", "VERSION", "PUBLISHER", "CAPABILITIES", "VERIFIED", "STATE"];
const WIDE: [&str; 7] = ["DISPLAY NAME", "EGRESS", "NEEDS", "PROVIDES", "REASON", "AGE", "CONTENT HASH"];

/// One line for each version. `now`: what ages are counted to, with more columns.
pub(super) fn render(catalog: &Catalog, now: Option<Timestamp>) -> String {
    let mut rows = Vec::new();
    for entry in &catalog.extensions {
        rows.extend(entry.versions.iter().map(|version| row(entry, version, now)));
    }
    if rows.is_empty() {
        return "The catalog is empty.".to_owned();
    }
    let wide = if now.is_some() { WIDE.as_slice() } else { &[] };
    rows.insert(0, COLUMNS.iter().chain(wide).map(|title| (*title).to_owned()).collect());
    aligned(&rows)
}

fn row(entry: &Entry, version: &VersionEntry, now: Option<Timestamp>) -> Vec<String> {
    let mut row = vec![
        one_line(&entry.name),
        one_line(&version.version),
        one_line(&version.publisher),
        list(&version.capabilities),
        one_line(&version.verified),
        state(entry, version),
    ];
    if let Some(now) = now {
        row.extend([
            one_line(&entry.display_name),
            list(&version.egress),
            needs(version),
            provides(version),
            none_or(version.reason.as_deref()),
            version.published_at.map_or_else(|| "<unknown>".to_owned(), |time| age(time, now)),
            one_line(&version.content_hash),
        ]);
    }
    row
}

/// What speaks against it.
fn state(entry: &Entry, version: &VersionEntry) -> String {
    let mut words = Vec::new();
    if version.yanked {
        words.push("yanked".to_owned());
    }
    if version.deprecated {
        let message = version.deprecation_message.as_deref().map(|text| format!(": {}", one_line(text)));
        words.push(format!("deprecated{}", message.unwrap_or_default()));
    } else if entry.deprecated {
        words.push("deprecated".to_owned());
    }
    if words.is_empty() { "<none>".to_owned() } else { words.join(", ") }
}

/// Extensions, and then interfaces that any extension may have. Requirements have commas in them.
fn needs(version: &VersionEntry) -> String {
    let extensions = version
        .dependencies
        .iter()
        .map(|needed| (needed.extension.as_str(), needed.version.as_str(), needed.optional));
    let interfaces = version
        .requires
        .iter()
        .map(|needed| (needed.interface.as_str(), needed.version.as_str(), needed.optional));
    let needed = extensions.chain(interfaces).map(|(name, version, optional)| {
        let optional = if optional { " (optional)" } else { "" };
        format!("{name} {version}{optional}")
    });
    none_or(Some(needed.collect::<Vec<_>>().join("; ")).as_deref())
}

fn provides(version: &VersionEntry) -> String {
    let provided =
        version.provides.iter().map(|provided| format!("{} {}", provided.interface, provided.version));
    none_or(Some(provided.collect::<Vec<_>>().join("; ")).as_deref())
}

fn list(items: &[String]) -> String {
    none_or(Some(items.join(",")).as_deref())
}

fn none_or(text: Option<&str>) -> String {
    text.map(one_line).filter(|text| !text.is_empty()).unwrap_or_else(|| "<none>".to_owned())
}

/// As kubectl has it: the largest unit alone.
fn age(time: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(time).as_secs().max(0);
    for (unit, letter) in [(86_400, 'd'), (3600, 'h'), (60, 'm')] {
        if seconds >= 2 * unit {
            return format!("{}{letter}", seconds / unit);
        }
    }
    format!("{seconds}s")
}

/// Columns as wide as what is in them; the last is not filled up.
pub(crate) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let line: Vec<_> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        text.push_str(line.join("   ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use annex_apis::{Dependency, ProvidedInterface, RequiredInterface};

    use super::*;

    fn catalog() -> Catalog {
        let version = |version: &str| VersionEntry {
            version: version.to_owned(),
            name: format!("com.example.notes-{version}"),
            publisher: "example.com".to_owned(),
            content_hash: "sha256:00".to_owned(),
            archive: None,
            capabilities: vec!["log".to_owned(), "storage.kv".to_owned()],
            egress: Vec::new(),
            dependencies: Vec::new(),
            provides: Vec::new(),
            requires: Vec::new(),
            deprecated: false,
            deprecation_message: None,
            yanked: false,
            verified: "True".to_owned(),
            reason: Some("Verified".to_owned()),
            message: None,
            published_at: Some("2026-11-03T12:00:00Z".parse().unwrap()),
        };
        let old = VersionEntry {
            deprecated: true,
            deprecation_message: Some("take\x1b[31m 2".to_owned()),
            yanked: true,
            capabilities: Vec::new(),
            ..version("1.0.0")
        };
        let entry = Entry {
            name: "com.example.notes".to_owned(),
            display_name: "Notes".to_owned(),
            publisher: "example.com".to_owned(),
            slug: None,
            deprecated: false,
            versions: vec![version("2.0.0"), old],
        };
        Catalog { extensions: vec![entry] }
    }

    #[test]
    fn one_line_for_each_version() {
        assert_eq!(
            render(&catalog(), None),
            "NAME                VERSION   PUBLISHER     CAPABILITIES     VERIFIED   STATE\n\
             com.example.notes   2.0.0     example.com   log,storage.kv   True       <none>\n\
             com.example.notes   1.0.0     example.com   <none>           True       yanked, deprecated: take [31m 2\n"
        );
    }

    #[test]
    fn wide_says_more() {
        let wide = render(&catalog(), Some("2026-11-05T13:00:00Z".parse().unwrap()));
        let first = wide.lines().nth(1).unwrap();
        assert!(first.contains("Notes") && first.contains("2d") && first.ends_with("sha256:00"), "{wide}");
    }

    #[test]
    fn wide_says_what_it_needs_and_what_others_find_in_it() {
        let mut catalog = catalog();
        let version = &mut catalog.extensions[0].versions[0];
        let needed = |interface: &str, version: &str, optional| RequiredInterface {
            interface: interface.to_owned(),
            version: version.to_owned(),
            optional,
        };
        version.dependencies = vec![Dependency {
            extension: "com.example.base".to_owned(),
            version: "^1.2".to_owned(),
            optional: false,
        }];
        version.requires = vec![needed("users", "^16", false), needed("mail", ">=1, <3\x1b[31m", true)];
        let provided = |interface: &str| ProvidedInterface {
            interface: interface.to_owned(),
            version: "2.1.0".to_owned(),
        };
        version.provides = vec![provided("notes"), provided("tags")];
        let wide = render(&catalog, Some("2026-11-05T13:00:00Z".parse().unwrap()));
        let [titles, first, second] = [0, 1, 2].map(|at| wide.lines().nth(at).unwrap());
        let column = |title: &str| titles.split_once(title).unwrap().0.chars().count();
        let cell = |line: &str, from: &str, to: &str| {
            let text: String = line.chars().skip(column(from)).take(column(to) - column(from)).collect();
            text.trim_end().to_owned()
        };
        assert_eq!(
            cell(first, "NEEDS", "PROVIDES"),
            "com.example.base ^1.2; users ^16; mail >=1, <3 [31m (optional)"
        );
        assert_eq!(cell(first, "PROVIDES", "REASON"), "notes 2.1.0; tags 2.1.0");
        assert_eq!(cell(second, "NEEDS", "PROVIDES"), "<none>");
        assert_eq!(cell(second, "PROVIDES", "REASON"), "<none>");
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        assert_eq!(render(&Catalog { extensions: Vec::new() }, None), "The catalog is empty.");
    }
}

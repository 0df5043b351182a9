//! What docs/operations.md and manifests/compute promise about the programs is what the programs have. By the text of the sources: so
//! it costs nothing, and a metric or a variable cannot come or go without the page.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of it is test: a panic is how a test fails"
)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// The programs that an operator runs, and what they are made of.
const SERVICES: [&str; 10] = [
    "controller",
    "gateway",
    "initializer",
    "registry",
    "runner",
    "bundle-client",
    "egress",
    "service",
    "storage",
    "kube-kcp",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files below a folder whose name ends so.
fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, end));
        } else if path.to_str().unwrap().ends_with(end) {
            found.push(path);
        }
    }
    found
}

fn sources() -> String {
    let folders = SERVICES.iter().map(|crate_| root().join(crate_).join("src"));
    folders.flat_map(|folder| files(&folder, ".rs")).map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// The string literals that come next after `before`, white space aside.
fn literals_after(text: &str, before: &str) -> BTreeSet<String> {
    let rests = text.split(before).skip(1);
    let quoted = rests.filter_map(|rest| rest.trim_start().strip_prefix('"'));
    quoted.filter_map(|rest| rest.split_once('"')).map(|(literal, _)| literal.to_owned()).collect()
}

/// Of those, the ones in whose statement `also` comes, too.
fn literals_with(text: &str, before: &str, also: &str) -> BTreeSet<String> {
    let statements = text.split(before).skip(1).filter_map(|rest| rest.split_once(';')).map(|(head, _)| head);
    let chosen = statements.filter(|head| head.contains(also)).map(|head| format!("{before}{head}"));
    literals_after(&chosen.collect::<String>(), before)
}

/// The longest runs of these characters.
fn words(text: &str, belongs: impl Fn(char) -> bool) -> impl Iterator<Item = &str> {
    text.split(move |character| !belongs(character)).filter(|word| !word.is_empty())
}

fn is_variable(word: &str) -> bool {
    let upper =
        |character: char| character.is_ascii_uppercase() || character.is_ascii_digit() || character == '_';
    word.len() > 3 && word.chars().all(upper)
}

/// The page's table of settings, first column.
fn documented_variables() -> BTreeSet<String> {
    let page = read("docs/operations.md");
    let table = page.split_once("\n## Settings\n").unwrap().1.split_once("\n## ").unwrap().0;
    let first = table.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let quoted =
        first.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>());
    quoted.filter(|word| is_variable(word)).collect()
}

#[test]
fn every_variable_is_in_the_table_and_nothing_else_is() {
    let sources = sources();
    let (documented, read) = (documented_variables(), literals_after(&sources, "env = "));
    assert!(documented.len() > 40 && read.len() > 40, "{} and {}", documented.len(), read.len());
    let missing: Vec<_> = read.difference(&documented).collect();
    assert!(missing.is_empty(), "not in the table of docs/operations.md: {missing:?}");
    // tracing-subscriber reads it by itself.
    let known = |name: &str| name == "RUST_LOG" || sources.contains(&format!("\"{name}\""));
    let stale: Vec<_> = documented.iter().filter(|name| !known(name)).collect();
    assert!(stale.is_empty(), "in the table, and read by nobody: {stale:?}");
}

/// As a service names it, without what the service and the encoding add.
fn bare(metric: &str) -> Option<&str> {
    let prefixes =
        ["annex_controller_", "annex_initializer_", "annex_registry_", "annex_runner_", "annex_gateway_"];
    let name = prefixes.iter().find_map(|prefix| metric.strip_prefix(prefix))?;
    let name = name.strip_prefix("environments_").unwrap_or(name);
    Some(name.strip_prefix("kube_kcp_").unwrap_or(name))
}

#[test]
fn every_metric_is_on_the_page_and_nothing_else_is() {
    let sources = sources();
    let plain = literals_after(&sources, ".register(");
    let seconds = literals_with(&sources, ".register_with_unit(", "Unit::Seconds");
    let bytes = literals_with(&sources, ".register_with_unit(", "Unit::Bytes");
    let collected = literals_after(&sources, ".encode_descriptor(");
    let registered: BTreeSet<String> = plain
        .into_iter()
        .chain(collected)
        .chain(seconds.into_iter().map(|name| format!("{name}_seconds")))
        .chain(bytes.into_iter().map(|name| format!("{name}_bytes")))
        .collect();
    assert!(registered.len() > 20, "{registered:?}");

    let page = read("docs/operations.md").replace(".+", "runner");
    let is_name =
        |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_';
    let documented: BTreeSet<&str> = words(&page, is_name).filter_map(bare).collect();
    let of = |metric: &str| {
        let ends = ["", "_total", "_bucket", "_count", "_sum"];
        let stems = ends.iter().filter_map(|end| metric.strip_suffix(end));
        stems.map(str::to_owned).find(|stem| registered.contains(stem))
    };
    let stale: Vec<_> = documented.iter().filter(|metric| of(metric).is_none()).collect();
    assert!(stale.is_empty(), "on the page, and registered by nobody: {stale:?}");
    let told: BTreeSet<String> = documented.iter().filter_map(|metric| of(metric)).collect();
    let missing: Vec<_> = registered.difference(&told).collect();
    assert!(missing.is_empty(), "not in docs/operations.md: {missing:?}");
}

fn manifests() -> Vec<(PathBuf, Value)> {
    let found = files(&root().join("manifests/compute"), ".yaml");
    let all = found.into_iter().flat_map(|path| {
        let text = fs::read_to_string(&path).unwrap();
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        documents.into_iter().map(move |document| (path.clone(), document))
    });
    all.collect()
}

fn containers() -> Vec<Value> {
    let of = |manifest: &Value| manifest.pointer("/spec/template/spec/containers").cloned();
    manifests()
        .iter()
        .filter_map(|(_, manifest)| of(manifest))
        .flat_map(|all| all.as_array().unwrap().clone())
        .collect()
}

#[test]
fn manifests_set_what_the_programs_read() {
    let variables = literals_after(&sources(), "env = ");
    let mut set: BTreeSet<String> = read("manifests/compute/deployments/settings.env")
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name.to_owned())
        .collect();
    for container in containers() {
        let env = container["env"].as_array().unwrap();
        set.extend(env.iter().map(|variable| variable["name"].as_str().unwrap().to_owned()));
    }
    for (_, manifest) in manifests() {
        let generators = manifest["configMapGenerator"].as_array().cloned().unwrap_or_default();
        let literals = generators
            .iter()
            .flat_map(|generator| generator["literals"].as_array().cloned().unwrap_or_default());
        set.extend(literals.map(|literal| literal.as_str().unwrap().split('=').next().unwrap().to_owned()));
    }
    // The patches of components are text in text.
    for (path, manifest) in manifests() {
        for patch in manifest["patches"].as_array().into_iter().flatten() {
            let text = patch["patch"].as_str().unwrap();
            let variable = |character: char| character.is_ascii_uppercase() || character == '_';
            let named = words(text, variable).filter(|word| word.contains('_'));
            set.extend(named.map(str::to_owned));
            assert!(!text.is_empty(), "{}", path.display());
        }
    }
    assert!(set.len() > 15, "{set:?}");
    let unknown: Vec<_> = set.difference(&variables).collect();
    assert!(unknown.is_empty(), "set in manifests/compute, and read by nobody: {unknown:?}");
}

#[test]
fn every_pod_is_restricted_and_of_this_version() {
    let version = read("Cargo.toml");
    let version = version.split("\nversion = \"").nth(1).unwrap().split('"').next().unwrap();
    let containers = containers();
    assert_eq!(containers.len(), 6, "controller, gateway, initializer, registry, and two kinds of runner");
    for container in &containers {
        let image = container["image"].as_str().unwrap();
        assert!(image.ends_with(&format!(":{version}")), "{image} is not {version}");
        let security = &container["securityContext"];
        assert_eq!(security["allowPrivilegeEscalation"], false, "{image}");
        assert_eq!(security["readOnlyRootFilesystem"], true, "{image}");
        assert_eq!(security["capabilities"]["drop"][0], "ALL", "{image}");
        assert!(
            !container["readinessProbe"].is_null() && !container["resources"]["limits"].is_null(),
            "{image}"
        );
    }
    let namespaces = manifests().into_iter().filter(|(_, manifest)| manifest["kind"] == "Namespace");
    for (path, namespace) in namespaces {
        let labels = &namespace["metadata"]["labels"];
        assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted", "{}", path.display());
    }
}

/// As a heading's link is made on a forge: lower case, spaces as hyphens, nothing else but letters, digits and hyphens.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings =
        page.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |character: &char| character.is_alphanumeric() || matches!(character, ' ' | '-' | '_');
    headings
        .map(|heading| heading.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-"))
        .collect()
}

#[test]
fn every_link_between_pages_leads_somewhere() {
    let mut pages = files(&root().join("docs"), ".md");
    pages.push(root().join("README.md"));
    let mut links = 0;
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        let targets =
            text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
        for target in targets.filter(|target| !target.contains("://")) {
            links += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let there = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(there.exists(), "{}: {target}", page.display());
            let found = anchor.is_empty() || anchors(&fs::read_to_string(&there).unwrap()).contains(anchor);
            assert!(found, "{}: {target}", page.display());
        }
    }
    assert!(links > 30, "{links}");
}

#[test]
fn no_right_is_a_wildcard() {
    let roles = |kind: &Value| kind == "Role" || kind == "ClusterRole";
    let found: Vec<_> = manifests().into_iter().filter(|(_, manifest)| roles(&manifest["kind"])).collect();
    assert!(found.len() >= 5, "{}", found.len());
    for (path, role) in found {
        for rule in role["rules"].as_array().unwrap() {
            assert!(!rule.to_string().contains('*'), "{}: {rule}", path.display());
        }
    }
}

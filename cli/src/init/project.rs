//! The files of a new project, from the templates.

use annex_bundle::{Manifest, manifest_schema};

use super::names::Names;
use crate::format;
use crate::outcome::Failure;

/// Where each goes, and what it is made of. Names that would mean something to git, cargo or rustup in our own checkout are others there.
const TEMPLATES: &[(&str, &str)] = &[
    (".gitignore", include_str!("../../templates/gitignore")),
    ("README.md", include_str!("../../templates/README.md")),
    ("manifest.json", include_str!("../../templates/manifest.json")),
    ("guest/Cargo.toml", include_str!("../../templates/guest/Cargo.toml.template")),
    // So that the first build is the one that was tried.
    ("guest/Cargo.lock", include_str!("../../templates/guest/Cargo.lock.template")),
    ("guest/rust-toolchain.toml", include_str!("../../templates/guest/rust-toolchain.toml.template")),
    ("guest/src/lib.rs", include_str!("../../templates/guest/src/lib.rs")),
    ("guest/src/answer.rs", include_str!("../../templates/guest/src/answer.rs")),
    ("ui/index.html", include_str!("../../templates/ui/index.html")),
    ("ui/app.js", include_str!("../../templates/ui/app.js")),
    ("ui/style.css", include_str!("../../templates/ui/style.css")),
];

/// The files, by their path in the project.
pub(super) fn files(names: &Names) -> Result<Vec<(&'static str, String)>, Failure> {
    let mut files: Vec<_> =
        TEMPLATES.iter().map(|(path, template)| (*path, filled(template, names))).collect();
    // Names can be fine each by itself and too long together.
    let manifest = files.iter().find(|(path, _)| *path == "manifest.json").map(|(_, text)| text);
    Manifest::from_json(manifest.map(String::as_bytes).unwrap_or_default())
        .map_err(|error| Failure::Usage(format!("the manifest would be none: {error}")))?;
    files.push(("manifest.schema.json", format::json(&manifest_schema())? + "\n"));
    Ok(files)
}

/// Every value is made of lower-case letters, digits, dots, hyphens and spaces, which mean nothing in any of the files.
fn filled(template: &str, names: &Names) -> String {
    template
        .replace("{{name}}", names.name.as_str())
        .replace("{{publisher}}", names.publisher.as_str())
        .replace("{{slug}}", &names.slug)
        .replace("{{title}}", &names.title)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project() -> Vec<(&'static str, String)> {
        let publisher = "example.com".parse().unwrap();
        files(&Names::choose(std::path::Path::new("/x/my-notes"), &publisher, None).unwrap()).unwrap()
    }

    fn file(path: &str) -> String {
        project().into_iter().find(|(other, _)| *other == path).unwrap().1
    }

    #[test]
    fn nothing_is_left_open() {
        for (path, text) in project() {
            assert!(!text.contains("{{"), "{path}");
        }
    }

    #[test]
    fn the_manifest_is_one_and_points_to_its_schema() {
        let manifest = file("manifest.json");
        assert_eq!(Manifest::from_json(manifest.as_bytes()).unwrap().name.as_str(), "com.example.my-notes");
        let json: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        assert_eq!(json["$schema"], "./manifest.schema.json");
        assert!(file("manifest.schema.json").contains("\"publisher\""));
    }

    #[test]
    fn the_page_runs_no_inline_script() {
        let page = file("ui/index.html");
        for tag in page.split('<').filter(|tag| tag.starts_with("script")) {
            assert!(tag.contains("src=") && tag.ends_with('>'), "{tag}");
        }
        assert!(!page.contains(" on") && !page.contains("style=\"") && !page.contains("<style"), "{page}");
        assert!(page.contains("data-extension=\"com.example.my-notes\""));
    }
}

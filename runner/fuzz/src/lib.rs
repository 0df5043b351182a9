//! What is fuzzed, as plain functions: libfuzzer calls them for hours, and the tests of `annex-runner` call them on stable Rust with the
//! corpus and some thousands of its mutations.
//!
//! Each panics where something holds not that must hold for every input.

use std::path::{Component, Path};
use std::sync::LazyLock;

use annex_bundle::{Limits, Listing, pack_files};
use annex_core::InstallIdentity;

// The runner's own source: it is private there, and pure.
#[path = "../../src/ui/path.rs"]
mod path;

use path::{PREFIX, UiPath, path_of};

const EXTENSION: &str = "com.example.hello";
const HASH: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// The files of the pages. The bundle has others, too.
pub const PAGES: [&str; 5] =
    ["ui/index.html", "ui/a/b.js", "ui/größe & more.json", "ui/.well-known/x", "ui/main.wasm"];

static LISTING: LazyLock<Listing> = LazyLock::new(|| {
    let manifest = format!(
        r#"{{"name":"{EXTENSION}","publisher":"example.com","version":"1.0.0","ui":{{"entry":"ui/index.html"}}}}"#
    );
    let own =
        [("manifest.json", manifest.as_bytes()), ("main.wasm", b"\0asm\x0d\0\x01\0"), ("sbom.json", b"{}")];
    let pages = PAGES.iter().map(|path| (*path, path.as_bytes()));
    pack_files(own.into_iter().chain(pages), &Limits::default(), Vec::new()).unwrap().listing
});

/// A path as a browser sends it, whole or below an install's pages: what is found is a file of the pages in the bundle's listing, at one
/// address, and no name leads elsewhere on a disk. Says which one it is.
pub fn page(bytes: &[u8]) -> Option<&'static str> {
    let text = str::from_utf8(bytes).ok()?;
    let (whole, below) = (resolves(text), resolves(&format!("{PREFIX}{EXTENSION}/{HASH}/{text}")));
    whole.or(below)
}

fn resolves(request: &str) -> Option<&'static str> {
    let parsed = UiPath::parse(request)?;
    let file = parsed.file.as_str();
    assert!(file.starts_with("ui/") && file.len() > 3, "{file}");
    assert!(!file.contains(['\\', ':', '%', '\0']), "{file}");
    assert!(file.split('/').all(|segment| !matches!(segment, "" | "." | "..")), "{file}");
    assert!(Path::new(file).components().all(|part| matches!(part, Component::Normal(_))), "{file}");

    // Whoever stands in front and decodes once reads the same.
    let once = percent_encoding::percent_decode_str(request).decode_utf8().unwrap();
    let below = file.strip_prefix("ui/").unwrap();
    assert_eq!(once, format!("{PREFIX}{}/{}/{below}", parsed.extension.as_str(), parsed.content));

    let identity = InstallIdentity {
        tenant_id: "acme".parse().unwrap(),
        extension_id: parsed.extension.clone(),
        content_hash: parsed.content,
    };
    assert!(parsed.is_of(&identity));
    let address = path_of(&identity, &parsed.file).unwrap();
    assert_eq!(UiPath::parse(&address).as_ref(), Some(&parsed), "{address}");

    LISTING.get(file)?;
    let page = PAGES.into_iter().find(|page| *page == file);
    assert!(page.is_some(), "{file} is none of the pages");
    page
}

//! The fuzz target on stable Rust: the corpus, and a bounded number of mutations of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the lints see tests only in the test functions themselves, not in what these share"
)]

use annex_mutations::{contents, corpus, run, text};

#[path = "../fuzz/src/lib.rs"]
mod targets;

const MUTATIONS: usize = 20_000;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/page");

const WORDS: &[&str] = &[
    ".",
    "..",
    "../",
    "./",
    "/",
    "//",
    "\\",
    "%2e",
    "%2E%2e",
    "%2f",
    "%5c",
    "%00",
    "%25",
    "%252e",
    "%c0%ae",
    "%",
    "%zz",
    "ü",
    "%C3%B6",
    "ui/",
    "index.html",
    "main.wasm",
    "manifest.json",
    "/ext-ui/",
    "sha256:",
    "com.example.hello",
    ":",
    "?",
    "#",
    "\0",
    " ",
    ".js",
    "CON",
];

#[test]
fn pages() {
    run("page", &contents(CORPUS), MUTATIONS, text(WORDS), |bytes| _ = targets::page(bytes));
}

#[test]
fn of_the_corpus_each_page_is_found_and_nothing_else() {
    let found: Vec<_> =
        corpus(CORPUS).into_iter().filter_map(|(name, bytes)| Some((name, targets::page(&bytes)?))).collect();
    let found: Vec<_> = found.iter().map(|(name, page)| (name.as_str(), *page)).collect();
    let expected = [
        ("escaped", "ui/größe & more.json"),
        ("folder", "ui/a/b.js"),
        ("hidden", "ui/.well-known/x"),
        ("plain", "ui/index.html"),
        ("same-name", "ui/main.wasm"),
        ("whole", "ui/index.html"),
        ("whole-other", "ui/index.html"),
    ];
    assert_eq!(found, expected);
}

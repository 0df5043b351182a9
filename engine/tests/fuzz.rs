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

const MUTATIONS: usize = 10_000;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/links");

const WORDS: &[&str] = &[
    "*",
    " ",
    "\n",
    "\"",
    ",",
    "[",
    "]",
    "{",
    "}",
    ":",
    "log",
    "secrets",
    "storage.kv",
    "metrics",
    "context",
    "http.fetch",
    "time-travel",
    "\"log\"",
    ",\"secrets\"",
    ",\"context\"",
    "\"capabilities\":",
    ".",
    "\u{0}",
    "\\u006c",
    "ü",
    "LOG",
];

#[test]
fn links() {
    run("links", &contents(CORPUS), MUTATIONS, text(WORDS), |bytes| _ = targets::links(bytes));
}

#[test]
fn of_the_corpus_what_is_asked_for_and_granted_and_known_is_linked() {
    let found: Vec<_> =
        corpus(CORPUS).into_iter().map(|(name, bytes)| (name, targets::links(&bytes))).collect();
    let found: Vec<_> = found.iter().map(|(name, linked)| (name.as_str(), linked.as_deref())).collect();
    let all: &[&str] = &["http.fetch", "storage.kv", "secrets", "log", "metrics", "context"];
    let expected = [
        ("all", Some(all)),
        ("less-granted", Some(&["log"])),
        ("more-granted", Some(&["log"])),
        ("nothing-asked", Some(&[])),
        ("nothing-granted", Some(&[])),
        ("spelled", Some(&["log"])),
        ("unknown", None),
        ("unknown-not-granted", Some(&["log"])),
    ];
    assert_eq!(found, expected);
}

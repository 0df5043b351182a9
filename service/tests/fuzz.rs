//! The fuzz target on stable Rust: the corpus, and a bounded number of mutations of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the lints see tests only in the test functions themselves, not in what these share"
)]

use annex_mutations::{contents, run, text};

#[path = "../fuzz/src/lib.rs"]
mod targets;

const MUTATIONS: usize = 20_000;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/host");

const WORDS: &[&str] = &[
    ".",
    "..",
    ":",
    ":0",
    ":443",
    ":65536",
    ":+1",
    "@",
    "u@",
    "[",
    "]",
    "[::1]",
    "%25",
    "%2e",
    "//",
    "/",
    "\\",
    "?",
    "#",
    ",",
    " ",
    "\n",
    "\r",
    "\0",
    "\t",
    "http://",
    "https://",
    "xn--",
    "-",
    "_",
    "A",
    "a.example",
    "127.0.0.1",
    "ü",
    "。",
    "*",
];

#[test]
fn hosts() {
    run("host", &contents(CORPUS), MUTATIONS, text(WORDS), targets::host);
}

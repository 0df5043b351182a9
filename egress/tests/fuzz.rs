//! The fuzz target on stable Rust: the corpus, and a bounded number of mutations of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the lints see tests only in the test functions themselves, not in what these share"
)]

use annex_mutations::{contents, run, text};

use annex_egress::{Destination, ManifestList, OperatorList};

#[path = "../fuzz/src/lib.rs"]
mod targets;

const MUTATIONS: usize = 20_000;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/allowlist");

const WORDS: &[&str] = &[
    "*.",
    "*",
    ".",
    "..",
    ":",
    ":0",
    ":443",
    ":8443",
    ":65536",
    "@",
    "user@",
    "[",
    "]",
    "[::1]",
    "[::ffff:",
    "%25eth0",
    "%2e",
    "//",
    "/",
    "\\",
    "?",
    "#",
    ",",
    " ",
    "\n",
    "http://",
    "https://",
    "xn--",
    "0x",
    "0177.",
    "127.1",
    "2130706433",
    "127.0.0.1",
    "8.8.8.8",
    "localhost",
    "ü",
    "。",
    "１",
    "\0",
    "\t",
    "-",
    "_",
    "com",
    "example",
];

#[test]
fn allowlists() {
    run("allowlist", &contents(CORPUS), MUTATIONS, text(WORDS), targets::allowlist);
}

#[test]
fn of_the_corpus_as_much_is_allowed_as_refused() {
    let mut allowed = 0;
    for bytes in contents(CORPUS) {
        let text = String::from_utf8(bytes).unwrap();
        let lines: Vec<&str> = text.split('\n').collect();
        let operator: OperatorList = lines[0].parse().unwrap();
        let manifest = ManifestList::parse(lines[1].split(' ')).unwrap();
        if Destination::of(&lines[2].parse().unwrap())
            .is_ok_and(|destination| operator.allows(&destination) && manifest.allows(&destination))
        {
            allowed += 1;
        }
    }
    assert_eq!((allowed, contents(CORPUS).len()), (5, 8));
}

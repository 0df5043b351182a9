//! The fuzz target on stable Rust: the corpus, and a bounded number of mutations of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the lints see tests only in the test functions themselves, not in what these share"
)]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

#[path = "../fuzz/src/lib.rs"]
mod targets;

/// libfuzzer does better; this finds what is broken plainly.
const MUTATIONS: usize = 20_000;

/// xorshift: the same mutations in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides.max(1) as u64) as usize
    }
}

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

fn mutate(dice: &mut Dice, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = corpus[dice.roll(corpus.len())].clone();
    for _ in 0..=dice.roll(3) {
        let at = dice.roll(bytes.len());
        match dice.roll(5) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << dice.roll(7),
            1 => {
                let end = (at + dice.roll(8)).min(bytes.len());
                bytes.drain(at..end);
            }
            2 => {
                let other = &corpus[dice.roll(corpus.len())];
                let from = dice.roll(other.len());
                let piece = other[from..(from + dice.roll(20)).min(other.len())].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let word = WORDS[dice.roll(WORDS.len())];
                bytes.splice(at..at, word.bytes());
            }
        }
    }
    bytes
}

fn corpus() -> Vec<(String, Vec<u8>)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/page");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let name = |path: &std::path::Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    files.iter().map(|file| (name(file), fs::read(file).unwrap())).collect()
}

#[test]
fn pages() {
    let corpus: Vec<_> = corpus().into_iter().map(|(_, bytes)| bytes).collect();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for count in 0..MUTATIONS {
        let bytes = mutate(&mut dice, &corpus);
        if catch_unwind(AssertUnwindSafe(|| targets::page(&bytes))).is_err() {
            panic!("mutation {count}: {:?}", String::from_utf8_lossy(&bytes));
        }
    }
}

#[test]
fn of_the_corpus_each_page_is_found_and_nothing_else() {
    let found: Vec<_> =
        corpus().into_iter().filter_map(|(name, bytes)| Some((name, targets::page(&bytes)?))).collect();
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

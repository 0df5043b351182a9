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
const MUTATIONS: usize = 10_000;

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
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/links");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let name = |path: &std::path::Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    files.iter().map(|file| (name(file), fs::read(file).unwrap())).collect()
}

#[test]
fn links() {
    let corpus: Vec<_> = corpus().into_iter().map(|(_, bytes)| bytes).collect();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for count in 0..MUTATIONS {
        let bytes = mutate(&mut dice, &corpus);
        if catch_unwind(AssertUnwindSafe(|| targets::links(&bytes))).is_err() {
            panic!("mutation {count}: {:?}", String::from_utf8_lossy(&bytes));
        }
    }
}

#[test]
fn of_the_corpus_what_is_asked_for_and_granted_and_known_is_linked() {
    let found: Vec<_> = corpus().into_iter().map(|(name, bytes)| (name, targets::links(&bytes))).collect();
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

//! Fuzz targets on stable Rust: a kept corpus, and a bounded number of mutations of it, the same in every run. libfuzzer does better; this finds
//! what is broken plainly, where everybody runs the tests.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of it is for tests: a panic is how one fails"
)]

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

/// xorshift: the same mutations in every run.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// From 0 to below `sides`; 0 where there are none.
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides.max(1) as u64) as usize
    }
}

/// The files of a folder by name, in the order of their names.
///
/// # Panics
/// There are none.
#[must_use]
pub fn corpus(folder: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{folder} is empty");
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    files.iter().map(|file| (name(file), fs::read(file).unwrap())).collect()
}

/// What is in the files of a folder, in the order of their names.
///
/// # Panics
/// There are none.
#[must_use]
pub fn contents(folder: &str) -> Vec<Vec<u8>> {
    corpus(folder).into_iter().map(|(_, bytes)| bytes).collect()
}

/// Hands the corpus and `count` mutations of it to the target.
///
/// # Panics
/// The target does, or says of one of the corpus that it is wrong.
pub fn run(
    name: &str,
    corpus: &[Vec<u8>],
    count: usize,
    mutate: impl Fn(&mut Dice, &[Vec<u8>]) -> Vec<u8>,
    target: impl Fn(&[u8]),
) {
    corpus.iter().for_each(|bytes| target(bytes));
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for number in 0..count {
        let bytes = mutate(&mut dice, corpus);
        if catch_unwind(AssertUnwindSafe(|| target(&bytes))).is_err() {
            panic!("{name}, mutation {number}: {:?}", String::from_utf8_lossy(&bytes));
        }
    }
}

/// Mutates text so that it mostly stays text, with these words in between.
pub fn text<'a>(words: &'a [&str]) -> impl Fn(&mut Dice, &[Vec<u8>]) -> Vec<u8> + use<'a> {
    move |dice, corpus| {
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
                    let word = words[dice.roll(words.len())];
                    bytes.splice(at..at, word.bytes());
                }
            }
        }
        bytes
    }
}

//! The fuzz targets on stable Rust: the corpus, and a bounded number of mutations of it.

use annex_mutations::{Dice, contents};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::support::{at, audience, ring};

#[path = "../../fuzz/src/lib.rs"]
mod targets;

/// How many mutations each target gets.
const MUTATIONS: usize = 5000;

const WORDS: &[&[u8]] = &[
    b"\0",
    b"\xff",
    b"\x01",
    b"\xfd",
    b"=",
    b"-",
    b"_",
    b"aud.",
    b".",
    b"\n",
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b"-1",
    b"9999999999999999999",
    b"null",
    b"\\u0000",
    b"sha256:",
    b"k2",
];

fn mutate(dice: &mut Dice, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = corpus[dice.roll(corpus.len())].clone();
    for _ in 0..=dice.roll(4) {
        let at = dice.roll(bytes.len());
        match dice.roll(6) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << dice.roll(8),
            1 if !bytes.is_empty() => bytes[at] = dice.roll(256) as u8,
            2 => bytes.truncate(at),
            3 => {
                let end = (at + dice.roll(300)).min(bytes.len());
                bytes.drain(at..end);
            }
            4 => {
                let word = WORDS[dice.roll(WORDS.len())];
                bytes.splice(at..at, word.iter().copied());
            }
            _ => {
                let end = (at + dice.roll(300)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    contents(&format!("{}/fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR")))
}

fn run(name: &str, corpus: &[Vec<u8>], target: fn(&[u8])) {
    annex_mutations::run(name, corpus, MUTATIONS, mutate, target);
}

#[test]
fn tokens() {
    let text = corpus("token");
    run("token", &text, targets::token);
    // Behind base64, which few mutations get through.
    let bytes: Vec<_> = text.iter().map(|text| URL_SAFE_NO_PAD.decode(text).unwrap()).collect();
    run("token, as bytes", &bytes, targets::token);
}

#[test]
fn keys() {
    run("keys", &corpus("keys"), targets::keys);
}

#[test]
fn executes() {
    run("execute", &corpus("execute"), targets::execute);
}

/// It was not made by this crate but from its description, by another program: so this also fixes the format.
#[test]
fn the_corpus_verifies_so_that_what_is_fuzzed_is_more_than_refusals() {
    let keys = ring(&[("fuzz", targets::SECRET)]);
    let grant = keys.verify(targets::SIGNED, at(targets::NOW, &audience())).unwrap();
    assert_eq!(grant.tenant.as_str(), "acme");
    assert_eq!(grant.capabilities.iter().collect::<Vec<_>>(), ["log", "secrets", "storage.kv"]);
    assert_eq!((grant.limits.timeout_ms, grant.limits.memory_mb, grant.limits.fuel), (10_000, 64, Some(5)));
    assert_eq!(grant.body, annex_grant::BodyDigest::of(b"{}"));
    assert_eq!(keys.sign(&grant).unwrap().as_str(), targets::SIGNED);
    assert!(serde_json::from_slice::<annex_grant::ExecuteRequest>(&corpus("execute")[0]).is_ok());
}

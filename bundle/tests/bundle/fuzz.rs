//! The fuzz targets on stable Rust: the corpus, and a bounded number of mutations of it.

use std::fs;

use annex_mutations::{Dice, contents};

#[path = "../../fuzz/src/lib.rs"]
mod targets;

/// How many mutations each target gets.
const MUTATIONS: usize = 2000;

const WORDS: &[&[u8]] = &[
    b"\0",
    b"\xff",
    b"/",
    b"..",
    b"../",
    b"/.annex/",
    b"\\",
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"-1",
    b"9999999999999999999",
    b"1e999",
    b"null",
    b"true",
    b"\\u0000",
    b"\xc0\xaf",
    b"ustar\0",
    b"00",
    b"-----BEGIN ",
    b"-----END ",
    b"\n",
    b"# annex-publisher: *\n",
    b"PUBLIC KEY",
    b"CERTIFICATE",
    b"PRIVATE KEY",
    b"sha256:",
    b"\x28\xb5\x2f\xfd",
    b"\x50\x2a\x4d\x18",
];

fn mutate(dice: &mut Dice, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = corpus[dice.roll(corpus.len())].clone();
    for _ in 0..=dice.roll(4) {
        let at = dice.roll(bytes.len());
        match dice.roll(7) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << dice.roll(8),
            1 if !bytes.is_empty() => bytes[at] = dice.roll(256) as u8,
            2 => bytes.truncate(at),
            3 => {
                let end = (at + dice.roll(600)).min(bytes.len());
                bytes.drain(at..end);
            }
            4 => {
                let word = WORDS[dice.roll(WORDS.len())];
                bytes.splice(at..at, word.iter().copied());
            }
            5 => {
                let other = &corpus[dice.roll(corpus.len())];
                let from = dice.roll(other.len());
                let piece = other[from..(from + dice.roll(600)).min(other.len())].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let end = (at + dice.roll(600)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

fn run(name: &str, target: fn(&[u8])) {
    let corpus = contents(&format!("{}/fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR")));
    annex_mutations::run(name, &corpus, MUTATIONS, mutate, target);
}

/// Tars whose checksums are right again after the mutation, or hardly any would be looked at.
fn sealed_tar(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    for block in bytes.chunks_exact_mut(512) {
        if block[257..262] == *b"ustar" {
            crate::support::tars::seal(block.try_into().unwrap());
        }
    }
    targets::tar(&bytes);
}

#[test]
fn manifests() {
    run("manifest", targets::manifest);
}

#[test]
fn archives() {
    run("archive", targets::archive);
}

#[test]
fn tars() {
    run("tar", targets::tar);
    run("tar", sealed_tar);
}

#[test]
fn envelopes() {
    run("envelope", targets::envelope);
}

#[test]
fn trust_bundles() {
    run("trust_bundle", targets::trust_bundle);
}

#[test]
fn the_corpus_verifies_so_that_what_is_fuzzed_is_more_than_refusals() {
    let folder = format!("{}/fuzz", env!("CARGO_MANIFEST_DIR"));
    let key = fs::read_to_string(format!("{folder}/signer.pub.pem")).unwrap();
    let archive = fs::read(format!("{folder}/corpus/archive/bundle.tar.zst")).unwrap();
    let signature = fs::read(format!("{folder}/corpus/envelope/pinned.sig")).unwrap();
    let trust = annex_bundle::TrustBundle::parse(format!("# annex-publisher: example.com\n{key}").as_bytes())
        .unwrap();
    assert!(crate::support::publish(&archive, &signature, &trust).is_ok());
    for name in ["key.pem", "rsa.pem", "anchors.pem"] {
        let text = fs::read(format!("{folder}/corpus/trust_bundle/{name}")).unwrap();
        assert!(annex_bundle::TrustBundle::parse(&text).is_ok(), "{name}");
    }
}

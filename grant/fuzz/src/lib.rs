//! What is fuzzed, as plain functions: libfuzzer calls them for hours, and the tests of `annex-grant` call them on stable Rust with the
//! corpus and some thousands of its mutations.
//!
//! Each panics where something holds not that must hold for every input.

use std::time::Duration;

use annex_grant::{Audience, ExecuteRequest, Expected, KeyRing, RunnerError, UnixMillis};

/// What the corpus is signed with.
pub const SECRET: &str = "the secret of the fuzz corpus, which signs nothing else";
/// When it is good.
pub const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
/// The only token that this key has ever signed.
pub const SIGNED: &str = include_str!("../corpus/token/signed");

/// Nothing is granted but what was signed, letter by letter. A second input makes the bytes reach the parser: they are taken as they are,
/// and as what base64 decodes to.
pub fn token(bytes: &[u8]) {
    let keys = KeyRing::parse(&[("fuzz".to_owned(), SECRET.as_bytes().to_vec())]).unwrap();
    let audience: Audience = "direct".parse().unwrap();
    let expected = Expected { audience: &audience, now: NOW, skew: Duration::from_secs(5) };
    for text in [String::from_utf8_lossy(bytes).into_owned(), base64url(bytes)] {
        if let Ok(grant) = keys.verify(&text, expected) {
            assert_eq!(text, SIGNED);
            assert_eq!(keys.sign(&grant).unwrap().as_str(), SIGNED);
        }
    }
}

/// Whatever is in a key's files, it is a ring that tells its secrets to nobody, or it is refused without being quoted.
pub fn keys(bytes: &[u8]) {
    let files: Vec<(String, Vec<u8>)> = bytes
        .split(|byte| *byte == 0)
        .zip(["k1", "current", "k2", "k-3"])
        .map(|(content, name)| (name.to_owned(), content.to_vec()))
        .collect();
    let told = match KeyRing::parse(&files) {
        Ok(ring) => {
            let audience: Audience = "direct".parse().unwrap();
            for (id, derived) in ring.derived(&audience) {
                assert!(KeyRing::parse(&[(id.to_string(), derived.into_bytes())]).is_ok());
            }
            format!("{ring:?}")
        }
        Err(error) => error.to_string(),
    };
    for (_, content) in files.iter().filter(|(name, content)| name != "current" && content.len() >= 32) {
        assert!(!told.as_bytes().windows(content.len()).any(|window| window == content), "{told}");
    }
}

/// A call that is read says the same when it is written and read again; but for the tenant's own numbers, which JSON readers round.
pub fn execute(bytes: &[u8]) {
    if let Ok(mut request) = serde_json::from_slice::<ExecuteRequest>(bytes) {
        request.context.config.clear();
        let written = serde_json::to_vec(&request).unwrap();
        assert_eq!(serde_json::from_slice::<ExecuteRequest>(&written).unwrap(), request);
    }
    let _ = serde_json::from_slice::<RunnerError>(bytes);
}

fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let number =
            (0..3).fold(0, |number, at| number << 8 | u32::from(chunk.get(at).copied().unwrap_or(0)));
        for digit in 0..=chunk.len() {
            text.push(char::from(DIGITS[(number >> (18 - 6 * digit) & 63) as usize]));
        }
    }
    text
}

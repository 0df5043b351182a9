//! What the tests are made of.

pub mod pki;
pub mod tars;

use annex_bundle::{
    Denylist, Discard, Limits, PublicKey, PublishPolicy, Refusal, SigningKey, TrustBundle, Unpacked,
    Verified, pack_files, sign, verify_at_publish,
};
use jiff::Timestamp;

/// The first bytes of a component, and something more.
pub const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0 a component";

pub const MANIFEST: &str = r#"{
  "name": "com.example.hello",
  "publisher": "example.com",
  "version": "1.2.3",
  "capabilities": ["storage.kv", "log"],
  "ui": {"entry": "ui/index.html"}
}"#;

pub fn files() -> Vec<(&'static str, &'static [u8])> {
    vec![
        ("manifest.json", MANIFEST.as_bytes()),
        ("main.wasm", COMPONENT),
        ("ui/index.html", b"<!doctype html><title>hello</title>"),
        ("ui/assets/app.js", b"'use strict'"),
    ]
}

/// A file of the folder `fixtures`.
pub fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

pub fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The time that it is in tests.
pub fn now() -> Timestamp {
    time("2026-11-03T12:00:00Z")
}

/// An archive and what is known of it.
pub struct Bundle {
    pub archive: Vec<u8>,
    pub unpacked: Unpacked,
}

pub fn bundle() -> Bundle {
    bundle_of(&files())
}

pub fn bundle_of(files: &[(&str, &[u8])]) -> Bundle {
    let mut archive = Vec::new();
    let unpacked = pack_files(files.iter().copied(), &Limits::default(), &mut archive).unwrap();
    Bundle { archive, unpacked }
}

/// The bundle, published as somebody else.
pub fn bundle_by(publisher: &str) -> Bundle {
    let manifest = MANIFEST.replace("example.com", publisher);
    let mut files = files();
    files[0].1 = manifest.as_bytes();
    bundle_of(&files)
}

/// The bundle, with a schema for its parameters.
pub fn bundle_with_schema(schema: &serde_json::Value) -> Bundle {
    let mut manifest: serde_json::Value = serde_json::from_str(MANIFEST).unwrap();
    manifest["parametersSchema"] = schema.clone();
    let manifest = manifest.to_string();
    let mut files = files();
    files[0].1 = manifest.as_bytes();
    bundle_of(&files)
}

impl Bundle {
    pub fn signed(&self, key: &SigningKey) -> Vec<u8> {
        sign(&self.unpacked, key, &[], now()).unwrap()
    }
}

pub fn key() -> SigningKey {
    SigningKey::generate(annex_bundle::KeyType::Ed25519).unwrap()
}

/// A trust bundle with one key, for `publishers`.
pub fn pinned(key: &PublicKey, publishers: &[&str]) -> TrustBundle {
    let lines: String =
        publishers.iter().map(|publisher| format!("# annex-publisher: {publisher}\n")).collect();
    TrustBundle::parse(format!("{lines}{}", key.to_pem()).as_bytes()).unwrap()
}

pub fn trusted(key: &SigningKey) -> TrustBundle {
    pinned(key.public_key(), &["example.com"])
}

pub fn publish_with(
    archive: &[u8],
    signature: &[u8],
    trust: &TrustBundle,
    denylist: &Denylist,
    now: Timestamp,
) -> Result<Verified, Refusal> {
    let policy = PublishPolicy { trust, denylist, now, limits: &Limits::default() };
    verify_at_publish(archive, Some(signature), &policy, Discard)
}

pub fn publish(archive: &[u8], signature: &[u8], trust: &TrustBundle) -> Result<Verified, Refusal> {
    publish_with(archive, signature, trust, &Denylist::default(), now())
}

/// The code of a refusal, or what was accepted against all expectation.
pub fn code<T: std::fmt::Debug>(verdict: Result<T, Refusal>) -> &'static str {
    verdict.expect_err("it was accepted").code()
}

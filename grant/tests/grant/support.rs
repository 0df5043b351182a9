//! A ring, and a grant of it.

use std::time::Duration;

use annex_core::ContentHash;
use annex_grant::{
    Audience, BodyDigest, Capabilities, Expected, Grant, KeyRing, Limits, Nonce, Refusal, ReplayGuard,
    UnixMillis,
};

pub const SECRET: &str = "0123456789abcdef0123456789abcdef-secret-one";
pub const OTHER: &str = "0123456789abcdef0123456789abcdef-secret-two";
pub const BODY: &[u8] = br#"{"context":{}}"#;
pub const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
pub const LIFE: Duration = Duration::from_secs(30);
pub const SKEW: Duration = Duration::from_secs(5);

pub fn files(files: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
}

pub fn ring(of: &[(&str, &str)]) -> KeyRing {
    KeyRing::parse(&files(of)).unwrap()
}

pub fn audience() -> Audience {
    "direct".parse().unwrap()
}

pub fn grant() -> Grant {
    Grant {
        audience: audience(),
        tenant: "acme".parse().unwrap(),
        install: "6f1c2a1e-6a53-4a8e-9b7e-0d8a4f4d3c11".parse().unwrap(),
        extension: "com.example.hello".parse().unwrap(),
        content: ContentHash::from_sha256([10; 32]),
        capabilities: Capabilities::of(["storage.kv", "log", "secrets"]).unwrap(),
        limits: Limits { timeout_ms: 10_000, memory_mb: 64, fuel: None },
        nonce: Nonce([7; 16]),
        issued: NOW,
        expires: NOW.after(LIFE),
        body: BodyDigest::of(BODY),
    }
}

pub fn at(now: UnixMillis, audience: &Audience) -> Expected<'_> {
    Expected { audience, now, skew: SKEW }
}

pub fn admit(token: &str, body: &[u8], keys: &KeyRing, now: UnixMillis) -> Result<Grant, Refusal> {
    annex_grant::admit(token, body, keys, at(now, &audience()), &ReplayGuard::new(10))
}

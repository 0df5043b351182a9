//! What is loaded, long after it was published.

use annex_bundle::{
    Denylist, Discard, Limits, LoadPolicy, Loaded, PublicKey, Refusal, RegistryKey, RegistryKeys, SigningKey,
    TrustBundle, issue_receipt, sign, verify_at_load,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::date_time_ymd;
use serde_json::{Value, json};

use crate::support::pki::{authority, chain, leaf, root};
use crate::support::{
    Bundle, bundle, bundle_by, bundle_with_schema, code, key, now, pinned, publish, publish_with, time,
    trusted,
};

/// A bundle that was published.
struct Published {
    bundle: Bundle,
    signature: Vec<u8>,
    receipt: Vec<u8>,
    trust: TrustBundle,
    registry: SigningKey,
}

fn published() -> Published {
    published_by(&key(), bundle())
}

fn published_by(signer: &SigningKey, bundle: Bundle) -> Published {
    let trust = pinned(signer.public_key(), &["*"]);
    let signature = bundle.signed(signer);
    let registry = key();
    let verified = publish(&bundle.archive, &signature, &trust).unwrap();
    let receipt = issue_receipt(&verified, &registry).unwrap();
    Published { bundle, signature, receipt, trust, registry }
}

fn keys(key: &PublicKey) -> RegistryKeys {
    RegistryKeys::new(vec![RegistryKey::new(
        key.clone(),
        time("2026-01-01T00:00:00Z"),
        Some(time("2026-12-31T00:00:00Z")),
    )])
}

impl Published {
    fn load(&self) -> Result<Loaded, Refusal> {
        self.load_with(&keys(self.registry.public_key()), &Denylist::default())
    }

    fn load_with(&self, registry_keys: &RegistryKeys, denylist: &Denylist) -> Result<Loaded, Refusal> {
        let policy = LoadPolicy { trust: &self.trust, registry_keys, denylist, limits: &Limits::default() };
        verify_at_load(
            self.bundle.archive.as_slice(),
            Some(&self.signature),
            Some(&self.receipt),
            &policy,
            Discard,
        )
    }

    /// The receipt, with something changed, and signed anew by the registry.
    fn with_receipt(mut self, change: impl FnOnce(&mut Value)) -> Self {
        let mut envelope: Value = serde_json::from_slice(&self.receipt).unwrap();
        let mut receipt: Value =
            serde_json::from_slice(&STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap()).unwrap();
        change(&mut receipt);
        let payload = serde_json::to_vec(&receipt).unwrap();
        let kind = envelope["payloadType"].as_str().unwrap();
        let head = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len());
        let signature = self.registry.sign(&[head.as_bytes(), &payload].concat()).unwrap();
        envelope["payload"] = json!(STANDARD.encode(payload));
        envelope["signatures"][0]["sig"] = json!(STANDARD.encode(signature));
        self.receipt = serde_json::to_vec(&envelope).unwrap();
        self
    }
}

#[test]
fn what_was_published_is_loaded() {
    let published = published();
    let loaded = published.load().unwrap();
    assert_eq!(loaded.verified.unpacked, published.bundle.unpacked);
    assert_eq!(loaded.receipt.published_at, now());
    assert_eq!(loaded.receipt.publisher.as_str(), "example.com");
}

#[test]
fn what_was_published_before_its_schema_was_asked_for_is_loaded() {
    let (publisher, bundle) = (key(), bundle_with_schema(&json!({"type": "text"})));
    let signature = bundle.signed(&publisher);
    let published = Published { signature, bundle, ..published_by(&publisher, self::bundle()) };
    assert_eq!(
        code(publish(&published.bundle.archive, &published.signature, &published.trust)),
        "ParametersSchemaInvalid"
    );
    let content = published.bundle.unpacked.content_hash.to_string();
    let archive = published.bundle.unpacked.archive.to_string();
    let digest = annex_bundle::SignatureDigest::of(&published.signature).to_string();
    let published = published.with_receipt(|receipt| {
        receipt["contentHash"] = json!(content);
        receipt["archive"] = json!(archive);
        receipt["signature"] = json!(digest);
    });
    assert_eq!(published.load().unwrap().verified.unpacked, published.bundle.unpacked);
}

#[test]
fn certificates_expire_installs_do_not() {
    let root = root(authority("root", None));
    let mut params = leaf(&["example.com"]);
    params.not_before = date_time_ymd(2026, 11, 1);
    params.not_after = date_time_ymd(2026, 11, 30);
    let signer = root.issue(params);
    let trust = root.trusted(&[]);
    let bundle = bundle();
    let signature = sign(&bundle.unpacked, &signer.signing_key(), &chain(&[&signer]), now()).unwrap();
    let none = Denylist::default();
    let verified = publish_with(&bundle.archive, &signature, &trust, &none, now()).unwrap();
    let registry = key();
    let receipt = issue_receipt(&verified, &registry).unwrap();

    let later = time("2030-01-01T00:00:00Z");
    assert_eq!(code(publish_with(&bundle.archive, &signature, &trust, &none, later)), "ChainExpired");
    // Loading has no clock: it asks for the time of the receipt, and always will.
    let published = Published { bundle, signature, receipt, trust, registry };
    assert!(published.load().is_ok());

    // Who moves the receipt's date to when the chain was not valid gains nothing.
    let moved = published.with_receipt(|receipt| receipt["publishedAt"] = json!("2026-12-24T00:00:00Z"));
    assert_eq!(code(moved.load()), "ChainExpired");
}

#[test]
fn nothing_is_loaded_without_both_signatures() {
    let published = published();
    let keys = keys(published.registry.public_key());
    let policy = LoadPolicy {
        trust: &published.trust,
        registry_keys: &keys,
        denylist: &Denylist::default(),
        limits: &Limits::default(),
    };
    let archive = published.bundle.archive.as_slice();
    let load = |signature, receipt| code(verify_at_load(archive, signature, receipt, &policy, Discard));
    assert_eq!(load(None, Some(&published.receipt)), "Unsigned");
    assert_eq!(load(Some(b""), Some(&published.receipt)), "Unsigned");
    assert_eq!(load(Some(&published.signature), None), "NoReceipt");
    assert_eq!(load(Some(&published.signature), Some(b"")), "NoReceipt");
    assert_eq!(load(Some(&published.signature), Some(b"{}")), "ReceiptInvalid");
    // One is not the other, whoever signed it.
    assert_eq!(load(Some(&published.signature), Some(&published.signature)), "UntrustedReceipt");
    assert_eq!(load(Some(&published.receipt), Some(&published.receipt)), "WrongPayloadType");
}

#[test]
fn the_registrys_key_alone_makes_no_bundle() {
    let published = published();
    let stolen = SigningKey::from_pem(published.registry.to_pem().as_bytes()).unwrap();
    let forged = published_by(&stolen, bundle());
    let registry_keys = keys(stolen.public_key());
    // The forger is their own publisher and their own registry, but the runner's trust bundle is the runner's.
    let receipt = {
        let verified = publish(&forged.bundle.archive, &forged.signature, &forged.trust).unwrap();
        issue_receipt(&verified, &stolen).unwrap()
    };
    let forged = Published { receipt, trust: published.trust, ..forged };
    assert_eq!(code(forged.load_with(&registry_keys, &Denylist::default())), "UntrustedSigner");
}

#[test]
fn a_receipt_counts_by_a_key_that_the_registry_had_then() {
    let published = published();
    let none = Denylist::default();
    assert_eq!(code(published.load_with(&keys(key().public_key()), &none)), "UntrustedReceipt");
    assert_eq!(code(published.load_with(&RegistryKeys::default(), &none)), "UntrustedReceipt");
    let from = |from: &str, to: Option<&str>| {
        RegistryKeys::new(vec![
            RegistryKey::new(key().public_key().clone(), time("2020-01-01T00:00:00Z"), None),
            RegistryKey::new(published.registry.public_key().clone(), time(from), to.map(time)),
        ])
    };
    let rotated = from("2026-01-01T00:00:00Z", Some("2026-11-03T12:00:00Z"));
    assert!(published.load_with(&rotated, &none).is_ok(), "a key that was rotated out since");
    let before = from("2026-01-01T00:00:00Z", Some("2026-11-03T11:59:59Z"));
    assert_eq!(code(published.load_with(&before, &none)), "ReceiptKeyNotValid");
    let after = from("2026-11-03T12:00:01Z", None);
    assert_eq!(code(published.load_with(&after, &none)), "ReceiptKeyNotValid");
}

#[test]
fn a_receipt_is_for_one_bundle_and_one_signature() {
    let signer = key();
    let one = published_by(&signer, bundle());
    let other = published_by(&signer, bundle_by("example.org"));
    let swapped = Published { receipt: other.receipt, registry: other.registry, ..one };
    assert_eq!(code(swapped.load()), "ReceiptMismatch");

    // The same bundle, signed once more: the receipt is for the signature that was verified.
    let mut again = published_by(&signer, bundle());
    again.signature = sign(&again.bundle.unpacked, &signer, &[], time("2026-11-01T00:00:00Z")).unwrap();
    assert_eq!(code(again.load()), "ReceiptMismatch");

    let digest = format!("sha256:{}", "0".repeat(64));
    for (field, value, expected) in [
        ("signature", digest.as_str(), "ReceiptMismatch"),
        ("contentHash", &digest, "ReceiptMismatch"),
        ("archive", &digest, "ReceiptMismatch"),
        ("name", "com.example.other", "ReceiptMismatch"),
        ("version", "9.9.9", "ReceiptMismatch"),
        ("publisher", "example.net", "ReceiptMismatch"),
        ("keyId", &digest, "UntrustedSigner"),
        ("publishedAt", "soon", "ReceiptInvalid"),
        ("extra", "", "ReceiptInvalid"),
    ] {
        let lie = published_by(&signer, bundle()).with_receipt(|receipt| receipt[field] = json!(value));
        assert_eq!(code(lie.load()), expected, "{field}");
    }
    assert!(published_by(&signer, bundle()).with_receipt(|_| {}).load().is_ok());
}

#[test]
fn a_receipt_that_was_changed_is_refused() {
    let mut published = published();
    let mut envelope: Value = serde_json::from_slice(&published.receipt).unwrap();
    let payload = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
    let payload = String::from_utf8(payload).unwrap().replace("12:00:00Z", "12:00:01Z");
    envelope["payload"] = json!(STANDARD.encode(payload));
    published.receipt = serde_json::to_vec(&envelope).unwrap();
    assert_eq!(code(published.load()), "ReceiptSignatureInvalid");
}

#[test]
fn bytes_that_were_changed_in_the_store_are_not_loaded() {
    let mut published = published();
    let original = published.bundle.archive.clone();
    for at in (0..original.len() * 8).step_by(7) {
        published.bundle.archive = original.clone();
        published.bundle.archive[at / 8] ^= 1 << (at % 8);
        assert!(published.load().is_err(), "bit {at}");
    }
    // A whole other bundle, unsigned, put in its place.
    published.bundle.archive = bundle_by("example.org").archive;
    assert_eq!(code(published.load()), "DigestMismatch");
}

#[test]
fn what_is_denied_is_not_loaded() {
    let signer = key();
    let published = published_by(&signer, bundle());
    let registry_keys = keys(published.registry.public_key());
    for line in [
        format!("content {}", published.bundle.unpacked.content_hash),
        format!("archive {}", published.bundle.unpacked.archive),
        format!("key {}", signer.id()),
        format!("key {}", published.registry.id()),
        "publisher example.com".to_owned(),
    ] {
        let denylist = Denylist::parse(line.as_bytes()).unwrap();
        assert_eq!(code(published.load_with(&registry_keys, &denylist)), "Denied", "{line}");
    }
}

#[test]
fn whom_nobody_trusts_any_more_is_not_loaded() {
    let mut published = published();
    published.trust = trusted(&key());
    assert_eq!(code(published.load()), "UntrustedSigner");
}

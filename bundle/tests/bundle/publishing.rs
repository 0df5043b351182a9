//! What is published, and what is not.

use annex_bundle::{
    Denylist, Discard, KeyType, Limits, PublishPolicy, SigningKey, TrustBundle, check_signature, cosign,
    sign, verify_at_publish,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::tars::{tar, with, zstd};
use crate::support::{
    MANIFEST, bundle, bundle_by, bundle_of, bundle_with_schema, code, files, key, now, pinned, publish,
    publish_with, time, trusted,
};

/// The signature file with something changed.
fn changed(signature: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut json = serde_json::from_slice(signature).unwrap();
    change(&mut json);
    serde_json::to_vec(&json).unwrap()
}

/// The signed statement.
fn statement(signature: &[u8]) -> Value {
    let json: Value = serde_json::from_slice(signature).unwrap();
    serde_json::from_slice(&STANDARD.decode(json["payload"].as_str().unwrap()).unwrap()).unwrap()
}

/// A signature by `key` over whatever statement.
fn signed_statement(key: &SigningKey, payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    let signature = key.sign(&[head.as_bytes(), payload].concat()).unwrap();
    let signatures = json!([{"keyid": key.id().to_string(), "sig": STANDARD.encode(signature)}]);
    serde_json::to_vec(&json!({
        "payloadType": payload_type, "payload": STANDARD.encode(payload), "signatures": signatures
    }))
    .unwrap()
}

const STATEMENT_TYPE: &str = "application/vnd.annex.bundle.statement.v1+json";

/// A true statement, with something changed before it is signed.
fn lie(key: &SigningKey, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut statement = statement(&bundle().signed(key));
    change(&mut statement);
    signed_statement(key, STATEMENT_TYPE, &serde_json::to_vec(&statement).unwrap())
}

#[test]
fn what_a_trusted_key_signed_is_published() {
    for kind in [KeyType::Ed25519, KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Rsa3072] {
        let key = SigningKey::generate(kind).unwrap();
        let bundle = bundle();
        let verified = publish(&bundle.archive, &bundle.signed(&key), &trusted(&key)).unwrap();
        assert_eq!(verified.unpacked, bundle.unpacked);
        assert_eq!(verified.signer.key, key.id());
        assert_eq!(verified.signer.anchor, None);
        assert_eq!(verified.statement.signed_at, now());
    }
}

#[test]
fn the_statement_says_all_that_the_contract_asks_for() {
    let bundle = bundle();
    assert_eq!(
        statement(&bundle.signed(&key())),
        json!({
            "contentHash": bundle.unpacked.content_hash.to_string(),
            "archive": {
                "digest": bundle.unpacked.archive.to_string(),
                "size": bundle.archive.len(),
                "mediaType": "application/vnd.annex.bundle.v1.tar+zstd"
            },
            "name": "com.example.hello",
            "version": "1.2.3",
            "publisher": "example.com",
            "capabilities": ["log", "storage.kv"],
            "signedAt": "2026-11-03T12:00:00Z"
        })
    );
}

#[test]
fn without_a_signature_nothing_is_published() {
    let key = key();
    let bundle = bundle();
    let trust = trusted(&key);
    let policy = PublishPolicy {
        trust: &trust,
        denylist: &Denylist::default(),
        now: now(),
        limits: &Limits::default(),
    };
    for signature in [None, Some(b"".as_slice())] {
        assert_eq!(
            code(verify_at_publish(bundle.archive.as_slice(), signature, &policy, Discard)),
            "Unsigned"
        );
    }
    let none = changed(&bundle.signed(&key), |json| json["signatures"] = json!([]));
    assert_eq!(code(publish(&bundle.archive, &none, &trust)), "Unsigned");
}

#[test]
fn what_nobody_signed_is_not_even_read() {
    struct Untouchable;
    impl std::io::Read for Untouchable {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            panic!("it was read")
        }
    }
    let trust = TrustBundle::default();
    let policy = PublishPolicy {
        trust: &trust,
        denylist: &Denylist::default(),
        now: now(),
        limits: &Limits::default(),
    };
    let signature = bundle().signed(&key());
    assert_eq!(code(verify_at_publish(Untouchable, Some(&signature), &policy, Discard)), "UntrustedSigner");
}

#[test]
fn without_a_trust_bundle_nothing_verifies() {
    let bundle = bundle();
    let signature = bundle.signed(&key());
    assert_eq!(code(publish(&bundle.archive, &signature, &TrustBundle::default())), "UntrustedSigner");
    assert_eq!(code(publish(&bundle.archive, &signature, &trusted(&key()))), "UntrustedSigner");
}

#[test]
fn a_signature_of_another_bundle_does_not_fit() {
    let key = key();
    let one = bundle();
    let mut files = files();
    files[2].1 = b"something else";
    let other = bundle_of(&files);
    assert_eq!(code(publish(&one.archive, &other.signed(&key), &trusted(&key))), "DigestMismatch");
    assert_eq!(code(publish(&other.archive, &one.signed(&key), &trusted(&key))), "DigestMismatch");
}

#[test]
fn the_signature_of_one_envelope_does_not_fit_another() {
    let key = key();
    let one = bundle();
    let other = bundle_by("example.org");
    let swapped = changed(&one.signed(&key), |json| {
        let other: Value = serde_json::from_slice(&other.signed(&key)).unwrap();
        json["signatures"] = other["signatures"].clone();
    });
    assert_eq!(code(publish(&one.archive, &swapped, &trusted(&key))), "SignatureInvalid");
}

#[test]
fn one_flipped_bit_anywhere_in_the_archive_is_refused() {
    let key = key();
    let bundle = bundle();
    let signature = bundle.signed(&key);
    let trust = trusted(&key);
    for at in 0..bundle.archive.len() * 8 {
        let mut archive = bundle.archive.clone();
        archive[at / 8] ^= 1 << (at % 8);
        assert!(publish(&archive, &signature, &trust).is_err(), "bit {at}");
    }
}

#[test]
fn one_flipped_bit_anywhere_in_the_signature_is_refused_or_means_nothing() {
    let key = key();
    let bundle = bundle();
    let signature = bundle.signed(&key);
    let trust = trusted(&key);
    let expected = publish(&bundle.archive, &signature, &trust).unwrap();
    for at in 0..signature.len() * 8 {
        let mut changed = signature.clone();
        changed[at / 8] ^= 1 << (at % 8);
        // The name of an optional field, or a space at the end: whatever it is, the same statement by the same signer.
        if let Ok(found) = publish(&bundle.archive, &changed, &trust) {
            assert_eq!(found.statement, expected.statement, "bit {at}");
            assert_eq!(found.signer, expected.signer, "bit {at}");
            assert_ne!(found.signature, expected.signature, "bit {at}");
        }
    }
}

#[test]
fn another_archive_of_the_same_content_is_not_what_was_signed() {
    let key = key();
    let bundle = bundle();
    let again = zstd(&tar(&with(Vec::new())));
    assert_eq!(code(publish(&again, &bundle.signed(&key), &trusted(&key))), "DigestMismatch");
}

#[test]
fn more_or_less_than_was_signed_is_refused() {
    let key = key();
    let bundle = bundle();
    let signature = bundle.signed(&key);
    let trust = trusted(&key);
    let more = [bundle.archive.as_slice(), b"x"].concat();
    assert_eq!(code(publish(&more, &signature, &trust)), "DigestMismatch");
    let less = &bundle.archive[..bundle.archive.len() - 1];
    assert_eq!(code(publish(less, &signature, &trust)), "Truncated");
}

#[test]
fn a_key_speaks_for_its_publisher_only() {
    let key = key();
    let theirs = bundle_by("example.org");
    let trust = trusted(&key);
    assert_eq!(code(publish(&theirs.archive, &theirs.signed(&key), &trust)), "PublisherMismatch");
    let both = pinned(key.public_key(), &["example.com", "example.org"]);
    assert!(publish(&theirs.archive, &theirs.signed(&key), &both).is_ok());
    let anyone = pinned(key.public_key(), &["*"]);
    assert!(publish(&theirs.archive, &theirs.signed(&key), &anyone).is_ok());
}

#[test]
fn the_same_digest_under_another_publisher_is_refused() {
    let attacker = key();
    let trust = pinned(attacker.public_key(), &["example.org"]);
    let bundle = bundle();
    // As it is, the attacker's key does not speak for its publisher.
    assert_eq!(code(publish(&bundle.archive, &bundle.signed(&attacker), &trust)), "PublisherMismatch");
    // And a statement of the attacker's own is not what the manifest says.
    let lie = lie(&attacker, |statement| statement["publisher"] = json!("example.org"));
    assert_eq!(code(publish(&bundle.archive, &lie, &trust)), "PublisherMismatch");
}

#[test]
fn a_statement_that_is_not_the_manifests_is_refused() {
    let key = key();
    let bundle = bundle();
    let trust = trusted(&key);
    let refused = |change: fn(&mut Value)| code(publish(&bundle.archive, &lie(&key, change), &trust));
    assert!(publish(&bundle.archive, &lie(&key, |_| {}), &trust).is_ok());
    assert_eq!(refused(|statement| statement["name"] = json!("com.example.other")), "ManifestMismatch");
    assert_eq!(refused(|statement| statement["version"] = json!("1.2.4")), "ManifestMismatch");
    assert_eq!(refused(|statement| statement["capabilities"] = json!([])), "ManifestMismatch");
    assert_eq!(
        refused(|statement| statement["capabilities"] = json!(["log", "secrets"])),
        "ManifestMismatch"
    );
    let digest = json!(format!("sha256:{}", "0".repeat(64)));
    let refused = |field: &str| {
        let lie = lie(&key, |statement| *statement.pointer_mut(field).unwrap() = digest.clone());
        code(publish(&bundle.archive, &lie, &trust))
    };
    assert_eq!(refused("/contentHash"), "DigestMismatch");
    assert_eq!(refused("/archive/digest"), "DigestMismatch");
    let larger = lie(&key, |statement| statement["archive"]["size"] = json!(bundle.archive.len() + 1));
    assert_eq!(code(publish(&bundle.archive, &larger, &trust)), "DigestMismatch");
    let smaller = lie(&key, |statement| statement["archive"]["size"] = json!(bundle.archive.len() - 1));
    assert_eq!(code(publish(&bundle.archive, &smaller, &trust)), "DigestMismatch");
}

#[test]
fn a_statement_that_is_none_is_refused() {
    let key = key();
    let bundle = bundle();
    let trust = trusted(&key);
    let refused = |signature: &[u8]| code(publish(&bundle.archive, signature, &trust));
    assert_eq!(refused(&lie(&key, |statement| statement["extra"] = json!(1))), "StatementInvalid");
    assert_eq!(
        refused(&lie(&key, |statement| statement["signedAt"] = json!("yesterday"))),
        "StatementInvalid"
    );
    assert_eq!(
        refused(&lie(&key, |statement| statement["archive"]["mediaType"] = json!("a/b"))),
        "StatementInvalid"
    );
    let twice = br#"{"contentHash":"","contentHash":""}"#;
    assert_eq!(refused(&signed_statement(&key, STATEMENT_TYPE, twice)), "StatementInvalid");
    // Signed by the right key, but for something else.
    let statement = serde_json::to_vec(&statement(&bundle.signed(&key))).unwrap();
    assert_eq!(
        refused(&signed_statement(&key, "application/vnd.in-toto+json", &statement)),
        "WrongPayloadType"
    );
    let other_type = changed(&bundle.signed(&key), |json| json["payloadType"] = json!("a/b"));
    assert_eq!(refused(&other_type), "WrongPayloadType");
    for no_envelope in [b"{}".as_slice(), b"[]", b"-----BEGIN", &[b'['; 100_000]] {
        assert_eq!(refused(no_envelope), "EnvelopeInvalid");
    }
}

#[test]
fn no_envelope_chooses_the_algorithm() {
    // A key of one type and a signature of another: what an "alg" field would have allowed.
    let ed25519 = key();
    let p256 = SigningKey::generate(KeyType::EcdsaP256).unwrap();
    let bundle = bundle();
    let disguised = changed(&bundle.signed(&p256), |json| {
        json["signatures"][0]["keyid"] = json!(ed25519.id().to_string());
        json["signatures"][0]["alg"] = json!("ES256");
    });
    assert_eq!(code(publish(&bundle.archive, &disguised, &trusted(&ed25519))), "SignatureInvalid");
}

#[test]
fn a_claim_from_the_future_is_refused() {
    let key = key();
    let bundle = bundle();
    let trust = trusted(&key);
    let at = |signed: &str| {
        let signature = sign(&bundle.unpacked, &key, &[], time(signed)).unwrap();
        publish(&bundle.archive, &signature, &trust)
    };
    assert!(at("2020-01-01T00:00:00Z").is_ok());
    assert!(at("2026-11-03T12:05:00Z").is_ok(), "clocks differ a little");
    assert_eq!(code(at("2026-11-03T12:05:01Z")), "SignedInFuture");
}

#[test]
fn one_good_signature_of_several_is_enough() {
    let (old, new, stranger) = (key(), key(), key());
    let bundle = bundle();
    let one = bundle.signed(&stranger);
    let two = cosign(&one, &bundle.unpacked, &old, &[]).unwrap();
    let three = cosign(&two, &bundle.unpacked, &new, &[]).unwrap();
    for trust in [trusted(&old), trusted(&new)] {
        assert!(publish(&bundle.archive, &three, &trust).is_ok());
        assert_eq!(code(publish(&bundle.archive, &one, &trust)), "UntrustedSigner");
    }
    // A wrong one beside a good one does no harm, and by itself it is told rather than that the stranger is one.
    let wrong = changed(&two, |json| json["signatures"][1]["sig"] = json["signatures"][0]["sig"].clone());
    assert_eq!(code(publish(&bundle.archive, &wrong, &trusted(&old))), "SignatureInvalid");
    let beside = cosign(&wrong, &bundle.unpacked, &new, &[]).unwrap();
    assert!(publish(&bundle.archive, &beside, &trusted(&new)).is_ok());

    assert_eq!(cosign(&three, &bundle.unpacked, &new, &[]).unwrap_err().code(), "SignedAlready");
    assert_eq!(
        cosign(&three, &bundle_by("example.org").unpacked, &key(), &[]).unwrap_err().code(),
        "OtherBundle"
    );
    let mut full = bundle.signed(&key());
    for _ in 1..8 {
        full = cosign(&full, &bundle.unpacked, &key(), &[]).unwrap();
    }
    assert_eq!(cosign(&full, &bundle.unpacked, &key(), &[]).unwrap_err().code(), "SignatureTooLarge");
}

#[test]
fn what_is_denied_is_not_published() {
    let key = key();
    let bundle = bundle();
    let signature = bundle.signed(&key);
    let trust = trusted(&key);
    let with = |line: String| {
        let denylist = Denylist::parse(line.as_bytes()).unwrap();
        publish_with(&bundle.archive, &signature, &trust, &denylist, now())
    };
    for line in [
        format!("content {}", bundle.unpacked.content_hash),
        format!("archive {}", bundle.unpacked.archive),
        format!("key {}", key.id()),
        "publisher example.com".to_owned(),
    ] {
        assert_eq!(code(with(line.clone())), "Denied", "{line}");
    }
    for line in [
        format!("archive {}", bundle.unpacked.content_hash),
        format!("content {}", bundle.unpacked.archive),
        format!("certificate {}", key.id()),
        "publisher example.org".to_owned(),
    ] {
        assert!(with(line.clone()).is_ok(), "{line}");
    }
}

#[test]
fn a_denied_key_does_not_spoil_the_signature_of_another() {
    let (stolen, new) = (key(), key());
    let bundle = bundle();
    let signature = cosign(&bundle.signed(&stolen), &bundle.unpacked, &new, &[]).unwrap();
    let denylist = Denylist::parse(format!("key {}", stolen.id()).as_bytes()).unwrap();
    let both = TrustBundle::parse(
        format!(
            "# annex-publisher: example.com\n{}# annex-publisher: example.com\n{}",
            stolen.public_key().to_pem(),
            new.public_key().to_pem()
        )
        .as_bytes(),
    )
    .unwrap();
    let verified = publish_with(&bundle.archive, &signature, &both, &denylist, now()).unwrap();
    assert_eq!(verified.signer.key, new.id());
    assert_eq!(
        code(publish_with(&bundle.archive, &bundle.signed(&stolen), &both, &denylist, now())),
        "Denied"
    );
}

#[test]
fn trust_can_be_asked_for_again_without_the_bytes() {
    let key = key();
    let bundle = bundle();
    let signature = bundle.signed(&key);
    let none = Denylist::default();
    let signed = check_signature(Some(&signature), &trusted(&key), &none, now()).unwrap();
    assert_eq!(signed.statement.content_hash, bundle.unpacked.content_hash);
    assert_eq!(
        code(check_signature(Some(&signature), &TrustBundle::default(), &none, now())),
        "UntrustedSigner"
    );
    let denylist = Denylist::parse(format!("content {}", bundle.unpacked.content_hash).as_bytes()).unwrap();
    assert_eq!(code(check_signature(Some(&signature), &trusted(&key), &denylist, now())), "Denied");
}

#[test]
fn a_bundle_that_is_none_is_refused_however_well_it_is_signed() {
    let key = key();
    let signature = bundle().signed(&key);
    let lie = |archive: &[u8]| {
        lie(&key, |statement| {
            statement["archive"]["size"] = json!(archive.len());
            statement["archive"]["digest"] = json!(annex_bundle::ArchiveDigest::of(archive).to_string());
        })
    };
    let mut entries = with(Vec::new());
    entries[0].content = MANIFEST.replace("1.2.3", "latest").into_bytes();
    let archive = zstd(&tar(&entries));
    assert_eq!(code(publish(&archive, &lie(&archive), &trusted(&key))), "InvalidField");
    assert!(signature.len() < 64 << 10);
}

#[test]
fn a_schema_that_no_parameters_can_be_checked_against_is_not_published() {
    let key = key();
    let verdict = |schema: &Value| {
        let bundle = bundle_with_schema(schema);
        publish(&bundle.archive, &bundle.signed(&key), &trusted(&key)).map(drop)
    };
    let full: Value = serde_json::from_str(include_str!("manifest.full.json")).unwrap();
    let recursive =
        json!({"$defs": {"a": {"additionalProperties": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"});
    for schema in [&json!({}), &full["parametersSchema"], &recursive] {
        assert!(verdict(schema).is_ok(), "{schema}");
    }
    for schema in [
        json!({"type": "text"}),
        json!({"$ref": "#/$defs/none"}),
        json!({"not": {"$id": "https://example.com/a"}}),
        json!({"allOf": [{"$ref": "#"}]}),
    ] {
        let refusal = verdict(&schema).unwrap_err();
        assert_eq!(refusal.code(), "ParametersSchemaInvalid", "{schema}");
        assert!(refusal.to_string().starts_with("parametersSchema of the manifest: "), "{refusal}");
    }
    // Who signed is asked before what.
    let bundle = bundle_with_schema(&json!({"type": "text"}));
    let signature = bundle.signed(&key);
    assert_eq!(code(publish(&bundle.archive, &signature, &TrustBundle::default())), "UntrustedSigner");
}

//! Keys as other programs write them.

use annex_bundle::{KeyKind, KeyType, PublicKey, SigningKey};

use crate::support::fixture;

#[test]
fn keys_of_openssl_are_read() {
    for (name, kind) in [
        ("ed25519", KeyKind::Ed25519),
        ("p256", KeyKind::EcdsaP256),
        ("p384", KeyKind::EcdsaP384),
        ("rsa3072", KeyKind::RsaPss { bits: 3072 }),
    ] {
        let private = SigningKey::from_pem(&fixture(&format!("{name}.key"))).unwrap();
        let public = PublicKey::from_pem(&fixture(&format!("{name}.pub.pem"))).unwrap();
        assert_eq!(private.public_key(), &public, "{name}");
        assert_eq!(public.kind(), kind);
        assert!(public.verifies(b"message", &private.sign(b"message").unwrap()));
        assert_eq!(public.to_pem().as_bytes(), fixture(&format!("{name}.pub.pem")));
    }
}

#[test]
fn a_key_that_needs_a_passphrase_is_refused_with_what_to_do() {
    for name in ["encrypted.key", "sec1-encrypted.key"] {
        let error = SigningKey::from_pem(&fixture(name)).unwrap_err();
        assert_eq!(error.code(), "EncryptedKey");
        assert!(error.to_string().contains("openssl pkcs8"), "{error}");
    }
}

#[test]
fn other_formats_are_refused_with_what_to_do() {
    for name in ["sec1.key", "pkcs1.key", "p256.pub.pem"] {
        let error = SigningKey::from_pem(&fixture(name)).unwrap_err();
        assert_eq!(error.code(), "KeyFormat", "{name}");
        assert!(error.to_string().contains("openssl pkcs8 -topk8"), "{error}");
    }
    assert_eq!(PublicKey::from_pem(&fixture("p256.key")).unwrap_err().code(), "KeyFormat");
    assert_eq!(PublicKey::from_pem(&fixture("rsa-root.pem")).unwrap_err().code(), "KeyFormat");
    assert_eq!(SigningKey::from_pem(b"").unwrap_err().code(), "NotOneKey");
    let two = [fixture("p256.key"), fixture("p384.key")].concat();
    assert_eq!(SigningKey::from_pem(&two).unwrap_err().code(), "NotOneKey");
    assert_eq!(SigningKey::from_pem(b"-----BEGIN PRIVATE KEY-----").unwrap_err().code(), "PemInvalid");
    let empty = b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----";
    assert_eq!(SigningKey::from_pem(empty).unwrap_err().code(), "MalformedKey");
}

#[test]
fn weak_and_unknown_types_are_refused() {
    for (name, code) in [
        ("rsa2048", "WeakKey"),
        ("rsa-exponent3", "WeakKey"),
        ("rsa-pss-only", "UnsupportedKey"),
        ("p521", "UnsupportedKey"),
    ] {
        assert_eq!(
            SigningKey::from_pem(&fixture(&format!("{name}.key"))).unwrap_err().code(),
            code,
            "{name}"
        );
        assert_eq!(
            PublicKey::from_pem(&fixture(&format!("{name}.pub.pem"))).unwrap_err().code(),
            code,
            "{name}"
        );
    }
}

#[test]
fn a_key_has_one_encoding() {
    let key = SigningKey::generate(KeyType::EcdsaP256).unwrap();
    let der = key.public_key().as_der();
    assert!(PublicKey::from_der(der).is_ok());
    assert_eq!(PublicKey::from_der(&[der, &[0]].concat()).unwrap_err().code(), "MalformedKey");
    // The point compressed: the same key under another id.
    let mut compressed = der[..27].to_vec();
    compressed.push(2 + (der[der.len() - 1] & 1));
    compressed.extend(&der[27..59]);
    compressed[1] = 0x39;
    compressed[24] = 0x22;
    assert_eq!(PublicKey::from_der(&compressed).unwrap_err().code(), "MalformedKey");
}

#[test]
fn no_error_says_anything_of_a_private_key() {
    let pem = String::from_utf8(fixture("p521.key")).unwrap();
    let error = SigningKey::from_pem(pem.as_bytes()).unwrap_err();
    let secret = pem.lines().nth(1).unwrap();
    assert!(!error.to_string().contains(&secret[..16]) && !format!("{error:?}").contains(&secret[..16]));
}

//! `keygen`, `sign` and `verify`.

use serde_json::Value;

use crate::support::{Publisher, run};

#[tokio::test]
async fn from_a_project_to_a_verdict() {
    let publisher = Publisher::signed().await;
    let verify = ["verify", "notes.tar.zst", "--trust", "my.key.pub"];
    let said = publisher.run(&verify).await.done();
    for line in [
        "verified\n",
        "  name          com.example.notes\n",
        "  version       0.1.0\n",
        "  publisher     example.com\n",
    ] {
        assert!(said.contains(line), "{said}");
    }
    assert!(said.contains("  content hash  sha256:") && said.contains("  capabilities  none\n"), "{said}");

    let json = publisher.run(&[verify.as_slice(), &["-o", "json"]].concat()).await.done();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["verified"], &json["name"]), (&true.into(), &"com.example.notes".into()));
    let yaml = publisher.run(&[verify.as_slice(), &["-o", "yaml"]].concat()).await.done();
    assert!(yaml.contains("verified: true\n") && yaml.contains("publisher: example.com\n"), "{yaml}");
}

#[tokio::test]
async fn each_refusal_has_its_code() {
    let publisher = Publisher::signed().await;
    let verify = ["verify", "notes.tar.zst", "--trust", "my.key.pub"];
    let (archive, signature) = (publisher.read("notes.tar.zst"), publisher.read("notes.tar.zst.sig"));

    publisher.run(&["keygen", "-o", "other.key", "--publisher", "example.com"]).await.done();
    publisher
        .run(&["verify", "notes.tar.zst", "--trust", "other.key.pub"])
        .await
        .refused(1, "UntrustedSigner: ");
    publisher.run(&["keygen", "-o", "unbound.key"]).await.done();
    publisher
        .run(&["verify", "notes.tar.zst", "--trust", "unbound.key.pub"])
        .await
        .refused(1, "TrustKeyUnbound: ");
    publisher.run(&["verify", "notes.tar.zst", "--trust", "my.key"]).await.refused(1, "TrustHasPrivateKey: ");
    let denied =
        String::from_utf8(publisher.read("my.key.pub")).unwrap().replace("example.com", "example.org");
    publisher.write("bound.pub", denied.as_bytes());
    publisher
        .run(&["verify", "notes.tar.zst", "--trust", "bound.pub"])
        .await
        .refused(1, "PublisherMismatch: ");
    publisher.write("denied.txt", b"publisher example.com\n");
    let denied = publisher.run(&[verify.as_slice(), &["--denylist", "denied.txt"]].concat()).await;
    denied.refused(1, "Denied: ");

    // One bit in the middle, and one byte more: whatever of it is noticed first, it is noticed.
    let mut tampered = archive.clone();
    let middle = tampered.len() / 2;
    tampered[middle] ^= 1;
    publisher.write("notes.tar.zst", &tampered);
    let ended = publisher.run(&verify).await;
    assert_eq!(ended.code, 1, "{}", ended.stdout);
    publisher.write("notes.tar.zst", &[archive.as_slice(), b"\0"].concat());
    publisher.run(&verify).await.refused(1, "DigestMismatch: ");
    publisher.write("notes.tar.zst", &archive[..archive.len() - 1]);
    publisher.run(&verify).await.refused(1, "");

    // Another bundle under this one's signature.
    publisher.write("notes/ui/app.js", b"other");
    publisher.bundle("notes.tar.zst").await.done();
    publisher.run(&verify).await.refused(1, "DigestMismatch: ");
    publisher.write("notes.tar.zst", &archive);
    publisher.run(&verify).await.done();

    publisher.write("notes.tar.zst.sig", &signature[1..]);
    publisher.run(&verify).await.refused(1, "EnvelopeInvalid: ");
    std::fs::remove_file(publisher.path("notes.tar.zst.sig")).unwrap();
    let json = publisher.run(&[verify.as_slice(), &["-o", "json"]].concat()).await;
    let refusal: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&refusal["verified"], &refusal["code"]), (&false.into(), &"Unsigned".into()));
    json.refused(1, "Unsigned: the bundle is not signed; kubectl annex sign notes.tar.zst --key KEY");
    publisher.run(&["verify", "gone.tar.zst", "--trust", "my.key.pub"]).await.refused(3, "gone.tar.zst");
    publisher.run(&["verify", "notes", "--trust", "my.key.pub"]).await.refused(2, "notes is a folder");
}

#[tokio::test]
async fn a_key_is_for_its_owner_and_never_overwritten() {
    let publisher = Publisher::new().await;
    let said = publisher.run(&["keygen", "-o", "my.key"]).await.done();
    let key = publisher.read("my.key");
    let secret = String::from_utf8(key.clone()).unwrap();
    assert!(!said.contains(secret.lines().nth(1).unwrap()), "{said}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = publisher.path("my.key").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    publisher.run(&["keygen", "-o", "my.key"]).await.refused(1, "my.key is there already");
    // Nor is the public half of a key that was moved away.
    std::fs::rename(publisher.path("my.key"), publisher.path("moved.key")).unwrap();
    publisher.run(&["keygen", "-o", "my.key"]).await.refused(1, "my.key.pub is there already");
    assert!(!publisher.path("my.key").exists());
    assert_eq!(publisher.read("moved.key"), key);
    publisher.run(&["keygen", "-o", "none/my.key"]).await.refused(3, "writing none/my.key failed");
}

#[tokio::test]
async fn every_algorithm_signs() {
    let publisher = Publisher::new().await;
    publisher.bundle("notes.tar.zst").await.done();
    for algorithm in ["ed25519", "ecdsa-p256", "ecdsa-p384"] {
        let key = format!("{algorithm}.key");
        let make = ["keygen", "-o", &key, "--publisher", "example.com", "--algorithm", algorithm];
        publisher.run(&make).await.done();
        publisher.run(&["sign", "notes.tar.zst", "--key", &key]).await.done();
        publisher.run(&["verify", "notes.tar.zst", "--trust", &format!("{key}.pub")]).await.done();
    }
    assert_eq!(run(&["keygen", "-o", "x", "--algorithm", "rsa-1024"]).await.code, 2);
}

#[tokio::test]
async fn sign_takes_bundles_and_keys_only_and_adds_where_it_is_told_to() {
    let publisher = Publisher::signed().await;
    publisher.run(&["keygen", "-o", "next.key", "--publisher", "example.com"]).await.done();
    let add = ["sign", "notes.tar.zst", "--key", "next.key", "--add"];
    publisher.run(&add).await.done();
    for trust in ["my.key.pub", "next.key.pub"] {
        publisher.run(&["verify", "notes.tar.zst", "--trust", trust]).await.done();
    }
    publisher.run(&add).await.refused(1, "SignedAlready: ");
    publisher.run(&["sign", "notes.tar.zst", "--key", "next.key"]).await.done();
    publisher
        .run(&["verify", "notes.tar.zst", "--trust", "my.key.pub"])
        .await
        .refused(1, "UntrustedSigner: ");

    publisher.run(&["sign", "done.wasm", "--key", "my.key"]).await.refused(1, "NotZstd: done.wasm: ");
    publisher
        .run(&["sign", "notes.tar.zst", "--key", "my.key.pub"])
        .await
        .refused(1, "KeyFormat: the key my.key.pub");
    publisher.run(&["sign", "notes.tar.zst", "--key", "gone"]).await.refused(3, "reading gone failed");
    publisher
        .run(&["sign", "notes.tar.zst", "--key", "my.key", "--cert", "my.key.pub"])
        .await
        .refused(1, "KeyFormat: the certificates");
    publisher.bundle("fresh.tar.zst").await.done();
    publisher.run(&["sign", "fresh.tar.zst", "--key", "my.key", "--add"]).await.refused(2, "leave --add out");
}

#[cfg(unix)]
#[tokio::test]
async fn a_key_that_others_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt as _;
    let publisher = Publisher::signed().await;
    std::fs::set_permissions(publisher.path("my.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let said = publisher.run(&["sign", "notes.tar.zst", "--key", "my.key"]).await.done();
    assert!(said.contains("Warning: others on this machine may read the key; chmod 600 my.key"), "{said}");
}

//! Trust bundles, and what is none.

use annex_bundle::{TrustBundle, TrustError};

use crate::support::pki::{authority, leaf, root};
use crate::support::{fixture, key};

fn refusal(text: &str) -> TrustError {
    TrustBundle::parse(text.as_bytes()).unwrap_err()
}

#[test]
fn nothing_in_it_trusts_nobody() {
    for text in ["", "\n\n", "# our signers, none yet\n"] {
        assert!(TrustBundle::parse(text.as_bytes()).unwrap().is_empty());
    }
}

#[test]
fn a_pinned_key_speaks_for_somebody() {
    let pem = key().public_key().to_pem();
    let error = refusal(&format!("# Example's key\n{pem}"));
    assert_eq!(error.code(), "TrustKeyUnbound");
    assert_eq!(
        error.to_string(),
        "line 2 of the trust bundle pins a key for nobody; write `# annex-publisher: example.com` above it"
    );
    for line in ["# annex-publisher: example.com", "#annex-publisher:example.com", "#  annex-publisher: *"] {
        assert!(!TrustBundle::parse(format!("{line}\n{pem}").as_bytes()).unwrap().is_empty(), "{line}");
    }
}

#[test]
fn a_line_counts_for_the_block_below_it_only() {
    let (one, two) = (key().public_key().to_pem(), key().public_key().to_pem());
    assert_eq!(refusal(&format!("# annex-publisher: example.com\n{one}{two}")).code(), "TrustKeyUnbound");
}

#[test]
fn a_misspelled_line_is_not_taken_for_a_comment() {
    let pem = root(authority("root", None)).pem;
    for line in [
        "# annex-publishers: example.com",
        "# annex-publisher example.com",
        "# annex-publisher:",
        "# annex-publisher: Example.com",
        "# annex-publisher: *.example.com",
        "# annex-publisher: example.com, example.org",
        "# annex-publisher: *\n# annex-publisher: example.com",
        "# annex-publisher: example.com\n# annex-publisher: *",
    ] {
        assert_eq!(refusal(&format!("{line}\n{pem}")).code(), "TrustDirectiveInvalid", "{line}");
    }
    assert_eq!(refusal(&format!("{pem}# annex-publisher: example.com\n")).code(), "TrustDirectiveInvalid");
}

#[test]
fn an_anchor_is_an_authority_for_signing_code() {
    let root = root(authority("root", None));
    assert!(refusal(&root.issue(leaf(&["example.com"])).pem).to_string().contains("pin the key"));
    let with = |change: fn(&mut rcgen::CertificateParams)| {
        let mut params = authority("root", None);
        change(&mut params);
        refusal(&crate::support::pki::root(params).pem).code()
    };
    assert_eq!(
        with(|params| params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature]),
        "TrustAnchorInvalid"
    );
    assert_eq!(
        with(|params| params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth]),
        "TrustAnchorInvalid"
    );
    let mut cut = root.pem.clone();
    cut.replace_range(30..94, "");
    assert!(matches!(refusal(&cut).code(), "TrustAnchorInvalid" | "TrustPemInvalid"));
}

#[test]
fn what_does_not_belong_there_refuses_all_of_it() {
    let good = root(authority("root", None)).pem;
    let text = |name: &str| format!("{good}{}", String::from_utf8(fixture(name)).unwrap());
    for name in ["p256.key", "encrypted.key", "sec1.key"] {
        assert_eq!(refusal(&text(name)).code(), "TrustHasPrivateKey", "{name}");
    }
    assert_eq!(
        refusal(&format!("{good}-----BEGIN X509 CRL-----\n-----END X509 CRL-----\n")).code(),
        "TrustUnknownBlock"
    );
    assert_eq!(
        refusal(&format!("# annex-publisher: *\n{}", String::from_utf8(fixture("rsa2048.pub.pem")).unwrap()))
            .code(),
        "TrustKeyInvalid"
    );
    assert_eq!(refusal(&format!("{good}{good}")).code(), "TrustRepeated");
    let key = format!("# annex-publisher: example.com\n{}", key().public_key().to_pem());
    assert_eq!(refusal(&format!("{key}{}", key.replace(".com", ".org"))).code(), "TrustRepeated");
    assert_eq!(refusal(&format!("{good}-----BEGIN CERTIFICATE-----\n")).code(), "TrustPemInvalid");
    assert_eq!(refusal(&" ".repeat((1 << 20) + 1)).code(), "TrustTooLarge");
}

//! Certificates, and what is wrong with them.

use annex_bundle::{Certificate, Denylist, SigningKey, TrustBundle, sign};
use rcgen::{
    BasicConstraints, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyUsagePurpose, NameConstraints,
    date_time_ymd,
};

use crate::support::pki::{Node, anchored, authority, chain, leaf, params, root, root_with};
use crate::support::{Bundle, bundle, bundle_by, code, fixture, now, publish_with, time};

struct Signing {
    bundle: Bundle,
    signature: Vec<u8>,
    at: &'static str,
}

const NOW: &str = "2026-11-03T12:00:00Z";

/// A bundle that the first of `nodes` signed; all of them come along.
fn signing(nodes: &[&Node]) -> Signing {
    signing_as(bundle(), nodes)
}

fn signing_as(bundle: Bundle, nodes: &[&Node]) -> Signing {
    let signature = sign(&bundle.unpacked, &nodes[0].signing_key(), &chain(nodes), now()).unwrap();
    Signing { bundle, signature, at: NOW }
}

impl Signing {
    fn verdict(&self, trust: &TrustBundle) -> Result<annex_bundle::Verified, annex_bundle::Refusal> {
        publish_with(&self.bundle.archive, &self.signature, trust, &Denylist::default(), time(self.at))
    }

    fn code(&self, trust: &TrustBundle) -> &'static str {
        code(self.verdict(trust))
    }
}

#[test]
fn a_chain_to_an_anchor_is_trusted() {
    for algorithm in [&rcgen::PKCS_ED25519, &rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384] {
        let root = root_with(authority("root", None), algorithm);
        let between = root.issue_with(authority("between", Some(0)), algorithm);
        let signer = between.issue_with(leaf(&["example.com"]), algorithm);
        let trust = root.trusted(&["example.com"]);
        let signing = signing(&[&signer, &between]);
        let verified = signing.verdict(&trust).unwrap();
        assert_eq!(verified.signer.anchor, Some(chain(&[&root])[0].fingerprint()));
        assert_eq!(verified.signer.certificate, Some(chain(&[&signer])[0].fingerprint()));
    }
}

#[test]
fn a_chain_to_nowhere_is_not() {
    let (root, stranger) = (root(authority("root", None)), root(authority("root", None)));
    let between = root.issue(authority("between", None));
    let signer = between.issue(leaf(&["example.com"]));
    // Another key under the anchor's name.
    assert_eq!(signing(&[&signer, &between]).code(&stranger.trusted(&["example.com"])), "ChainInvalid");
    // The link is missing.
    assert_eq!(signing(&[&signer]).code(&root.trusted(&["example.com"])), "UntrustedSigner");
    assert_eq!(signing(&[&signer, &between, &root]).code(&TrustBundle::default()), "UntrustedSigner");
    assert!(signing(&[&signer, &between]).verdict(&root.trusted(&["example.com"])).is_ok());
}

#[test]
fn a_chain_counts_only_while_it_is_valid() {
    let root = root(authority("root", None));
    let trust = root.trusted(&["example.com"]);
    let dated = |mut params: rcgen::CertificateParams, from: i32, to: i32| {
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        params
    };
    for (from, to, expected) in [(2024, 2025, "ChainExpired"), (2027, 2028, "ChainNotYetValid")] {
        let signer = root.issue(dated(leaf(&["example.com"]), from, to));
        assert_eq!(signing(&[&signer]).code(&trust), expected);
        let between = root.issue(dated(authority("between", None), from, to));
        let signer = between.issue(leaf(&["example.com"]));
        assert_eq!(signing(&[&signer, &between]).code(&trust), expected, "between");
    }
    // To the second.
    let signer = root.issue(dated(leaf(&["example.com"]), 2026, 2027));
    let signing = signing(&[&signer]);
    let at = |at: &str| {
        publish_with(&signing.bundle.archive, &signing.signature, &trust, &Denylist::default(), time(at))
    };
    assert!(at("2027-01-01T00:00:00Z").is_ok());
    assert_eq!(code(at("2027-01-01T00:00:01Z")), "ChainExpired");
}

#[test]
fn a_renewed_certificate_of_the_same_key_counts() {
    let root = root(authority("root", None));
    let mut old = leaf(&["example.com"]);
    old.not_before = date_time_ymd(2024, 1, 1);
    old.not_after = date_time_ymd(2025, 1, 1);
    let old = root.issue(old);
    let new = old.reissue(&root, leaf(&["example.com"]));
    assert!(signing(&[&old, &new]).verdict(&root.trusted(&["example.com"])).is_ok());
}

#[test]
fn a_certificate_that_is_not_for_signing_code_is_refused() {
    let root = root(authority("root", None));
    let trust = root.trusted(&["example.com"]);
    let with = |change: fn(&mut rcgen::CertificateParams)| {
        let mut params = leaf(&["example.com"]);
        change(&mut params);
        signing(&[&root.issue(params)]).code(&trust)
    };
    assert_eq!(with(|params| params.extended_key_usages.clear()), "WrongKeyUsage");
    assert_eq!(
        with(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
        "WrongKeyUsage"
    );
    assert_eq!(
        with(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any]),
        "WrongKeyUsage"
    );
    assert_eq!(with(|params| params.key_usages.clear()), "WrongKeyUsage");
    assert_eq!(with(|params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment]), "WrongKeyUsage");
    assert_eq!(with(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)), "WrongKeyUsage");
}

#[test]
fn an_authority_that_is_not_for_signing_code_is_refused() {
    let root = root(authority("root", None));
    let trust = root.trusted(&["example.com"]);
    let with = |change: fn(&mut rcgen::CertificateParams)| {
        let mut params = authority("between", None);
        change(&mut params);
        let between = root.issue(params);
        signing(&[&between.issue(leaf(&["example.com"])), &between]).code(&trust)
    };
    assert_eq!(
        with(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
        "WrongKeyUsage"
    );
    assert_eq!(with(|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]), "WrongKeyUsage");
    assert_eq!(with(|params| params.is_ca = IsCa::NoCa), "WrongKeyUsage");
}

#[test]
fn a_leaf_makes_no_leaves() {
    let root = root(authority("root", None));
    let honest = root.issue(leaf(&["example.org"]));
    let forged = honest.issue(leaf(&["example.com"]));
    assert_eq!(signing(&[&forged, &honest]).code(&root.trusted(&["example.com"])), "WrongKeyUsage");
}

#[test]
fn path_length_constraints_hold() {
    let root = root(authority("root", None));
    let narrow = root.issue(authority("narrow", Some(0)));
    let below = narrow.issue(authority("below", None));
    let signer = below.issue(leaf(&["example.com"]));
    let trust = root.trusted(&["example.com"]);
    assert_eq!(signing(&[&signer, &below, &narrow]).code(&trust), "ChainTooLong");
    assert!(signing(&[&narrow.issue(leaf(&["example.com"])), &narrow]).verdict(&trust).is_ok());
}

#[test]
fn the_anchors_own_path_length_constraint_holds() {
    // webpki does not look at it.
    let root = root(authority("root", Some(0)));
    let between = root.issue(authority("between", None));
    let trust = root.trusted(&["example.com"]);
    assert_eq!(signing(&[&between.issue(leaf(&["example.com"])), &between]).code(&trust), "ChainTooLong");
    assert!(signing(&[&root.issue(leaf(&["example.com"]))]).verdict(&trust).is_ok());
}

#[test]
fn name_constraints_hold() {
    let root = root(authority("root", None));
    let mut params = authority("between", None);
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName("example.org".to_owned())],
        excluded_subtrees: Vec::new(),
    });
    let between = root.issue(params);
    let signer = between.issue(leaf(&["example.com"]));
    assert_eq!(signing(&[&signer, &between]).code(&root.trusted(&["example.com"])), "ChainInvalid");
}

#[test]
fn a_leaf_speaks_for_whom_it_names() {
    let root = root(authority("root", None));
    let named = root.issue(leaf(&["example.com", "example.org"]));
    let nameless = root.issue(leaf(&[]));
    let wild = root.issue(leaf(&["*.com"]));
    let unbound = root.trusted(&[]);
    for publisher in ["example.com", "example.org"] {
        assert!(signing_as(bundle_by(publisher), &[&named]).verdict(&unbound).is_ok());
    }
    assert_eq!(signing_as(bundle_by("example.net"), &[&named]).code(&unbound), "PublisherMismatch");
    assert_eq!(signing(&[&nameless]).code(&unbound), "PublisherMismatch");
    assert_eq!(signing(&[&wild]).code(&unbound), "PublisherMismatch");

    // The anchor's publishers narrow that further.
    let bound = root.trusted(&["example.com"]);
    assert!(signing(&[&named]).verdict(&bound).is_ok());
    assert_eq!(signing_as(bundle_by("example.org"), &[&named]).code(&bound), "PublisherMismatch");
    assert!(signing(&[&nameless]).verdict(&bound).is_ok(), "an authority for one publisher need not name it");
    let other = root.issue(leaf(&["example.net"]));
    assert_eq!(signing(&[&other]).code(&bound), "PublisherMismatch", "but it may say that it means another");
    assert_eq!(
        signing(&[&nameless]).code(&root.trusted(&["example.com", "example.org"])),
        "PublisherMismatch"
    );
    assert!(signing(&[&nameless]).verdict(&root.trusted(&["*"])).is_ok());
}

#[test]
fn of_two_anchors_the_one_that_speaks_for_the_publisher_counts() {
    let (one, two) = (root(authority("one", None)), root(authority("two", None)));
    let signer = one.issue(leaf(&[]));
    let again = signer.reissue(&two, leaf(&[]));
    let text =
        format!("# annex-publisher: example.org\n{}\n# annex-publisher: example.com\n{}", one.pem, two.pem);
    let trust = TrustBundle::parse(text.as_bytes()).unwrap();
    for nodes in [[&signer, &again], [&again, &signer]] {
        let verified = signing(&nodes).verdict(&trust).unwrap();
        assert_eq!(verified.signer.anchor, Some(chain(&[&two])[0].fingerprint()));
    }
    assert_eq!(signing(&[&signer]).code(&trust), "PublisherMismatch");
}

#[test]
fn every_certificate_and_key_of_a_chain_can_be_denied() {
    let root = root(authority("root", None));
    let between = root.issue(authority("between", None));
    let signer = between.issue(leaf(&["example.com"]));
    let signing = signing(&[&signer, &between]);
    let trust = root.trusted(&["example.com"]);
    for certificate in chain(&[&root, &between, &signer]) {
        for line in
            [format!("certificate {}", certificate.fingerprint()), format!("key {}", certificate.key_id())]
        {
            let denylist = Denylist::parse(line.as_bytes()).unwrap();
            let verdict = publish_with(&signing.bundle.archive, &signing.signature, &trust, &denylist, now());
            assert_eq!(code(verdict), "Denied", "{line}");
        }
    }
}

/// The fixtures were made by a clock, and are valid for a hundred years from then.
const FIXTURES_VALID: &str = "2030-01-01T00:00:00Z";

/// A bundle that an RSA or ECDSA key of a fixture signed, with certificates of fixtures.
fn fixture_signing(key: &str, certificates: &[&str]) -> Signing {
    let key = SigningKey::from_pem(&fixture(key)).unwrap();
    fixture_signing_by(&key, certificates)
}

fn fixture_signing_by(key: &SigningKey, certificates: &[&str]) -> Signing {
    let pem: Vec<u8> = certificates.iter().flat_map(|name| fixture(name)).collect();
    let bundle = bundle();
    let certificates = Certificate::all_from_pem(&pem).unwrap();
    let signature = sign(&bundle.unpacked, key, &certificates, now()).unwrap();
    Signing { bundle, signature, at: FIXTURES_VALID }
}

fn fixture_trust(name: &str) -> TrustBundle {
    anchored(&String::from_utf8(fixture(name)).unwrap(), &["example.com"])
}

#[test]
fn rsa_pss_is_trusted_from_end_to_end() {
    let signing = fixture_signing("rsa3072.key", &["rsa-leaf.pem"]);
    assert!(signing.verdict(&fixture_trust("rsa-root.pem")).is_ok());
}

#[test]
fn a_certificate_signed_with_sha1_is_refused() {
    let signing = fixture_signing("p256.key", &["sha1-leaf.pem"]);
    assert_eq!(signing.code(&fixture_trust("p384-root.pem")), "WeakAlgorithm");
}

#[test]
fn a_certificate_signed_with_the_older_rsa_padding_is_refused() {
    let signing = fixture_signing("p256.key", &["pkcs1-leaf.pem"]);
    assert_eq!(signing.code(&fixture_trust("rsa-root.pem")), "WeakAlgorithm");
}

#[test]
fn weak_rsa_is_refused_wherever_it_is() {
    // As an anchor, already when the trust bundle is read.
    let error = TrustBundle::parse(&fixture("weak-root.pem")).unwrap_err();
    assert_eq!(error.code(), "TrustAnchorInvalid");
    assert!(error.to_string().contains("RSA with 2048 bits"), "{error}");
    // As the key that signs, already when it would sign.
    assert_eq!(SigningKey::from_pem(&fixture("rsa2048.key")).unwrap_err().code(), "WeakKey");
    // Between.
    let signing = fixture_signing("p256.key", &["weak-between-leaf.pem", "weak-between.pem"]);
    assert_eq!(signing.code(&fixture_trust("p384-root.pem")), "WeakKey");
}

#[test]
fn a_weak_rsa_leaf_is_refused_though_its_signature_holds() {
    // Made as no tool of ours makes it: the statement of a good key, under the id of the weak one.
    let honest = fixture_signing_by(&SigningKey::from_pem(&fixture("p256.key")).unwrap(), &[]);
    let weak = &Certificate::all_from_pem(&fixture("weak-leaf.pem")).unwrap()[0];
    let mut json: serde_json::Value = serde_json::from_slice(&honest.signature).unwrap();
    use base64::Engine as _;
    json["signatures"][0]["keyid"] = weak.key_id().to_string().into();
    json["certificates"] = vec![base64::engine::general_purpose::STANDARD.encode(weak.as_der())].into();
    let signing = Signing { signature: serde_json::to_vec(&json).unwrap(), ..honest };
    assert_eq!(signing.code(&fixture_trust("p384-root.pem")), "WeakKey");
}

#[test]
fn the_certificates_of_another_key_are_not_signed_along() {
    let root = root(authority("root", None));
    let (signer, other) = (root.issue(leaf(&[])), root.issue(params("other")));
    let refused = sign(&bundle().unpacked, &signer.signing_key(), &chain(&[&other]), now());
    assert_eq!(refused.unwrap_err().code(), "ForeignCertificate");
}

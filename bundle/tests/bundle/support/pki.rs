//! Certificates for tests.

use annex_bundle::{Certificate, SigningKey, TrustBundle};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// A certificate and its key.
pub struct Node {
    params: CertificateParams,
    key: KeyPair,
    pub pem: String,
}

/// What is asked of a certificate. The dates are 2026 and 2027 unless told otherwise.
pub fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2028, 1, 1);
    params
}

pub fn authority(name: &str, between: Option<u8>) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(between.map_or(BasicConstraints::Unconstrained, BasicConstraints::Constrained));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A signer's certificate, for these publishers.
pub fn leaf(publishers: &[&str]) -> CertificateParams {
    let mut params = params("signer");
    params.subject_alt_names =
        CertificateParams::new(publishers.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
            .unwrap()
            .subject_alt_names;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    params
}

pub fn root(params: CertificateParams) -> Node {
    root_with(params, &rcgen::PKCS_ECDSA_P256_SHA256)
}

pub fn root_with(params: CertificateParams, algorithm: &'static rcgen::SignatureAlgorithm) -> Node {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    Node { params, key, pem }
}

impl Node {
    pub fn issue(&self, params: CertificateParams) -> Node {
        self.issue_with(params, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    pub fn issue_with(
        &self,
        params: CertificateParams,
        algorithm: &'static rcgen::SignatureAlgorithm,
    ) -> Node {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let pem = params.signed_by(&key, &issuer).unwrap().pem();
        Node { params, key, pem }
    }

    /// Another certificate for the same key.
    pub fn reissue(&self, issuer: &Node, params: CertificateParams) -> Node {
        let key = KeyPair::from_pem(&self.key.serialize_pem()).unwrap();
        let by = Issuer::from_params(&issuer.params, &issuer.key);
        let pem = params.signed_by(&key, &by).unwrap().pem();
        Node { params, key, pem }
    }

    pub fn signing_key(&self) -> SigningKey {
        SigningKey::from_pem(self.key.serialize_pem().as_bytes()).unwrap()
    }

    /// A trust bundle with this as its anchor.
    pub fn trusted(&self, publishers: &[&str]) -> TrustBundle {
        anchored(&self.pem, publishers)
    }
}

pub fn anchored(pem: &str, publishers: &[&str]) -> TrustBundle {
    let lines: String =
        publishers.iter().map(|publisher| format!("# annex-publisher: {publisher}\n")).collect();
    TrustBundle::parse(format!("{lines}{pem}").as_bytes()).unwrap()
}

/// The certificates of these, as a signer hands them over.
pub fn chain(nodes: &[&Node]) -> Vec<Certificate> {
    let pem: String = nodes.iter().map(|node| node.pem.as_str()).collect();
    Certificate::all_from_pem(pem.as_bytes()).unwrap()
}

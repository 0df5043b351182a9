//! From a leaf to an anchor.

use std::cell::RefCell;

use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm};
use webpki::{EndEntityCert, Error, KeyUsage, VerifiedPath, ring};

use super::anchor::Anchor;
use super::bundle::TrustBundle;
use super::certificate::{Certificate, Facts};
use crate::denylist::{DeniedThing, Denylist};
use crate::digest::{Fingerprint, KeyId};
use crate::keys::{KeyError, PublicKey};
use crate::publisher::Publisher;
use crate::time::unix_time;

/// 1.3.6.1.5.5.7.3.3, as DER has it.
const CODE_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 3];

/// What certificates may be signed with: SHA-256 or better, RSA only as PSS. webpki's RSA begins at 2048 bits, so that each key is
/// looked at besides.
static ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    ring::ED25519,
    ring::ECDSA_P256_SHA256,
    ring::ECDSA_P256_SHA384,
    ring::ECDSA_P384_SHA256,
    ring::ECDSA_P384_SHA384,
    ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    ring::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    ring::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
];

/// Who is asked about, and when.
pub(crate) struct Chain<'a> {
    pub(crate) leaf: &'a Certificate,
    /// What came along; each may be a part of the chain.
    pub(crate) others: &'a [Certificate],
    pub(crate) publisher: &'a Publisher,
    pub(crate) at: Timestamp,
    pub(crate) trust: &'a TrustBundle,
    pub(crate) denylist: &'a Denylist,
}

/// Why a chain leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ChainRefusal {
    Untrusted,
    Expired,
    NotYetValid,
    WrongKeyUsage(&'static str),
    PathTooLong,
    WeakAlgorithm,
    Key(KeyError),
    Invalid(&'static str),
    OtherPublisher,
    Denied(DeniedThing),
}

/// The anchor that the leaf leads to, if it may sign code for the publisher at that time.
pub(crate) fn verify(chain: &Chain<'_>) -> Result<Fingerprint, ChainRefusal> {
    let leaf = chain.leaf.facts();
    chain.not_denied(leaf)?;
    if leaf.digital_signature != Some(true) {
        return Err(ChainRefusal::WrongKeyUsage(
            "the signer's certificate has no key usage digitalSignature",
        ));
    }
    if leaf.code_signing != Some(true) {
        return Err(ChainRefusal::WrongKeyUsage(
            "the signer's certificate has no extended key usage codeSigning",
        ));
    }
    let others: Vec<CertificateDer<'_>> =
        chain.others.iter().map(|certificate| certificate.as_webpki().clone()).collect();
    let anchors: Vec<_> = chain.trust.anchors().iter().map(|anchor| anchor.webpki.clone()).collect();
    let end_entity = EndEntityCert::try_from(chain.leaf.as_webpki()).map_err(|error| refusal_of(&error))?;

    // What webpki's error cannot say. Of several paths the last one refused counts; any other may still pass.
    let noted = RefCell::new(None);
    let judge = |path: &VerifiedPath<'_>| {
        chain.judge(path).map(drop).map_err(|refusal| {
            *noted.borrow_mut() = Some(refusal);
            Error::UnknownIssuer
        })
    };
    let path = end_entity.verify_for_usage(
        ALGORITHMS,
        &anchors,
        &others,
        unix_time(chain.at),
        // Not required, since CAs mostly have none; that the leaf has it was seen above.
        KeyUsage::required_if_present(CODE_SIGNING),
        None,
        Some(&judge),
    );
    match path {
        Ok(path) => chain.judge(&path).map(|anchor| anchor.fingerprint),
        Err(error) => Err(noted.take().unwrap_or_else(|| refusal_of(&error))),
    }
}

impl<'a> Chain<'a> {
    /// What webpki does not look at, on a path that it found good.
    fn judge(&self, path: &VerifiedPath<'_>) -> Result<&'a Anchor, ChainRefusal> {
        let mut between = 0_usize;
        for certificate in path.intermediate_certificates() {
            between += 1;
            let facts = Facts::read(&certificate.der())
                .map_err(|_| ChainRefusal::Invalid("a certificate is malformed"))?;
            self.not_denied(&facts)?;
            if facts.certificate_signing == Some(false) {
                let reason = "a certificate between has no key usage keyCertSign";
                return Err(ChainRefusal::WrongKeyUsage(reason));
            }
            PublicKey::from_der(&facts.public_key).map_err(ChainRefusal::Key)?;
        }
        let anchor = self.trust.anchors().iter().find(|anchor| anchor.webpki == *path.anchor());
        let anchor = anchor.ok_or(ChainRefusal::Untrusted)?;
        if self.denylist.has_certificate(&anchor.fingerprint) {
            return Err(ChainRefusal::Denied(DeniedThing::Certificate));
        }
        if self.denylist.has_key(&anchor.key) {
            return Err(ChainRefusal::Denied(DeniedThing::Key));
        }
        if anchor.path_length.is_some_and(|most| between > usize::from(most)) {
            return Err(ChainRefusal::PathTooLong);
        }
        if !anchor.binding.leaf_speaks_for(&self.leaf.facts().dns_names, self.publisher) {
            return Err(ChainRefusal::OtherPublisher);
        }
        Ok(anchor)
    }

    fn not_denied(&self, facts: &Facts) -> Result<(), ChainRefusal> {
        if self.denylist.has_certificate(&facts.fingerprint) {
            return Err(ChainRefusal::Denied(DeniedThing::Certificate));
        }
        if self.denylist.has_key(&KeyId::of(&facts.public_key)) {
            return Err(ChainRefusal::Denied(DeniedThing::Key));
        }
        Ok(())
    }
}

fn refusal_of(error: &Error) -> ChainRefusal {
    match error {
        Error::UnknownIssuer | Error::CertDistrusted => ChainRefusal::Untrusted,
        Error::CertExpired { .. } => ChainRefusal::Expired,
        Error::CertNotValidYet { .. } => ChainRefusal::NotYetValid,
        Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => ChainRefusal::WrongKeyUsage(
            "a certificate of the chain is not for signing code by its extended key usage",
        ),
        Error::EndEntityUsedAsCa => {
            ChainRefusal::WrongKeyUsage("a certificate between is no certificate authority")
        }
        Error::CaUsedAsEndEntity => {
            ChainRefusal::WrongKeyUsage("the signer's certificate is a certificate authority")
        }
        Error::PathLenConstraintViolated | Error::MaximumPathDepthExceeded => ChainRefusal::PathTooLong,
        Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => ChainRefusal::WeakAlgorithm,
        Error::InvalidSignatureForPublicKey => {
            ChainRefusal::Invalid("a certificate is not signed by its issuer")
        }
        Error::NameConstraintViolation => {
            ChainRefusal::Invalid("a certificate has a name that a certificate above it forbids")
        }
        Error::UnsupportedCriticalExtension => {
            ChainRefusal::Invalid("a certificate has a critical extension that is not understood")
        }
        Error::MaximumSignatureChecksExceeded
        | Error::MaximumPathBuildCallsExceeded
        | Error::MaximumNameConstraintComparisonsExceeded => {
            ChainRefusal::Invalid("there are too many ways to an anchor to try them all")
        }
        _ => ChainRefusal::Invalid("a certificate is malformed"),
    }
}

use rustls_pki_types::TrustAnchor;
use webpki::anchor_from_trusted_cert;

use super::binding::Binding;
use super::certificate::{Certificate, NoCertificate};
use crate::digest::{Fingerprint, KeyId};

/// A certificate authority that is trusted to say whose a key is.
#[derive(Debug, Clone)]
pub(crate) struct Anchor {
    pub(super) webpki: TrustAnchor<'static>,
    pub(super) fingerprint: Fingerprint,
    pub(super) key: KeyId,
    /// How many certificates may be between it and a leaf. webpki takes an anchor's word for everything and does not look.
    pub(super) path_length: Option<u8>,
    pub(super) binding: Binding,
}

impl Anchor {
    /// Takes a certificate as an anchor. Its own dates do not count: to end trust, take it out.
    pub(super) fn new(der: &[u8], binding: Binding) -> Result<Self, String> {
        let certificate = Certificate::from_der(der).map_err(|error: NoCertificate| error.to_string())?;
        let facts = certificate.facts();
        let Some(path_length) = facts.authority else {
            return Err(
                "is no certificate authority; pin the key of a single signer as PUBLIC KEY".to_owned()
            );
        };
        if facts.certificate_signing == Some(false) {
            return Err("may not sign certificates by its key usage".to_owned());
        }
        if facts.code_signing == Some(false) {
            return Err("is not for signing code by its extended key usage".to_owned());
        }
        let key = certificate.public_key().map_err(|error| format!("has a key that {error}"))?;
        let webpki = anchor_from_trusted_cert(certificate.as_webpki())
            .map_err(|_| "is no certificate that can be an anchor".to_owned())?
            .to_owned();
        Ok(Self { webpki, fingerprint: facts.fingerprint, key: key.id(), path_length, binding })
    }
}

impl Anchor {
    /// Whether a path cannot tell the two apart.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.webpki.subject == other.webpki.subject && self.key == other.key
    }
}

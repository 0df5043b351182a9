//! Whose signature it is.

use jiff::Timestamp;

use super::refusal::Refusal;
use crate::denylist::{DeniedThing, Denylist};
use crate::digest::{Fingerprint, KeyId};
use crate::keys::PublicKey;
use crate::publisher::Publisher;
use crate::signature::Envelope;
use crate::trust::{Chain, TrustBundle, verify_chain};

/// Who signed, and why they are trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Signer {
    /// The key that signed.
    pub key: KeyId,
    /// The certificate of the signer, where its key is not pinned.
    pub certificate: Option<Fingerprint>,
    /// The anchor that its certificate leads to, where its key is not pinned.
    pub anchor: Option<Fingerprint>,
}

/// What a signer is judged by.
pub(super) struct Judge<'a> {
    pub(super) trust: &'a TrustBundle,
    pub(super) denylist: &'a Denylist,
    pub(super) publisher: &'a Publisher,
    pub(super) at: Timestamp,
}

impl Judge<'_> {
    /// The first signature that counts. Where `only` is given, no other key's does.
    pub(super) fn find(&self, envelope: &Envelope, only: Option<KeyId>) -> Result<Signer, Refusal> {
        let message = envelope.signed_bytes();
        let mut furthest =
            if envelope.signatures.is_empty() { Refusal::Unsigned } else { Refusal::UntrustedSigner };
        for signature in &envelope.signatures {
            let Some(key) = signature.key.filter(|key| only.is_none_or(|only| only == *key)) else {
                continue;
            };
            match self.judge(envelope, key, &message, &signature.bytes) {
                Ok(signer) => return Ok(signer),
                Err(refusal) if refusal.progress() >= furthest.progress() => furthest = refusal,
                Err(_) => {}
            }
        }
        Err(furthest)
    }

    fn judge(
        &self,
        envelope: &Envelope,
        key: KeyId,
        message: &[u8],
        signature: &[u8],
    ) -> Result<Signer, Refusal> {
        let wrong = || Refusal::SignatureInvalid { key: key.to_string() };
        let is_signed = |by: &PublicKey| by.verifies(message, signature);
        if let Some(pinned) = self.trust.pinned(&key) {
            if self.denylist.has_key(&key) {
                return Err(Refusal::Denied(DeniedThing::Key));
            }
            if !is_signed(&pinned.key) {
                return Err(wrong());
            }
            if !pinned.speaks_for(self.publisher) {
                return Err(Refusal::PublisherMismatch { publisher: self.publisher.to_string() });
            }
            return Ok(Signer { key, certificate: None, anchor: None });
        }
        // Several certificates may be of one key: one that was renewed, or that two authorities gave.
        let mut furthest = Refusal::UntrustedSigner;
        for leaf in envelope.certificates.iter().filter(|certificate| certificate.key_id() == key) {
            let chain = Chain {
                leaf,
                others: &envelope.certificates,
                publisher: self.publisher,
                at: self.at,
                trust: self.trust,
                denylist: self.denylist,
            };
            let public = leaf.public_key().map_err(Refusal::Key)?;
            if !is_signed(&public) {
                return Err(wrong());
            }
            match verify_chain(&chain) {
                Ok(anchor) => {
                    return Ok(Signer { key, certificate: Some(leaf.fingerprint()), anchor: Some(anchor) });
                }
                Err(refusal) => {
                    let refusal = Refusal::of_chain(refusal, self.publisher);
                    if refusal.progress() >= furthest.progress() {
                        furthest = refusal;
                    }
                }
            }
        }
        Err(furthest)
    }
}

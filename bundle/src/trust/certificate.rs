//! Certificates, and of them what webpki does not look at.

use std::fmt;

use rustls_pki_types::CertificateDer;
use x509_cert::der::asn1::Ia5StringRef;
use x509_cert::der::{Decode as _, Encode as _, oid::ObjectIdentifier};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName};

use crate::digest::{Fingerprint, KeyId};
use crate::keys::{KeyError, PemError, PublicKey, read_blocks};

/// More than any chain has that webpki would build.
pub(crate) const MAX_CERTIFICATES: usize = 16;

const CODE_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3");

/// An X.509 certificate. Nothing is said of whether it is valid or trusted.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: CertificateDer<'static>,
    facts: Facts,
}

/// What is read of a certificate.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) fingerprint: Fingerprint,
    /// `SubjectPublicKeyInfo`.
    pub(crate) public_key: Vec<u8>,
    /// Whether it may sign messages, certificates; `None` where it says nothing of that.
    pub(crate) digital_signature: Option<bool>,
    pub(crate) certificate_signing: Option<bool>,
    /// Whether it may sign code; `None` where it says nothing of that.
    pub(crate) code_signing: Option<bool>,
    /// It is a CA, and how many others may be between it and a leaf.
    pub(crate) authority: Option<Option<u8>>,
    /// The DNS names in its subjectAltName, as they are.
    pub(crate) dns_names: Vec<String>,
}

/// Bytes that are no certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no well-formed X.509 certificate")]
pub(crate) struct NoCertificate;

impl Certificate {
    pub(crate) fn from_der(der: &[u8]) -> Result<Self, NoCertificate> {
        Ok(Self { facts: Facts::read(der)?, der: CertificateDer::from(der.to_vec()) })
    }

    /// Reads a PEM text with blocks `CERTIFICATE`.
    ///
    /// # Errors
    /// [`KeyError`] where it is no such text, or has more blocks than any chain.
    pub fn all_from_pem(text: &[u8]) -> Result<Vec<Self>, KeyError> {
        let (blocks, _) = read_blocks(text, MAX_CERTIFICATES).map_err(KeyError::Pem)?;
        blocks
            .iter()
            .map(|block| {
                if block.label != "CERTIFICATE" {
                    return Err(KeyError::Format { label: block.label.clone(), wanted: "CERTIFICATE" });
                }
                let malformed = PemError::Line { line: block.line, reason: "the block is no certificate" };
                Self::from_der(&block.der).map_err(|NoCertificate| KeyError::Pem(malformed))
            })
            .collect()
    }

    /// The certificate in DER.
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }

    /// What the certificate is known by.
    pub const fn fingerprint(&self) -> Fingerprint {
        self.facts.fingerprint
    }

    /// What its key is known by.
    pub fn key_id(&self) -> KeyId {
        KeyId::of(&self.facts.public_key)
    }

    /// Its key.
    ///
    /// # Errors
    /// [`KeyError`] where it is of a type or size that is not accepted.
    pub fn public_key(&self) -> Result<PublicKey, KeyError> {
        PublicKey::from_der(&self.facts.public_key)
    }

    pub(crate) const fn facts(&self) -> &Facts {
        &self.facts
    }

    pub(crate) const fn as_webpki(&self) -> &CertificateDer<'static> {
        &self.der
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Certificate").field(&self.facts.fingerprint).finish()
    }
}

impl Facts {
    pub(crate) fn read(der: &[u8]) -> Result<Self, NoCertificate> {
        Self::try_read(der).ok_or(NoCertificate)
    }

    fn try_read(der: &[u8]) -> Option<Self> {
        let certificate = x509_cert::Certificate::from_der(der).ok()?;
        let body = certificate.tbs_certificate();
        let usage = body.get_extension::<KeyUsage>().ok()?.map(|(_, usage)| usage);
        let purposes = body.get_extension::<ExtendedKeyUsage>().ok()?;
        let constraints = body.get_extension::<BasicConstraints>().ok()?.map(|(_, constraints)| constraints);
        let names = body.get_extension::<SubjectAltName>().ok()?.map_or_else(Vec::new, |(_, names)| names.0);
        Some(Self {
            fingerprint: Fingerprint::of(der),
            public_key: body.subject_public_key_info().to_der().ok()?,
            digital_signature: usage.as_ref().map(KeyUsage::digital_signature),
            certificate_signing: usage.as_ref().map(KeyUsage::key_cert_sign),
            code_signing: purposes.map(|(_, purposes)| purposes.0.contains(&CODE_SIGNING)),
            authority: constraints.filter(|constraints| constraints.ca).map(|ca| ca.path_len_constraint),
            dns_names: names
                .iter()
                .filter_map(|name| match name {
                    GeneralName::DnsName(name) => Some(Ia5StringRef::from(name).as_str().to_owned()),
                    _ => None,
                })
                .collect(),
        })
    }
}

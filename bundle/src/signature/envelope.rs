//! DSSE, the Dead Simple Signing Envelope, version 1.0.2, with the certificates beside the signatures.
//!
//! Readers of DSSE ignore fields that they do not know, so that `certificates` hinders none.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::Serialize;

use crate::digest::KeyId;
use crate::document::{self, DocumentError, Field};
use crate::trust::Certificate;

/// The largest signature file, which an ExtensionVersion can hold.
pub const MAX_SIGNATURE: usize = 64 << 10;
/// The most signatures in one file. Each may cost a chain.
pub const MAX_SIGNATURES: usize = 8;
/// The most certificates in one file.
const MAX_CERTIFICATES: usize = 16;

/// An envelope. Nothing is verified by reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) payload_type: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) signatures: Vec<Signature>,
    pub(crate) certificates: Vec<Certificate>,
}

/// One signature, by a key that says of itself which it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signature {
    /// `None` where the text is no id of ours: some other tool's key, which nobody can have trusted.
    pub(crate) key: Option<KeyId>,
    pub(crate) bytes: Vec<u8>,
}

impl Envelope {
    pub(crate) fn from_json(bytes: &[u8]) -> Result<Self, DocumentError> {
        document::read(bytes, MAX_SIGNATURE)?.open_object(|fields| {
            Ok(Self {
                payload_type: fields.need("payloadType")?.line(1..=255)?,
                payload: base64(fields.need("payload")?)?,
                signatures: fields
                    .need("signatures")?
                    .list(MAX_SIGNATURES)
                    .and_then(|signatures| signatures.into_iter().map(signature).collect::<Result<_, _>>())?,
                certificates: fields.list("certificates", MAX_CERTIFICATES, certificate)?,
            })
        })
    }

    pub(crate) fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut json = serde_json::to_vec(&Written {
            payload_type: &self.payload_type,
            payload: STANDARD.encode(&self.payload),
            signatures: self
                .signatures
                .iter()
                .map(|signature| WrittenSignature {
                    keyid: signature.key.map(|key| key.to_string()).unwrap_or_default(),
                    sig: STANDARD.encode(&signature.bytes),
                })
                .collect(),
            certificates: self
                .certificates
                .iter()
                .map(|certificate| STANDARD.encode(certificate.as_der()))
                .collect(),
        })?;
        json.push(b'\n');
        Ok(json)
    }

    /// What is signed: the pre-authentication encoding of type and payload.
    pub(crate) fn signed_bytes(&self) -> Vec<u8> {
        pae(&self.payload_type, &self.payload)
    }
}

/// `DSSEv1`, then the length of each part and the part, separated by spaces.
fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    payload_type: &'a str,
    payload: String,
    signatures: Vec<WrittenSignature>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    certificates: Vec<String>,
}

#[derive(Serialize)]
struct WrittenSignature {
    keyid: String,
    sig: String,
}

fn signature(field: Field) -> Result<Signature, DocumentError> {
    field.open_object(|fields| {
        let key = fields.take("keyid").map(Field::text).transpose()?;
        let bytes = base64(fields.need("sig")?)?;
        Ok(Signature { key: key.and_then(|key| key.parse().ok()), bytes })
    })
}

fn certificate(field: Field) -> Result<Certificate, DocumentError> {
    let pointer = field.pointer().to_owned();
    Certificate::from_der(&base64(field)?)
        .map_err(|error| DocumentError::Invalid { pointer, reason: error.to_string() })
}

/// DSSE allows both alphabets.
fn base64(field: Field) -> Result<Vec<u8>, DocumentError> {
    field.check(|text| {
        STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).map_err(|_| "is no base64".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_that_of_dsse() {
        // The example of the protocol's page.
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn an_envelope_is_read_as_it_was_written() {
        let envelope = Envelope {
            payload_type: "text/plain".to_owned(),
            payload: b"\xff\xfe>>??".to_vec(),
            signatures: vec![Signature { key: Some(KeyId::of(b"key")), bytes: vec![0xfb; 64] }],
            certificates: Vec::new(),
        };
        let json = envelope.to_json().unwrap();
        assert_eq!(Envelope::from_json(&json).unwrap(), envelope);
        let text = String::from_utf8(json).unwrap();
        let url_safe =
            text.replace('+', "-").replace("text/plain", "text|plain").replace('/', "_").replace('|', "/");
        assert_ne!(url_safe, text);
        assert_eq!(Envelope::from_json(url_safe.as_bytes()).unwrap(), envelope);
    }

    #[test]
    fn what_others_add_is_ignored_but_nothing_is_there_twice() {
        let json = r#"{"payloadType":"a","payload":"","signatures":[{"sig":"","extra":1}],"extra":[]}"#;
        assert_eq!(Envelope::from_json(json.as_bytes()).unwrap().signatures[0].key, None);
        let twice = json.replace("\"extra\":[]", "\"payload\":\"\"");
        assert_eq!(Envelope::from_json(twice.as_bytes()).unwrap_err().code(), "DuplicateKey");
    }

    #[test]
    fn the_number_of_signatures_and_certificates_has_a_bound() {
        let many = format!(
            r#"{{"payloadType":"a","payload":"","signatures":[{}]}}"#,
            [r#"{"sig":""}"#; MAX_SIGNATURES + 1].join(",")
        );
        assert_eq!(
            Envelope::from_json(many.as_bytes()).unwrap_err().to_string(),
            "/signatures has 9 entries, more than 8"
        );
        let huge = format!(r#"{{"payload":"{}"}}"#, "A".repeat(MAX_SIGNATURE));
        assert_eq!(Envelope::from_json(huge.as_bytes()).unwrap_err().code(), "DocumentTooLarge");
    }
}

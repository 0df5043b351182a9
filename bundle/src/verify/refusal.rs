use crate::archive::ArchiveError;
use crate::code::codes;
use crate::denylist::DeniedThing;
use crate::document::DocumentError;
use crate::keys::KeyError;
use crate::trust::ChainRefusal;

/// Why a bundle is not published, or not loaded.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The archive is no bundle.
    #[error("{0}")]
    Archive(ArchiveError),
    /// There is no signature.
    #[error("the bundle is not signed")]
    Unsigned,
    /// The signature file is none.
    #[error("the signature file: {0}")]
    EnvelopeInvalid(DocumentError),
    /// It signs something, but no bundle.
    #[error("the signature file signs {found}, not a bundle")]
    WrongPayloadType {
        /// What it says it signs.
        found: String,
    },
    /// The statement that was signed is none.
    #[error("the signed statement: {0}")]
    StatementInvalid(DocumentError),
    /// No signature is by a key that is trusted.
    #[error(
        "nobody who is trusted signed it; add the signer's key or the authority above it to the trust bundle"
    )]
    UntrustedSigner,
    /// The key is trusted, but the signature is not its.
    #[error("the signature by the key {key} is wrong")]
    SignatureInvalid {
        /// The key.
        key: String,
    },
    /// A certificate of the chain has expired.
    #[error("a certificate of the signer had expired; renew it and sign again")]
    ChainExpired,
    /// A certificate of the chain is not yet valid.
    #[error("a certificate of the signer is not valid yet")]
    ChainNotYetValid,
    /// A certificate is used for what it is not for.
    #[error("{reason}")]
    WrongKeyUsage {
        /// Which, and for what.
        reason: &'static str,
    },
    /// More certificates between leaf and anchor than one of them allows.
    #[error(
        "there are more certificate authorities between the signer and the anchor than one of them allows"
    )]
    PathTooLong,
    /// A certificate is signed with what is not accepted, such as SHA-1.
    #[error(
        "a certificate is signed with an algorithm that is not accepted; use ECDSA, Ed25519 or RSA-PSS, with SHA-256 or better"
    )]
    WeakAlgorithm,
    /// A key of the chain is too weak or of another type.
    #[error("a certificate has a key that {0}")]
    Key(KeyError),
    /// Anything else that is wrong with the chain.
    #[error("{reason}")]
    ChainInvalid {
        /// What.
        reason: &'static str,
    },
    /// The signer is trusted, but not to speak for this publisher.
    #[error("the signer may not speak for {publisher}")]
    PublisherMismatch {
        /// Who publishes the bundle, as it says.
        publisher: String,
    },
    /// It was signed at a time that has not come yet.
    #[error("it was signed at {at}, which has not come yet; set the signer's clock")]
    SignedInFuture {
        /// When, as the signer says.
        at: String,
    },
    /// It is on the denylist.
    #[error("{0} is on the denylist")]
    Denied(DeniedThing),
    /// The bytes are not those that were signed.
    #[error("the {of} is not the signed one; the archive was changed, or the signature is another bundle's")]
    DigestMismatch {
        /// What differs.
        of: &'static str,
    },
    /// The manifest says something else than the signature.
    #[error("{field} is not the same in the manifest and in the signature")]
    ManifestMismatch {
        /// Which field.
        field: &'static str,
    },
    /// Its parameters could not be checked against their schema, whatever they are.
    #[error("parametersSchema of the manifest: {why}")]
    ParametersSchemaInvalid {
        /// What is wrong with the schema.
        why: String,
    },
    /// There is no receipt.
    #[error("the registry has issued no receipt for the bundle")]
    NoReceipt,
    /// The receipt is none.
    #[error("the receipt: {0}")]
    ReceiptInvalid(DocumentError),
    /// No key of the registry's signed the receipt.
    #[error("the receipt is not signed by a key of the registry")]
    UntrustedReceipt,
    /// The key is the registry's, but the signature is not its.
    #[error("the registry's signature on the receipt is wrong")]
    ReceiptSignatureInvalid,
    /// The registry did not sign with that key at that time.
    #[error("the receipt is dated to a time when the registry did not sign with its key")]
    ReceiptKeyNotValid,
    /// The receipt is for something else.
    #[error("the receipt is for another {of}")]
    ReceiptMismatch {
        /// What differs.
        of: &'static str,
    },
}

codes!(Refusal {
    Unsigned => "Unsigned",
    EnvelopeInvalid => "EnvelopeInvalid",
    WrongPayloadType => "WrongPayloadType",
    StatementInvalid => "StatementInvalid",
    UntrustedSigner => "UntrustedSigner",
    SignatureInvalid => "SignatureInvalid",
    ChainExpired => "ChainExpired",
    ChainNotYetValid => "ChainNotYetValid",
    WrongKeyUsage => "WrongKeyUsage",
    PathTooLong => "ChainTooLong",
    WeakAlgorithm => "WeakAlgorithm",
    ChainInvalid => "ChainInvalid",
    PublisherMismatch => "PublisherMismatch",
    SignedInFuture => "SignedInFuture",
    Denied => "Denied",
    DigestMismatch => "DigestMismatch",
    ManifestMismatch => "ManifestMismatch",
    ParametersSchemaInvalid => "ParametersSchemaInvalid",
    NoReceipt => "NoReceipt",
    ReceiptInvalid => "ReceiptInvalid",
    UntrustedReceipt => "UntrustedReceipt",
    ReceiptSignatureInvalid => "ReceiptSignatureInvalid",
    ReceiptKeyNotValid => "ReceiptKeyNotValid",
    ReceiptMismatch => "ReceiptMismatch",
} inside { Archive, Key });

impl Refusal {
    /// How far the signer came before the refusal: of several signatures the one that came furthest tells most.
    pub(super) fn progress(&self) -> u8 {
        match self {
            Self::UntrustedSigner => 0,
            Self::SignatureInvalid { .. } => 1,
            Self::PublisherMismatch { .. } => 3,
            Self::Denied(_) => 4,
            _ => 2,
        }
    }

    pub(super) fn of_chain(refusal: ChainRefusal, publisher: &crate::publisher::Publisher) -> Self {
        match refusal {
            ChainRefusal::Untrusted => Self::UntrustedSigner,
            ChainRefusal::Expired => Self::ChainExpired,
            ChainRefusal::NotYetValid => Self::ChainNotYetValid,
            ChainRefusal::WrongKeyUsage(reason) => Self::WrongKeyUsage { reason },
            ChainRefusal::PathTooLong => Self::PathTooLong,
            ChainRefusal::WeakAlgorithm => Self::WeakAlgorithm,
            ChainRefusal::Key(error) => Self::Key(error),
            ChainRefusal::Invalid(reason) => Self::ChainInvalid { reason },
            ChainRefusal::OtherPublisher => Self::PublisherMismatch { publisher: publisher.to_string() },
            ChainRefusal::Denied(thing) => Self::Denied(thing),
        }
    }
}

//! What is asked before a bundle is published.

use std::io::Read;

use jiff::{SignedDuration, Timestamp};

use super::refusal::Refusal;
use super::signer::{Judge, Signer};
use crate::archive::{ArchiveError, Unpacked, unpack};
use crate::denylist::{DeniedThing, Denylist};
use crate::digest::{KeyId, SignatureDigest};
use crate::limits::Limits;
use crate::manifest::Manifest;
use crate::shown::shown;
use crate::signature::{Envelope, STATEMENT_TYPE, Statement};
use crate::sink::Sink;
use crate::time::show_time;
use crate::trust::TrustBundle;

/// How far a signer's clock may be ahead.
pub const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// What decides about publication.
#[derive(Debug, Clone, Copy)]
pub struct PublishPolicy<'a> {
    /// Whom to trust.
    pub trust: &'a TrustBundle,
    /// What is revoked.
    pub denylist: &'a Denylist,
    /// The time it is.
    pub now: Timestamp,
    /// How much a bundle may be.
    pub limits: &'a Limits,
}

/// A statement that somebody who is trusted signed. Nothing is known of the bytes yet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Signed {
    /// What was signed.
    pub statement: Statement,
    /// Who signed.
    pub signer: Signer,
    /// The signature file.
    pub signature: SignatureDigest,
    /// The time for which this was asked.
    pub at: Timestamp,
}

/// A bundle whose bytes are those that somebody who is trusted signed.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Verified {
    /// What is in it.
    pub unpacked: Unpacked,
    /// What was signed.
    pub statement: Statement,
    /// Who signed.
    pub signer: Signer,
    /// The signature file.
    pub signature: SignatureDigest,
    /// The time for which this was asked.
    pub at: Timestamp,
}

/// Reads an archive once and says whether it may be published. The signature is looked at first: what nobody signed is not even
/// decompressed. Last comes what is of interest to whoever would install it: whether parameters can be checked against the manifest's schema.
///
/// `signature` is the signature file, `None` or empty where there is none. The files go to `sink`, which is to forget them
/// unless this returns `Ok`.
///
/// # Errors
/// [`Refusal`].
pub fn verify_at_publish(
    archive: impl Read,
    signature: Option<&[u8]>,
    policy: &PublishPolicy<'_>,
    sink: impl Sink,
) -> Result<Verified, Refusal> {
    let signed = check_signature(signature, policy.trust, policy.denylist, policy.now)?;
    let verified = read_signed(archive, signed, policy.limits, sink)?;
    check_parameters_schema(&verified.unpacked.manifest)?;
    Ok(verified)
}

/// Nobody could install what no parameters can be checked against. It is not asked again at a load: a later release may take less than the
/// one that published it, and what runs must go on.
fn check_parameters_schema(manifest: &Manifest) -> Result<(), Refusal> {
    let Some(schema) = manifest.parameters_schema.clone() else { return Ok(()) };
    annex_parameters::check_schema(&schema.into()).map_err(|why| Refusal::ParametersSchemaInvalid { why })
}

/// The first half of [`verify_at_publish`]: whether whoever signed is trusted at that time, and nothing that was signed is denied. For those who
/// ask before the bytes have come.
///
/// # Errors
/// [`Refusal`].
pub fn check_signature(
    signature: Option<&[u8]>,
    trust: &TrustBundle,
    denylist: &Denylist,
    at: Timestamp,
) -> Result<Signed, Refusal> {
    check(signature, trust, denylist, at, None)
}

pub(super) fn check(
    signature: Option<&[u8]>,
    trust: &TrustBundle,
    denylist: &Denylist,
    at: Timestamp,
    only: Option<KeyId>,
) -> Result<Signed, Refusal> {
    let bytes = signature.filter(|bytes| !bytes.is_empty()).ok_or(Refusal::Unsigned)?;
    let envelope = Envelope::from_json(bytes).map_err(Refusal::EnvelopeInvalid)?;
    if envelope.payload_type != STATEMENT_TYPE {
        return Err(Refusal::WrongPayloadType { found: shown(envelope.payload_type.as_bytes()) });
    }
    let statement = Statement::from_json(&envelope.payload).map_err(Refusal::StatementInvalid)?;
    for (thing, denied) in [
        (DeniedThing::Publisher, denylist.has_publisher(&statement.publisher)),
        (DeniedThing::Content, denylist.has_content(&statement.content_hash)),
        (DeniedThing::Archive, denylist.has_archive(&statement.archive.digest)),
    ] {
        if denied {
            return Err(Refusal::Denied(thing));
        }
    }
    let signer = Judge { trust, denylist, publisher: &statement.publisher, at }.find(&envelope, only)?;
    // A clock at the end of time has nothing ahead of it.
    if at.checked_add(CLOCK_SKEW).is_ok_and(|latest| statement.signed_at > latest) {
        return Err(Refusal::SignedInFuture { at: show_time(statement.signed_at) });
    }
    Ok(Signed { statement, signer, signature: SignatureDigest::of(bytes), at })
}

/// The second half: whether the bytes are those that were signed.
pub(super) fn read_signed(
    archive: impl Read,
    signed: Signed,
    limits: &Limits,
    sink: impl Sink,
) -> Result<Verified, Refusal> {
    let Signed { statement, signer, signature, at } = signed;
    let size = statement.archive.size;
    // No more is read than was signed.
    let limits = Limits { archive: limits.archive.min(size), ..*limits };
    let unpacked = unpack(archive, &limits, sink).map_err(|error| match error {
        ArchiveError::TooLarge { limit } if limit == size => Refusal::DigestMismatch { of: "archive's size" },
        error => Refusal::Archive(error),
    })?;
    // The archive is compared as a whole. Content hash and manifest follow from it only if whoever signed told the truth of them.
    if unpacked.size != size {
        return Err(Refusal::DigestMismatch { of: "archive's size" });
    }
    if unpacked.archive != statement.archive.digest {
        return Err(Refusal::DigestMismatch { of: "archive's digest" });
    }
    if unpacked.content_hash != statement.content_hash {
        return Err(Refusal::DigestMismatch { of: "content hash" });
    }
    let said = Statement::about(&unpacked, statement.signed_at);
    if said.publisher != statement.publisher {
        return Err(Refusal::PublisherMismatch { publisher: said.publisher.to_string() });
    }
    for (field, same) in [
        ("name", said.name == statement.name),
        ("version", said.version == statement.version),
        ("capabilities", said.capabilities == statement.capabilities),
    ] {
        if !same {
            return Err(Refusal::ManifestMismatch { field });
        }
    }
    Ok(Verified { unpacked, statement, signer, signature, at })
}

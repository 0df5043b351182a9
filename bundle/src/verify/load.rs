//! What is asked before a bundle is run.

use std::io::Read;

use super::publish::{Signed, Verified, check, read_signed};
use super::refusal::Refusal;
use crate::denylist::{DeniedThing, Denylist};
use crate::limits::Limits;
use crate::signature::{Envelope, RECEIPT_TYPE, Receipt, RegistryKeys};
use crate::sink::Sink;
use crate::trust::TrustBundle;

/// What decides about loading. There is no clock in it: the receipt says for which time the chain is asked.
#[derive(Debug, Clone, Copy)]
pub struct LoadPolicy<'a> {
    /// Whom to trust.
    pub trust: &'a TrustBundle,
    /// The registry's keys.
    pub registry_keys: &'a RegistryKeys,
    /// What is revoked.
    pub denylist: &'a Denylist,
    /// How much a bundle may be.
    pub limits: &'a Limits,
}

/// A bundle that may be run.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Loaded {
    /// What was verified, for the time when it was published.
    pub verified: Verified,
    /// What the registry says of it.
    pub receipt: Receipt,
}

/// A bundle that may be run if its bytes are those that were signed. Nothing is known of them yet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loadable {
    /// What somebody who is trusted signed, for the time when it was published.
    pub signed: Signed,
    /// What the registry says of it.
    pub receipt: Receipt,
}

/// Reads an archive once and says whether it may be run: the registry countersigned this signature of these bytes, whoever
/// signed was trusted then and still is in the trust bundle, and nothing of it is denied.
///
/// Both signatures must hold. Who has only the registry's key cannot make a bundle, and who has only a publisher's expired one
/// cannot date it back.
///
/// # Errors
/// [`Refusal`]; the sink is to forget what it was given.
pub fn verify_at_load(
    archive: impl Read,
    signature: Option<&[u8]>,
    receipt: Option<&[u8]>,
    policy: &LoadPolicy<'_>,
    sink: impl Sink,
) -> Result<Loaded, Refusal> {
    let Loadable { signed, receipt } = check_loadable(signature, receipt, policy)?;
    let verified = read_signed(archive, signed, policy.limits, sink)?;
    Ok(Loaded { verified, receipt })
}

/// The first half of [`verify_at_load`], without the bytes: whether what the registry keeps beside them still vouches for them. For
/// those who ask again, after trust, denylist or the registry's keys changed.
///
/// # Errors
/// [`Refusal`].
pub fn check_loadable(
    signature: Option<&[u8]>,
    receipt: Option<&[u8]>,
    policy: &LoadPolicy<'_>,
) -> Result<Loadable, Refusal> {
    if signature.is_none_or(<[u8]>::is_empty) {
        return Err(Refusal::Unsigned);
    }
    let receipt = check_receipt(receipt, policy)?;
    let signed = check(signature, policy.trust, policy.denylist, receipt.published_at, Some(receipt.key))?;
    let statement = &signed.statement;
    for (of, same) in [
        ("signature", receipt.signature == signed.signature),
        ("content", receipt.content_hash == statement.content_hash),
        ("archive", receipt.archive == statement.archive.digest),
        ("extension", receipt.name == statement.name),
        ("version", receipt.version == statement.version),
        ("publisher", receipt.publisher == statement.publisher),
    ] {
        if !same {
            return Err(Refusal::ReceiptMismatch { of });
        }
    }
    Ok(Loadable { signed, receipt })
}

fn check_receipt(receipt: Option<&[u8]>, policy: &LoadPolicy<'_>) -> Result<Receipt, Refusal> {
    let bytes = receipt.filter(|bytes| !bytes.is_empty()).ok_or(Refusal::NoReceipt)?;
    let envelope = Envelope::from_json(bytes).map_err(Refusal::ReceiptInvalid)?;
    // A statement that the registry's key signed is no receipt.
    if envelope.payload_type != RECEIPT_TYPE {
        return Err(Refusal::UntrustedReceipt);
    }
    let message = envelope.signed_bytes();
    // A receipt may be signed by several keys of the registry, while they are rotated.
    let mut refusal = Refusal::UntrustedReceipt;
    for signature in &envelope.signatures {
        let Some(id) = signature.key else { continue };
        let Some(known) = policy.registry_keys.find(&id) else { continue };
        if policy.denylist.has_key(&id) {
            refusal = Refusal::Denied(DeniedThing::Key);
            continue;
        }
        if !known.key().verifies(&message, &signature.bytes) {
            refusal = Refusal::ReceiptSignatureInvalid;
            continue;
        }
        let receipt = Receipt::from_json(&envelope.payload).map_err(Refusal::ReceiptInvalid)?;
        if known.is_valid_at(receipt.published_at) {
            return Ok(receipt);
        }
        refusal = Refusal::ReceiptKeyNotValid;
    }
    Err(refusal)
}

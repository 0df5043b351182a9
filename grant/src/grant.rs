use std::time::Duration;

use annex_core::{ContentHash, ExtensionId, InstallId, TenantId};
use ring::digest;

use crate::{Audience, Capabilities, Limits, UnixMillis};

/// No grant lives longer than this, whatever it says: a nonce has to be remembered for as long.
pub const LONGEST_LIFE: Duration = Duration::from_secs(15 * 60);

/// What a runner may do for one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Who may use it.
    pub audience: Audience,
    /// For whose install the call is.
    pub tenant: TenantId,
    /// Which install that is.
    pub install: InstallId,
    /// Of which extension.
    pub extension: ExtensionId,
    /// The content that is executed, and no other.
    pub content: ContentHash,
    /// What the guest is given.
    pub capabilities: Capabilities,
    /// What the call may use.
    pub limits: Limits,
    /// Never the same twice.
    pub nonce: Nonce,
    /// Not good before.
    pub issued: UnixMillis,
    /// Not good from then on. At most [`LONGEST_LIFE`] after `issued`.
    pub expires: UnixMillis,
    /// Of the body that `POST /v1/execute` has.
    pub body: BodyDigest,
}

/// Random bytes that no two grants share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce(pub [u8; 16]);

/// The SHA-256 of a request's body as it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BodyDigest(pub(crate) [u8; 32]);

impl BodyDigest {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        let mut bytes = [0; 32];
        // SHA-256 has 32 bytes; a copy cannot panic this way.
        for (to, from) in bytes.iter_mut().zip(digest::digest(&digest::SHA256, body).as_ref()) {
            *to = *from;
        }
        Self(bytes)
    }
}

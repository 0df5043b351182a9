use std::time::Duration;

use crate::{Audience, BodyDigest, Grant, KeyRing, Refusal, ReplayGuard, UnixMillis};

/// What a grant is measured by.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Who is asked.
    pub audience: &'a Audience,
    /// What time it is.
    pub now: UnixMillis,
    /// By how much the clock of whoever signed may differ.
    pub skew: Duration,
}

/// What was granted for exactly this request, for the first time. `body` is what was received, before anything of it was parsed.
///
/// # Errors
/// See [`Refusal`]. Only a grant that is good in every other way is remembered: nobody without a key fills the memory.
pub fn admit(
    token: &str,
    body: &[u8],
    keys: &KeyRing,
    expected: Expected<'_>,
    replays: &ReplayGuard,
) -> Result<Grant, Refusal> {
    let grant = keys.verify(token, expected)?;
    // Not secret: the body's sender has both.
    if BodyDigest::of(body) != grant.body {
        return Err(Refusal::BodyMismatch);
    }
    replays.remember(grant.nonce, grant.expires.after(expected.skew), expected.now)?;
    Ok(grant)
}

use annex_grant::{BROKER_AUDIENCE, Grant, KV_CAPABILITY, KeyRing, SECRETS_CAPABILITY, SignError, Token};

/// Capabilities for which a call has to bring something for the gateway's broker.
const ANSWERED_BY_THE_BROKER: [&str; 2] = [KV_CAPABILITY, SECRETS_CAPABILITY];

/// What is presented with a call.
#[derive(Debug)]
pub struct Presented {
    /// To the runner.
    pub grant: Token,
    /// By the runner to the gateway's broker: of the same call, and good for nothing else.
    pub broker: Option<Token>,
}

/// Signs a grant, and where one of its capabilities needs the broker, or `asks_the_broker` says so, the same for the broker.
///
/// # Errors
/// There is no key to sign with, or the grant is one that nobody would accept.
pub fn sign(keys: &KeyRing, grant: &Grant, asks_the_broker: bool) -> Result<Presented, SignError> {
    let token = keys.sign(grant)?;
    let needs_broker = asks_the_broker
        || ANSWERED_BY_THE_BROKER.iter().any(|capability| grant.capabilities.contains(capability));
    // A constant of this release, which is one.
    let audience = BROKER_AUDIENCE.parse().ok().filter(|_| needs_broker);
    let broker = audience.map(|audience| keys.sign(&Grant { audience, ..grant.clone() })).transpose()?;
    Ok(Presented { grant: token, broker })
}

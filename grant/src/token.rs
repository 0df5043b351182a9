use std::fmt;

/// The header of `POST /v1/execute` that carries the call's grant.
pub const TOKEN_HEADER: &str = "x-annex-grant";
/// The header of `POST /v1/execute` that carries what the runner presents to the gateway's broker, as [`TOKEN_HEADER`] there. Only where
/// the capability `secrets` or `storage.kv` is granted. A runner cannot make one: the key of that audience is the gateway's alone, so
/// whoever takes over a runner reads what the calls that it is given may read, and no more.
pub const BROKER_TOKEN_HEADER: &str = "x-annex-broker-grant";
/// A longer text is no token, and is not looked at. All fields at their largest have some 7 KiB.
pub const LONGEST_TOKEN: usize = 8 * 1024;

/// A signed grant, as a header carries it: unpadded base64url. It opens something: it belongs into no log.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub(crate) String);

impl Token {
    /// As the header has it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

// By hand: no log may show it.
impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Token").field(&self.0.len()).finish()
    }
}

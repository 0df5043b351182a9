use std::{fmt, str::FromStr};

use ring::hmac;

use crate::Audience;

/// A secret shorter than this could be guessed.
const SHORTEST: usize = 32;
const LONGEST: usize = 512;
/// A secret that begins so is derived for one audience: `aud.<audience>.<64 hex digits>`.
const DERIVED: &str = "aud.";
const DERIVE_FOR: &[u8] = b"annex grant key 1 for ";

/// The name of a key, which is no secret: 1 to 64 letters, digits, hyphens and underscores. A key's file is called so.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

/// A text that names no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key's name has 1 to 64 letters, digits, hyphens and underscores")]
pub struct KeyIdError;

impl KeyId {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let good = (1..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if good { Ok(Self(text.to_owned())) } else { Err(KeyIdError) }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What a key's file holds.
pub(crate) enum Key {
    /// The gateway's: from it, the key of every audience is made.
    Whole(hmac::Key),
    /// A runner's: for its own audience alone. So whoever takes over one runner makes no grant for another.
    Derived(Audience, hmac::Key),
}

impl Key {
    /// None: it is no secret. The caller says so without quoting it.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?.trim_ascii_end();
        if !(SHORTEST..=LONGEST).contains(&text.len())
            || !text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
        {
            return None;
        }
        match text.strip_prefix(DERIVED) {
            None => Some(Self::Whole(hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes()))),
            Some(rest) => {
                let (audience, hex) = rest.split_once('.')?;
                let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes_of(hex)?);
                Some(Self::Derived(audience.parse().ok()?, key))
            }
        }
    }

    /// What signs and verifies for `audience`. None: this key is for another.
    pub(crate) fn of(&self, audience: &Audience) -> Option<hmac::Key> {
        match self {
            Self::Whole(key) => Some(hmac::Key::new(hmac::HMAC_SHA256, derive(key, audience).as_ref())),
            Self::Derived(own, key) => (own == audience).then(|| key.clone()),
        }
    }

    /// The file of the key for `audience` alone. None where this is a derived one already.
    pub(crate) fn derived(&self, audience: &Audience) -> Option<String> {
        use std::fmt::Write as _;
        let Self::Whole(key) = self else { return None };
        Some(derive(key, audience).as_ref().iter().fold(format!("{DERIVED}{audience}."), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        }))
    }
}

fn derive(key: &hmac::Key, audience: &Audience) -> hmac::Tag {
    hmac::sign(key, &[DERIVE_FOR, audience.as_str().as_bytes()].concat())
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    if hex.len() != 64 || !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()).collect()
}

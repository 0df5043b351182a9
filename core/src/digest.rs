//! What a bundle is known by.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The SHA-256 over a bundle's canonical listing, written `sha256:` and 64 lower-case hex digits.
///
/// Upper case is refused: one content has one spelling, and paths and cache keys are made of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash([u8; 32]);

/// Why a text is no [`ContentHash`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ContentHashError {
    /// It does not begin with `sha256:`.
    #[error("does not begin with sha256:")]
    Algorithm,
    /// It has not 64 characters after the prefix.
    #[error("has not 64 characters after sha256:")]
    Length,
    /// One of them is no lower-case hex digit.
    #[error("has a character that is no hex digit in lower case")]
    Digit,
}

impl ContentHash {
    const PREFIX: &str = "sha256:";

    /// The content hash of a digest that was just computed.
    pub const fn from_sha256(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The 32 bytes of the digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 hex digits without `sha256:`, as paths have them (`sha256/<hex>/`).
    pub fn hex(&self) -> String {
        use fmt::Write as _;
        self.0.iter().fold(String::with_capacity(64), |mut hex, byte| {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

impl FromStr for ContentHash {
    type Err = ContentHashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex = text.strip_prefix(Self::PREFIX).ok_or(ContentHashError::Algorithm)?.as_bytes();
        if hex.len() != 64 {
            return Err(ContentHashError::Length);
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(hex.chunks_exact(2)) {
            for digit in pair {
                *byte = *byte << 4 | nibble(*digit)?;
            }
        }
        Ok(Self(digest))
    }
}

fn nibble(digit: u8) -> Result<u8, ContentHashError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(ContentHashError::Digit),
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", Self::PREFIX, self.hex())
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl Serialize for ContentHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn is_written_as_it_was_read() {
        let hash: ContentHash = TEXT.parse().unwrap();
        assert_eq!(hash.to_string(), TEXT);
        assert_eq!(format!("sha256:{}", hash.hex()), TEXT);
        assert_eq!(ContentHash::from_sha256(*hash.as_bytes()), hash);
        assert_eq!(
            serde_json::from_str::<ContentHash>(&serde_json::to_string(&hash).unwrap()).unwrap(),
            hash
        );
    }

    #[test]
    fn other_spellings_are_refused() {
        use ContentHashError::{Algorithm, Digit, Length};
        for (text, error) in [
            (String::new(), Algorithm),
            (TEXT.replace("sha256:", ""), Algorithm),
            (TEXT.replace("sha256", "SHA256"), Algorithm),
            (TEXT.replace("sha256", "sha512"), Algorithm),
            (format!("{TEXT}0"), Length),
            ("sha256:".into(), Length),
            (TEXT.replace("abcdef", "ABCDEF"), Digit),
            (TEXT.replace('f', "g"), Digit),
            // 64 bytes, but fewer characters.
            (format!("sha256:{}", "é".repeat(32)), Digit),
        ] {
            assert_eq!(text.parse::<ContentHash>(), Err(error), "{text:?}");
        }
    }
}

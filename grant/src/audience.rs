use std::{fmt, str::FromStr};

/// For whom a grant is: a runner, such as `direct` or `annex-1s8uv2zt5c3nc1hy/exec`, or the gateway's own broker. 1 to 253 visible ASCII
/// characters without a dot, which separates it in the file of a derived key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Audience(String);

/// A text that is no audience.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an audience has 1 to 253 visible ASCII characters and no dot")]
pub struct AudienceError;

impl Audience {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Audience {
    type Err = AudienceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let good = (1..=253).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() && b != b'.');
        if good { Ok(Self(text.to_owned())) } else { Err(AudienceError) }
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

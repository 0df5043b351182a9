/// Why a grant is not accepted. The words are for logs and metrics: to whoever sent it, all are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// No token, of another version, or longer than any is.
    #[error("the grant is malformed")]
    Malformed,
    /// Signed with a key that is not, or no longer, on the ring.
    #[error("the grant's key is not known")]
    UnknownKey,
    /// Not what was signed.
    #[error("the grant's signature does not match")]
    BadMac,
    /// For another.
    #[error("the grant is for another audience")]
    WrongAudience,
    /// From the future, by more than clocks may differ.
    #[error("the grant is not valid yet: do the clocks agree?")]
    NotYetValid,
    /// Too late.
    #[error("the grant has expired")]
    Expired,
    /// The body is not the one that was granted.
    #[error("the grant is for another request")]
    BodyMismatch,
    /// It was used before.
    #[error("the grant was used before")]
    Replayed,
    /// So many are in use that no more can be remembered.
    #[error("too many grants are in use to remember one more")]
    Full,
}

impl Refusal {
    /// One CamelCase word that never changes.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Malformed => "Malformed",
            Self::UnknownKey => "UnknownKey",
            Self::BadMac => "BadMac",
            Self::WrongAudience => "WrongAudience",
            Self::NotYetValid => "NotYetValid",
            Self::Expired => "Expired",
            Self::BodyMismatch => "BodyMismatch",
            Self::Replayed => "Replayed",
            Self::Full => "Full",
        }
    }
}

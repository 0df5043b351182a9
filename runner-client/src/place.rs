use annex_grant::Audience;
use reqwest::Url;

/// The audience of the runner that executes in direct mode.
pub const DIRECT_AUDIENCE: &str = "direct";

/// The runner of an install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub(crate) url: Url,
    /// What the Host header says, where it is not what the URL says.
    pub(crate) host: Option<String>,
    /// For whom grants are that are presented there.
    pub audience: Audience,
}

/// Why an install executes nowhere that can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// Its status names no runner yet.
    #[error("no runner is known yet")]
    Unknown,
    /// It runs where nobody of the platform's reaches it.
    #[error("it runs where it is not reached from here")]
    Elsewhere,
}

//! What the operator sets.

use annex_core::IpNet;

use crate::limits::EgressLimits;

/// What the operator sets, besides the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressOptions {
    /// Networks that are public and yet nobody's business: the cluster's own, and the prefix of a NAT64 gateway other than
    /// `64:ff9b::/96`. What is not public need not be named.
    pub blocked: Vec<IpNet>,
    /// Whether servers are checked by the system's certificates.
    pub system_roots: bool,
    /// Certificates, as PEM, by which servers are checked, too.
    pub extra_ca: Option<String>,
    /// What requests may use.
    pub limits: EgressLimits,
}

impl Default for EgressOptions {
    fn default() -> Self {
        Self { blocked: Vec::new(), system_roots: true, extra_ca: None, limits: EgressLimits::default() }
    }
}

/// Why there is no way out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// The extra certificates are none.
    #[error("the extra ca has no certificate that can be read; give it as PEM")]
    ExtraCa,
    /// The list has an https host, and there is no certificate to check any by.
    #[error(
        "the system has no certificates, so that no https host can be checked; install them, or give an extra ca"
    )]
    NoRoots,
    /// TLS cannot be set up.
    #[error("tls cannot be set up: {0}")]
    Tls(String),
}

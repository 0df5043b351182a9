//! Which cryptography TLS uses.

/// Makes ring the provider of every TLS connection of this process.
///
/// Call it before the first HTTP client is built: reqwest comes without a provider of its own. Called again it does
/// nothing.
pub fn install_provider() {
    // The error is that another one is installed, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

//! Who is believed to be whom.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::options::{EgressOptions, SetupError};

/// The client's side of TLS: certificates are checked against the name, and no client certificate is ever shown.
///
/// `is_needed`: whether any https host is on the list. Where none is, a machine without certificates will do.
pub(crate) fn client(options: &EgressOptions, is_needed: bool) -> Result<Arc<ClientConfig>, SetupError> {
    let mut roots = RootCertStore::empty();
    if options.system_roots {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "some of the system's certificates cannot be read");
        }
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            // An image from scratch has none. These are Mozilla's, of the day on which this program was built.
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
    }
    if let Some(pem) = &options.extra_ca {
        let extra: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        let extra = extra.ok().filter(|extra| !extra.is_empty()).ok_or(SetupError::ExtraCa)?;
        for certificate in extra {
            roots.add(certificate).map_err(|_| SetupError::ExtraCa)?;
        }
    }
    if is_needed && roots.is_empty() {
        return Err(SetupError::NoRoots);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| SetupError::Tls(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // A ticket of one tenant's session, shown in another's, would tell a server that both are on this platform.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare() -> EgressOptions {
        EgressOptions { system_roots: false, ..EgressOptions::default() }
    }

    #[test]
    fn without_certificates_only_a_list_without_https_will_do() {
        assert_eq!(client(&bare(), true).unwrap_err(), SetupError::NoRoots);
        assert!(client(&bare(), false).is_ok());
    }

    #[test]
    fn an_extra_ca_is_one() {
        let key = rcgen::KeyPair::generate().unwrap();
        let ca = rcgen::CertificateParams::default().self_signed(&key).unwrap().pem();
        for bad in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let options = EgressOptions { extra_ca: Some(bad.into()), ..bare() };
            assert_eq!(client(&options, true).unwrap_err(), SetupError::ExtraCa, "{bad:?}");
        }
        assert!(client(&EgressOptions { extra_ca: Some(ca), ..bare() }, true).is_ok());
    }
}

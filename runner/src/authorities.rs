//! The certificates that a service over https is checked by.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use reqwest::{Certificate, ClientBuilder, Url};

/// Those of a file, or of the same as text; none means the system's. `flag` is the file's.
///
/// # Errors
/// The file cannot be read, or there is no certificate in it.
pub(crate) fn authorities(
    flag: &str,
    file: Option<&Path>,
    text: Option<&str>,
) -> Result<Option<Vec<Certificate>>> {
    let (name, pem) = match (file, text) {
        (Some(path), _) => {
            let name = format!("{flag} {}", path.display());
            let pem = std::fs::read(path).with_context(|| format!("{name} cannot be read"))?;
            (name, pem)
        }
        (None, Some(pem)) => (flag.trim_end_matches("-file").to_owned(), pem.as_bytes().to_vec()),
        (None, None) => return Ok(None),
    };
    let certificates = Certificate::from_pem_bundle(&pem).unwrap_or_default();
    ensure!(!certificates.is_empty(), "{name} holds no PEM certificate");
    Ok(Some(certificates))
}

/// A client of `url` that checks it by these; none means the system's.
pub(crate) fn checked_by(
    client: ClientBuilder,
    url: &Url,
    authorities: Option<Vec<Certificate>>,
) -> ClientBuilder {
    // Without any the client reads the system's certificates even for http, and fails where there are none, as in an image from scratch.
    match if url.scheme() == "https" { authorities } else { Some(Vec::new()) } {
        Some(authorities) => client.tls_certs_only(authorities),
        None => client,
    }
}

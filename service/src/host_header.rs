//! The host that a request asks for.

use annex_core::{HostName, HostNameError};
use axum::http::header::HOST;
use axum::http::{HeaderMap, Uri};

/// Why a request has no host to look up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostHeaderError {
    /// There is none.
    #[error("the host header is missing")]
    Missing,
    /// There are two, of which another part of the way may go by the other.
    #[error("the host header is there more than once")]
    Duplicate,
    /// It is no host name.
    #[error("the host header {0}")]
    Malformed(HostNameError),
    /// The target in absolute form is for another.
    #[error("the request's target and its host header are different hosts")]
    Disagreement,
}

/// The one host that the request asks for.
///
/// A request has exactly one `Host` (RFC 9112, section 3.2). A target in absolute form must be for the same host: the
/// RFC lets it win, but an ingress in front may have gone by the other.
///
/// # Errors
/// See [`HostHeaderError`].
pub fn requested_host(target: &Uri, headers: &HeaderMap) -> Result<HostName, HostHeaderError> {
    let mut values = headers.get_all(HOST).iter();
    let value = values.next().ok_or(HostHeaderError::Missing)?;
    if values.next().is_some() {
        return Err(HostHeaderError::Duplicate);
    }
    // What is no text has bytes outside ASCII, or control characters that hyper did not let in.
    let text = value.to_str().map_err(|_| HostHeaderError::Malformed(HostNameError::NotAscii))?;
    let host: HostName = text.parse().map_err(HostHeaderError::Malformed)?;
    match target.authority() {
        Some(authority) if authority.as_str().parse() != Ok(host.clone()) => {
            Err(HostHeaderError::Disagreement)
        }
        _ => Ok(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn host(target: &str, values: &[&[u8]]) -> Result<String, HostHeaderError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HOST, HeaderValue::from_bytes(value).unwrap());
        }
        requested_host(&target.parse().unwrap(), &headers).map(|host| host.to_string())
    }

    #[test]
    fn exactly_one_host() {
        assert_eq!(host("/", &[b"A.example:80"]), Ok("a.example".into()));
        assert_eq!(host("/", &[]), Err(HostHeaderError::Missing));
        assert_eq!(host("/", &[b"a.example", b"a.example"]), Err(HostHeaderError::Duplicate));
    }

    #[test]
    fn the_malformed_say_why() {
        assert_eq!(host("/", &[b""]), Err(HostHeaderError::Malformed(HostNameError::Empty)));
        assert_eq!(
            host("/", &["bücher".as_bytes()]),
            Err(HostHeaderError::Malformed(HostNameError::NotAscii))
        );
        assert_eq!(host("/", &[b"\xff"]), Err(HostHeaderError::Malformed(HostNameError::NotAscii)));
        assert_eq!(host("/", &[b"[::1]:80"]), Err(HostHeaderError::Malformed(HostNameError::Ipv6)));
    }

    #[test]
    fn an_absolute_target_is_for_the_same_host() {
        assert_eq!(host("http://A.example:80/", &[b"a.example"]), Ok("a.example".into()));
        assert_eq!(host("http://b.example/", &[b"a.example"]), Err(HostHeaderError::Disagreement));
        assert_eq!(host("http://u@a.example/", &[b"a.example"]), Err(HostHeaderError::Disagreement));
    }
}

//! Where a request is to go.

use std::fmt;

use http::uri::Scheme as UriScheme;
use http::{HeaderValue, Uri};

use crate::host::{Host, HostError, read_authority};

/// With TLS or without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Without.
    Http,
    /// With.
    Https,
}

impl Scheme {
    /// The port where none is named.
    pub(crate) fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Scheme, host and port of a request, read from its URI.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Destination {
    scheme: Scheme,
    host: Host,
    port: u16,
}

/// Why a URI leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// No scheme, or another than http and https.
    #[error("the uri has no scheme http or https")]
    Scheme,
    /// No authority.
    #[error("the uri names no host")]
    NoHost,
    /// The host or the port is none.
    #[error("the uri's host {0}")]
    Host(HostError),
}

impl Destination {
    /// Reads scheme, host and port of a URI.
    ///
    /// # Errors
    /// It has no http or https, or its authority is more than, or something else than, a host and a port.
    pub fn of(uri: &Uri) -> Result<Self, DestinationError> {
        let scheme = match uri.scheme() {
            Some(scheme) if *scheme == UriScheme::HTTP => Scheme::Http,
            Some(scheme) if *scheme == UriScheme::HTTPS => Scheme::Https,
            _ => return Err(DestinationError::Scheme),
        };
        let authority = uri.authority().ok_or(DestinationError::NoHost)?;
        // The text and not `authority.host()`, which has made its own sense of user information and ports.
        let (host, port) = read_authority(authority.as_str()).map_err(DestinationError::Host)?;
        Ok(Self { scheme, host, port: port.unwrap_or_else(|| scheme.port()) })
    }

    /// With TLS or without.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port, the scheme's if the URI names none.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The value of the header `host`: with the port only if it is not the scheme's.
    pub(crate) fn host_header(&self) -> Option<HeaderValue> {
        let text = if self.port == self.scheme.port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        };
        HeaderValue::try_from(text).ok()
    }
}

impl fmt::Display for Destination {
    /// Scheme, host and port, each of them named.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}://{}:{}", self.scheme.as_str(), self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(uri: &str) -> Result<Destination, DestinationError> {
        Destination::of(&uri.parse().unwrap())
    }

    #[test]
    fn reads_scheme_host_and_port() {
        let found = of("https://API.example.com./notes?x=1").unwrap();
        assert_eq!((found.scheme(), found.port()), (Scheme::Https, 443));
        assert_eq!(found.host(), &Host::Name("api.example.com".into()));
        assert_eq!(found.host_header().unwrap(), "api.example.com");
        assert_eq!(found.to_string(), "https://api.example.com:443");
        assert_eq!(of("http://a.example:8080/").unwrap().host_header().unwrap(), "a.example:8080");
        assert_eq!(of("http://a.example:80/").unwrap().host_header().unwrap(), "a.example");
        assert_eq!(of("https://[2606:4700::1]:8443/").unwrap().host_header().unwrap(), "[2606:4700::1]:8443");
    }

    #[test]
    fn what_leads_nowhere_is_refused() {
        assert_eq!(of("/notes"), Err(DestinationError::Scheme));
        assert_eq!(of("ftp://example.com/"), Err(DestinationError::Scheme));
        assert_eq!(of("example.com:443"), Err(DestinationError::Scheme));
        for (uri, error) in [
            ("https://user@example.com/", HostError::UserInfo),
            ("https://api.example.com:x@evil.example/", HostError::UserInfo),
            ("https://2130706433/", HostError::Number),
            ("https://127.1/", HostError::Number),
            ("https://0x7f.0.0.1/", HostError::Number),
            ("https://[::ffff:169.254.169.254]/", HostError::Mapped),
            ("https://example.com:/", HostError::Port),
        ] {
            assert_eq!(of(uri), Err(DestinationError::Host(error)), "{uri}");
        }
    }
}

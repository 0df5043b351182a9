use std::fmt;

use http::Uri;
use reqwest::Url;

/// The address of an API server, in the one form in which two of them compare: without the default port, without a slash at the
/// end, the host in lower case and the path without `.` and `..`. What is compared is also what is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiUrl {
    text: String,
    uri: Uri,
    host: String,
    port: u16,
}

/// Why a text is no address of an API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ApiUrlError {
    #[error("is no URL")]
    NotUrl,
    #[error("must begin with https://")]
    NotHttps,
    #[error("must have no user information, query or fragment")]
    TooMuch,
}

impl ApiUrl {
    pub(crate) fn parse(text: &str) -> Result<Self, ApiUrlError> {
        let url = Url::parse(text).map_err(|_| ApiUrlError::NotUrl)?;
        if url.scheme() != "https" {
            return Err(ApiUrlError::NotHttps);
        }
        let user = !url.username().is_empty() || url.password().is_some();
        if user || url.query().is_some() || url.fragment().is_some() {
            return Err(ApiUrlError::TooMuch);
        }
        let text = url.as_str().trim_end_matches('/').to_owned();
        let host = url.host_str().ok_or(ApiUrlError::NotUrl)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let uri = text.parse().map_err(|_| ApiUrlError::NotUrl)?;
        Ok(Self { uri, host, port: url.port_or_known_default().ok_or(ApiUrlError::NotUrl)?, text })
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The name or address, an IPv6 address without its brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for ApiUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_to_the_same_place_is_the_same() {
        let url = |text| ApiUrl::parse(text).unwrap();
        for same in
            ["https://K.example.com:443/a/", "https://k.example.com/a//", "https://k.example.com/b/../a"]
        {
            assert_eq!(url(same), url("https://k.example.com/a"), "{same}");
        }
        for other in ["https://k.example.com:444/a", "https://k.example.com./a", "https://k.example.com/A"] {
            assert_ne!(url(other), url("https://k.example.com/a"), "{other}");
        }
        // Every way to write an address is the address.
        assert_eq!(url("https://0x7f.1/").host(), "127.0.0.1");
        assert_eq!(url("https://[::1]:6443").host(), "::1");
        assert_eq!((url("https://a").port(), url("https://a:6443").port()), (443, 6443));
        assert_eq!(url("https://a:6443/clusters/x/").uri().to_string(), "https://a:6443/clusters/x");
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, error) in [
            ("", ApiUrlError::NotUrl),
            ("k.example.com", ApiUrlError::NotUrl),
            ("https://", ApiUrlError::NotUrl),
            ("https://a:99999", ApiUrlError::NotUrl),
            ("http://a", ApiUrlError::NotHttps),
            ("file:///etc/passwd", ApiUrlError::NotHttps),
            ("https://a/?b", ApiUrlError::TooMuch),
            ("https://a#b", ApiUrlError::TooMuch),
            ("https://u@a", ApiUrlError::TooMuch),
            ("https://:p@a", ApiUrlError::TooMuch),
        ] {
            assert_eq!(ApiUrl::parse(text), Err(error), "{text}");
        }
    }
}

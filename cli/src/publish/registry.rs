//! Where the registry is.

use std::net::{IpAddr, UdpSocket};
use std::str::FromStr;

use reqwest::Url;

/// An address that a token may be sent to.
#[derive(Debug, Clone)]
pub(crate) struct RegistryUrl(Url);

#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistryUrlError {
    #[error("it is no URL: {0}")]
    Malformed(String),
    #[error("it must begin with https:// (or http:// on this machine)")]
    Scheme,
    #[error("it has a user, a query or a fragment; the address alone is wanted")]
    Extra,
    #[error("plain http shows your token to the network; use https://")]
    Plain,
}

impl RegistryUrl {
    /// The address of one of its endpoints.
    pub(super) fn join(&self, path: &str) -> String {
        format!("{}/{path}", self.0.as_str().trim_end_matches('/'))
    }

    pub(super) fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }
}

impl FromStr for RegistryUrl {
    type Err = RegistryUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text).map_err(|error| RegistryUrlError::Malformed(error.to_string()))?;
        let host = url.host_str().unwrap_or_default();
        if !["http", "https"].contains(&url.scheme()) || host.is_empty() {
            return Err(RegistryUrlError::Scheme);
        }
        let has_user = !url.username().is_empty() || url.password().is_some();
        if has_user || url.query().is_some() || url.fragment().is_some() {
            return Err(RegistryUrlError::Extra);
        }
        if url.scheme() == "http" && !is_here(host) {
            return Err(RegistryUrlError::Plain);
        }
        Ok(Self(url))
    }
}

/// Whether what is sent there stays on this machine.
fn is_here(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback() || is_own(address))
}

/// Whether an interface of this machine has the address, as that of a cluster's bridge: what is sent to one's own address meets no network.
fn is_own(address: IpAddr) -> bool {
    let one_host = !address.is_unspecified() && !address.is_multicast();
    // The system binds to no other machine's.
    one_host && UdpSocket::bind((address, 0)).is_ok()
}

impl std::fmt::Display for RegistryUrl {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_nowhere_in_the_clear() {
        for text in [
            "https://registry.example.com",
            "https://registry.example.com:8443/annex/",
            "http://localhost:8091",
            "http://127.0.0.1:8091",
            "http://[::1]:8091/",
        ] {
            assert!(text.parse::<RegistryUrl>().is_ok(), "{text}");
        }
        for (text, says) in [
            ("http://registry.example.com", "plain http"),
            ("http://0.0.0.0:8091", "network"),
            ("http://192.0.2.1:8091", "network"),
            ("http://localhost.example.com", "plain http"),
            ("http://10.0.0.1", "plain http"),
            ("ftp://registry.example.com", "https://"),
            ("registry.example.com", "no URL"),
            ("https://user:word@registry.example.com", "user"),
            ("https://registry.example.com?x", "query"),
        ] {
            let error = text.parse::<RegistryUrl>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn endpoints_are_below_it() {
        let url: RegistryUrl = "https://x.example.com/annex/".parse().unwrap();
        assert_eq!(url.join("api/bundles"), "https://x.example.com/annex/api/bundles");
    }
}

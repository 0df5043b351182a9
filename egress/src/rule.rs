//! One rule of an allowlist.

use std::fmt;
use std::net::IpAddr;

use annex_core::AddressPolicy;

use crate::destination::{Destination, Scheme};
use crate::host::{Host, HostError, read_authority, read_name, read_port};

/// `api.example.com`, `*.example.com`, maybe with a port; on the operator's list also `http://` before it, and an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    scheme: Scheme,
    hosts: Hosts,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    One(Host),
    /// All names that end in a dot and this one. Not the name itself.
    Below(String),
}

/// Why a text is no rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The host or the port is none.
    #[error("{0}")]
    Host(HostError),
    /// A wildcard over a whole top-level domain, or over everything.
    #[error("has a wildcard before less than two labels, which is half the world")]
    WideWildcard,
    /// A wildcard elsewhere than as the first label.
    #[error("has a wildcard that is not the whole first label")]
    Wildcard,
    /// A scheme other than http and https.
    #[error("has a scheme other than http:// and https://")]
    Scheme,
    /// A scheme where none may be: what a manifest asks for says nothing about TLS.
    #[error("has a scheme, which is the operator's to say")]
    SchemeNotYours,
    /// A path, a query or a fragment. Rules are about hosts.
    #[error("has more than a host and a port")]
    Path,
    /// An address that is not public. It would never be connected to.
    #[error("is an address that is not public, which is never connected to")]
    Address,
    /// Longer than any rule.
    #[error("has {length} characters, more than 300")]
    TooLong {
        /// How many it has.
        length: usize,
    },
}

/// Scheme, wildcard, name and port.
const MAX_RULE_LENGTH: usize = 300;

impl Rule {
    /// A rule of the operator. Without a scheme it is https, and without a port the scheme's.
    pub(crate) fn of_operator(text: &str) -> Result<Self, RuleError> {
        check_length(text)?;
        match text.split_once("://") {
            None => Self::read(Scheme::Https, text),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => Self::read(Scheme::Https, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => Self::read(Scheme::Http, rest),
            Some(_) => Err(RuleError::Scheme),
        }
    }

    /// A rule of a manifest. Without a port it is 443.
    pub(crate) fn of_manifest(text: &str) -> Result<Self, RuleError> {
        check_length(text)?;
        if text.contains("://") {
            return Err(RuleError::SchemeNotYours);
        }
        Self::read(Scheme::Https, text)
    }

    fn read(scheme: Scheme, text: &str) -> Result<Self, RuleError> {
        if text.contains(['/', '?', '#', '\\']) {
            return Err(RuleError::Path);
        }
        let (hosts, port) = match text.strip_prefix("*.") {
            Some(below) => read_below(below)?,
            None if text.contains('*') => return Err(wildcard_error(text)),
            None => {
                let (host, port) = read_authority(text).map_err(RuleError::Host)?;
                (Hosts::One(public(host)?), port)
            }
        };
        Ok(Self { scheme, hosts, port: port.unwrap_or_else(|| scheme.port()) })
    }

    pub(crate) fn is_https(&self) -> bool {
        self.scheme == Scheme::Https
    }

    /// Whether it is about this scheme, host and port.
    pub(crate) fn allows(&self, destination: &Destination) -> bool {
        self.scheme == destination.scheme() && self.names(destination)
    }

    /// Whether it is about this host and port, with and without TLS.
    pub(crate) fn names(&self, destination: &Destination) -> bool {
        self.port == destination.port()
            && match (&self.hosts, destination.host()) {
                (Hosts::One(host), asked) => host == asked,
                (Hosts::Below(suffix), Host::Name(asked)) => asked
                    .strip_suffix(suffix.as_str())
                    .and_then(|below| below.strip_suffix('.'))
                    .is_some_and(|below| !below.is_empty()),
                (Hosts::Below(_), Host::Address(_)) => false,
            }
    }
}

fn check_length(text: &str) -> Result<(), RuleError> {
    let length = text.chars().count();
    if length > MAX_RULE_LENGTH { Err(RuleError::TooLong { length }) } else { Ok(()) }
}

fn read_below(text: &str) -> Result<(Hosts, Option<u16>), RuleError> {
    if text.contains('*') {
        return Err(RuleError::Wildcard);
    }
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, Some(read_port(port).map_err(RuleError::Host)?)),
        None => (text, None),
    };
    let name = read_name(name).map_err(RuleError::Host)?;
    if !name.contains('.') {
        return Err(RuleError::WideWildcard);
    }
    Ok((Hosts::Below(name), port))
}

fn wildcard_error(text: &str) -> RuleError {
    if text == "*" || text.starts_with("*:") { RuleError::WideWildcard } else { RuleError::Wildcard }
}

fn public(host: Host) -> Result<Host, RuleError> {
    match &host {
        Host::Address(address) if AddressPolicy::default().check(*address).is_err() => {
            Err(RuleError::Address)
        }
        Host::Address(IpAddr::V4(_) | IpAddr::V6(_)) | Host::Name(_) => Ok(host),
    }
}

impl fmt::Display for Rule {
    /// With scheme and port, whatever was left out.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}://", self.scheme.as_str())?;
        match &self.hosts {
            Hosts::One(host) => host.fmt(out)?,
            Hosts::Below(name) => write!(out, "*.{name}")?,
        }
        write!(out, ":{}", self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(uri: &str) -> Destination {
        Destination::of(&uri.parse().unwrap()).unwrap()
    }

    fn allows(rule: &str, uri: &str) -> bool {
        Rule::of_operator(rule).unwrap().allows(&destination(uri))
    }

    #[test]
    fn a_host_is_that_host_in_any_case() {
        for uri in ["https://api.example.com/x", "https://API.example.COM./", "https://api.example.com:443/"]
        {
            assert!(allows("Api.Example.com.", uri), "{uri}");
        }
        for uri in [
            "https://example.com/",
            "https://x.api.example.com/",
            "https://api.example.com.evil.example/",
            "https://evilapi.example.com/",
            "https://api.example.com:8443/",
            "http://api.example.com/",
            "http://api.example.com:443/",
        ] {
            assert!(!allows("api.example.com", uri), "{uri}");
        }
    }

    #[test]
    fn a_wildcard_is_all_below_and_not_the_name_itself() {
        for uri in ["https://a.example.com/", "https://a.b.Example.com./"] {
            assert!(allows("*.example.com", uri), "{uri}");
        }
        for uri in ["https://example.com/", "https://evilexample.com/", "https://a.example.com.evil.example/"]
        {
            assert!(!allows("*.example.com", uri), "{uri}");
        }
        assert!(allows("*.example.com:8443", "https://a.example.com:8443/"));
        assert!(!allows("*.example.com:8443", "https://a.example.com/"));
    }

    #[test]
    fn plain_http_is_said_in_full() {
        assert!(allows("http://old.example.com", "http://old.example.com/"));
        assert!(allows("http://old.example.com:8080", "http://old.example.com:8080/"));
        assert!(allows("https://old.example.com", "https://old.example.com/"));
        assert!(!allows("http://old.example.com", "https://old.example.com/"));
        assert!(!allows("http://old.example.com:443", "https://old.example.com/"));
    }

    #[test]
    fn an_address_is_named_exactly_and_public() {
        assert!(allows("8.8.8.8", "https://8.8.8.8/"));
        assert!(!allows("8.8.8.8", "https://8.8.4.4/"));
        assert!(allows("[2606:4700::1111]:8443", "https://[2606:4700:0:0::1111]:8443/"));
        for rule in
            ["10.0.0.1", "127.0.0.1", "169.254.169.254", "[::1]", "[fd00:ec2::254]", "[64:ff9b::a00:1]"]
        {
            assert_eq!(Rule::of_operator(rule), Err(RuleError::Address), "{rule}");
        }
        assert_eq!(Rule::of_operator("[::ffff:8.8.8.8]"), Err(RuleError::Host(HostError::Mapped)));
        assert_eq!(Rule::of_operator("0x08080808"), Err(RuleError::Host(HostError::Number)));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for (text, error) in [
            ("*", RuleError::WideWildcard),
            ("*:443", RuleError::WideWildcard),
            ("*.com", RuleError::WideWildcard),
            ("*.com.", RuleError::WideWildcard),
            ("a.*.com", RuleError::Wildcard),
            ("*a.example.com", RuleError::Wildcard),
            ("*.*.example.com", RuleError::Wildcard),
            ("ftp://example.com", RuleError::Scheme),
            ("example.com/path", RuleError::Path),
            ("https://example.com/", RuleError::Path),
            ("example.com#x", RuleError::Path),
            ("*.1.2.3.4", RuleError::Host(HostError::Number)),
            ("*.example.com:0", RuleError::Host(HostError::Port)),
            (
                "*.user@example.com",
                RuleError::Host(HostError::Label(annex_core::LabelError::Character { character: '@' })),
            ),
            ("user@example.com", RuleError::Host(HostError::UserInfo)),
        ] {
            assert_eq!(Rule::of_operator(text), Err(error), "{text}");
        }
        assert_eq!(Rule::of_manifest("http://example.com"), Err(RuleError::SchemeNotYours));
        assert_eq!(Rule::of_operator(&"a".repeat(301)), Err(RuleError::TooLong { length: 301 }));
    }
}

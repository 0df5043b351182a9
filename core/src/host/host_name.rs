//! The host that a request asks for.

use std::str::FromStr;

use super::{LabelError, MAX_NAME_LENGTH, check_labels};
use crate::text_type::text_type;

/// A DNS name in lower case, without port and trailing dot: what a lookup is keyed by.
///
/// It is read from the value of a `Host` header (RFC 9110, section 7.2): `Acme--Hello.apps.localhost.:8080` and
/// `acme--hello.apps.localhost` are the same host. The port may be empty, as the RFC has it. An IPv4 address is
/// well formed, but [`crate::compute_domain`] never makes one, so that no lookup finds it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(String);

text_type!(HostName);

/// Why a text is no [`HostName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostNameError {
    /// Nothing there, or only a port or a dot.
    #[error("is empty")]
    Empty,
    /// A character outside ASCII: internationalised names come as their `xn--` form.
    #[error("has a character outside ascii")]
    NotAscii,
    /// A space or a control character.
    #[error("has a space or a control character")]
    Space,
    /// A user name or password before an `@`.
    #[error("has user information before an @")]
    UserInfo,
    /// An address in brackets or with colons. Extensions are told apart by name.
    #[error("is an ipv6 address, not a name")]
    Ipv6,
    /// What follows the colon is no number up to 65535.
    #[error("has a port that is no number up to 65535")]
    Port,
    /// More than 253 characters.
    #[error("has {length} characters, more than 253")]
    TooLong {
        /// How many it has.
        length: usize,
    },
    /// One of its labels is none.
    #[error("{0}")]
    Label(LabelError),
}

impl FromStr for HostName {
    type Err = HostNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.is_ascii() {
            return Err(HostNameError::NotAscii);
        }
        if text.chars().any(|c| c.is_ascii_whitespace() || c.is_ascii_control()) {
            return Err(HostNameError::Space);
        }
        if text.contains('@') {
            return Err(HostNameError::UserInfo);
        }
        let (name, port) = text.split_once(':').unwrap_or((text, ""));
        if text.starts_with('[') || port.contains(':') {
            return Err(HostNameError::Ipv6);
        }
        check_port(port)?;
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.is_empty() {
            return Err(HostNameError::Empty);
        }
        if name.len() > MAX_NAME_LENGTH {
            return Err(HostNameError::TooLong { length: name.len() });
        }
        check_labels(name).map_err(HostNameError::Label)?;
        Ok(Self(name.to_ascii_lowercase()))
    }
}

fn check_port(port: &str) -> Result<(), HostNameError> {
    // Digits first: the number parser would take a sign.
    let digits = port.chars().all(|c| c.is_ascii_digit());
    if digits && (port.is_empty() || port.parse::<u16>().is_ok()) { Ok(()) } else { Err(HostNameError::Port) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_port_and_dot_and_lowers() {
        for text in [
            "acme--hello.apps.localhost",
            "acme--hello.apps.localhost:8080",
            "acme--hello.apps.localhost:",
            "acme--hello.apps.localhost.",
            "Acme--Hello.APPS.localhost.:80",
        ] {
            assert_eq!(text.parse::<HostName>().unwrap().as_str(), "acme--hello.apps.localhost", "{text:?}");
        }
    }

    #[test]
    fn one_label_and_ipv4_are_well_formed() {
        assert!("localhost".parse::<HostName>().is_ok());
        assert!("127.0.0.1:8080".parse::<HostName>().is_ok());
    }

    #[test]
    fn each_malformed_host_has_its_error() {
        for (text, error) in [
            ("", HostNameError::Empty),
            (".", HostNameError::Empty),
            (":80", HostNameError::Empty),
            ("bücher.example", HostNameError::NotAscii),
            ("a b", HostNameError::Space),
            (" a", HostNameError::Space),
            ("a\t", HostNameError::Space),
            ("a\r\nb", HostNameError::Space),
            ("a\0", HostNameError::Space),
            ("user@host", HostNameError::UserInfo),
            ("user:secret@host:80", HostNameError::UserInfo),
            ("[::1]", HostNameError::Ipv6),
            ("[::1]:8080", HostNameError::Ipv6),
            ("::1", HostNameError::Ipv6),
            ("a:b", HostNameError::Port),
            ("a:+80", HostNameError::Port),
            ("a:65536", HostNameError::Port),
            ("a:99999999999999999999", HostNameError::Port),
            ("a..", HostNameError::Label(LabelError::Empty)),
            ("a..b", HostNameError::Label(LabelError::Empty)),
            ("-a", HostNameError::Label(LabelError::Hyphen)),
            ("a_b", HostNameError::Label(LabelError::Character { character: '_' })),
            ("a/b", HostNameError::Label(LabelError::Character { character: '/' })),
            ("a,b", HostNameError::Label(LabelError::Character { character: ',' })),
            ("a%20b", HostNameError::Label(LabelError::Character { character: '%' })),
        ] {
            assert_eq!(text.parse::<HostName>(), Err(error), "{text:?}");
        }
        let long = "a.".repeat(127) + "a";
        assert_eq!(long.parse::<HostName>(), Err(HostNameError::TooLong { length: 255 }));
    }

    #[test]
    fn json_is_checked_like_a_header() {
        let host: HostName = serde_json::from_str(r#""A.example:80""#).unwrap();
        assert_eq!(serde_json::to_string(&host).unwrap(), r#""a.example""#);
        assert!(serde_json::from_str::<HostName>(r#""a b""#).is_err());
    }
}

//! The host of a rule or of a request, in the one spelling that counts.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use annex_core::{LabelError, MAX_NAME_LENGTH, check_labels, is_number};

/// A name in lower case without a trailing dot, or an address.
///
/// Both sides of a comparison are read by the same function, and what was read is also what is resolved, sent as `host` and
/// checked against the certificate: there is no second spelling that one of them could understand in another way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A DNS name, internationalised labels in their `xn--` form. Those are compared as they are, and never decoded.
    Name(String),
    /// An address, by its value.
    Address(IpAddr),
}

/// Why a text names no host and port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// A user or a password. What looks like the host before an `@` is none.
    #[error("has user information before an @")]
    UserInfo,
    /// A label of the name is none. Names with other letters must be written in their `xn--` form.
    #[error("{0}")]
    Label(LabelError),
    /// Too long for a name.
    #[error("has a name of {length} characters, more than 253")]
    TooLong {
        /// How many it has.
        length: usize,
    },
    /// An IPv4 address in decimal, octal, hexadecimal, with less than four parts or with a trailing dot.
    #[error("is an ipv4 address that is not written as four decimal numbers")]
    Number,
    /// Brackets with something else than an IPv6 address in them, such as one with a zone.
    #[error("has brackets around what is no ipv6 address")]
    Brackets,
    /// An IPv6 address that stands for an IPv4 address.
    #[error("is an ipv4 address that is written as an ipv6 address")]
    Mapped,
    /// No port after the colon.
    #[error("has no port from 1 to 65535 after the colon")]
    Port,
}

/// Reads `host`, `host:port`, `[address]` or `[address]:port`. One trailing dot of a name is taken off, and upper case lowered.
///
/// # Errors
/// It is anything else, or an address in another spelling than the usual one, which two programs might read as two addresses.
pub(crate) fn read_authority(text: &str) -> Result<(Host, Option<u16>), HostError> {
    if text.contains('@') {
        return Err(HostError::UserInfo);
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or(HostError::Brackets)?;
        let port = match port.strip_prefix(':') {
            Some(port) => Some(read_port(port)?),
            None if port.is_empty() => None,
            None => return Err(HostError::Port),
        };
        return Ok((Host::Address(read_v6(address)?), port));
    }
    match text.split_once(':') {
        Some((host, port)) => Ok((read_host(host)?, Some(read_port(port)?))),
        None => Ok((read_host(text)?, None)),
    }
}

fn read_host(text: &str) -> Result<Host, HostError> {
    // Four decimal numbers and nothing else: the standard library reads neither octal nor short forms.
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Ok(Host::Address(address.into()));
    }
    read_name(text).map(Host::Name)
}

/// Reads a name, which no resolver takes for an address.
pub(crate) fn read_name(text: &str) -> Result<String, HostError> {
    let name = text.strip_suffix('.').unwrap_or(text);
    check_labels(name).map_err(HostError::Label)?;
    if name.len() > MAX_NAME_LENGTH {
        return Err(HostError::TooLong { length: name.len() });
    }
    if name.rsplit('.').next().is_some_and(is_number) {
        return Err(HostError::Number);
    }
    Ok(name.to_ascii_lowercase())
}

fn read_v6(text: &str) -> Result<IpAddr, HostError> {
    let address: Ipv6Addr = text.parse().map_err(|_| HostError::Brackets)?;
    if address.to_ipv4_mapped().is_some() {
        return Err(HostError::Mapped);
    }
    Ok(address.into())
}

/// Digits only: the number parser would take a sign. No leading zero, so that there is one spelling.
pub(crate) fn read_port(text: &str) -> Result<u16, HostError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| plain).ok_or(HostError::Port)
}

impl fmt::Display for Host {
    /// As in a URI: an IPv6 address has brackets.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => out.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(out),
            Self::Address(IpAddr::V6(address)) => write!(out, "[{address}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Host {
        Host::Name(text.to_owned())
    }

    #[test]
    fn case_and_one_trailing_dot_do_not_matter() {
        for (text, host, port) in [
            ("api.example.com", name("api.example.com"), None),
            ("API.Example.COM.", name("api.example.com"), None),
            ("api.example.com.:8443", name("api.example.com"), Some(8443)),
            ("xn--bcher-kva.example", name("xn--bcher-kva.example"), None),
            ("localhost", name("localhost"), None),
            ("8.8.8.8:53", Host::Address([8, 8, 8, 8].into()), Some(53)),
            ("[2606:4700:0::1111]:443", Host::Address("2606:4700::1111".parse().unwrap()), Some(443)),
        ] {
            assert_eq!(read_authority(text), Ok((host, port)), "{text}");
        }
    }

    #[test]
    fn no_other_spelling_of_an_address_is_read() {
        for text in [
            "2130706433",
            "0x7f000001",
            "0X7F.1",
            "127.1",
            "127.0.1",
            "0177.0.0.1",
            "127.0.0.01",
            "127.0.0.0x1",
            "127.0.0.1.",
            "8.8.8.8.",
            "256.0.0.1",
            "1.2.3.4.5",
        ] {
            assert_eq!(read_authority(text), Err(HostError::Number), "{text}");
        }
        for text in ["[::ffff:8.8.8.8]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:1.1.1.1]:443"] {
            assert_eq!(read_authority(text), Err(HostError::Mapped), "{text}");
        }
        for text in ["[fe80::1%eth0]", "[fe80::1%25eth0]", "[8.8.8.8]", "[v1.x]", "[]", "[::1", "[ ::1]"] {
            assert_eq!(read_authority(text), Err(HostError::Brackets), "{text}");
        }
        // Digits of other scripts, and dots, that some resolvers turn into ours.
        for text in ["１２７.0.0.1", "127。0。0。1", "①.②.③.④", "ｅxample.com"] {
            assert!(matches!(read_authority(text), Err(HostError::Label(_) | HostError::Number)), "{text}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for (text, error) in [
            ("user@example.com", HostError::UserInfo),
            ("api.example.com@evil.example", HostError::UserInfo),
            ("api.example.com:443@evil.example", HostError::UserInfo),
            ("", HostError::Label(LabelError::Empty)),
            (".", HostError::Label(LabelError::Empty)),
            ("a..", HostError::Label(LabelError::Empty)),
            (".example.com", HostError::Label(LabelError::Empty)),
            ("a%2eb", HostError::Label(LabelError::Character { character: '%' })),
            ("a_b", HostError::Label(LabelError::Character { character: '_' })),
            ("a b", HostError::Label(LabelError::Character { character: ' ' })),
            ("a\0b", HostError::Label(LabelError::Character { character: '\0' })),
            ("bücher.example", HostError::Label(LabelError::Character { character: 'ü' })),
            ("example.com:", HostError::Port),
            ("example.com:0", HostError::Port),
            ("example.com:0443", HostError::Port),
            ("example.com:+443", HostError::Port),
            ("example.com:65536", HostError::Port),
            ("example.com:443:443", HostError::Port),
            ("[::2]443", HostError::Port),
            ("::1", HostError::Label(LabelError::Empty)),
        ] {
            assert_eq!(read_authority(text), Err(error), "{text:?}");
        }
        let long = format!("{}com", "a.".repeat(126));
        assert_eq!(read_authority(&long), Err(HostError::TooLong { length: 255 }));
    }

    proptest! {
        #[test]
        fn what_is_read_is_read_again_as_itself(text in "(?i)[a-z0-9x.\\[\\]:@%-]{0,40}|\\PC{0,20}") {
            if let Ok((host, port)) = read_authority(&text) {
                let port = port.map_or_else(String::new, |port| format!(":{port}"));
                let again = format!("{host}{port}");
                let (host_again, _) = read_authority(&again).unwrap();
                prop_assert_eq!(&host_again, &host);
                prop_assert!(again.is_ascii() && !again.contains(['@', '%', ' ']));
                prop_assert_eq!(again.to_ascii_lowercase(), again);
            }
        }

        #[test]
        fn a_name_is_never_what_a_resolver_takes_for_an_address(
            parts in proptest::collection::vec("0x[0-9a-f]{1,8}|0[0-7]{1,11}|[0-9]{1,10}", 1..5),
            dot in any::<bool>(),
        ) {
            let text = format!("{}{}", parts.join("."), if dot { "." } else { "" });
            match read_authority(&text) {
                Ok((Host::Address(address), None)) => prop_assert_eq!(address.to_string(), text),
                other => prop_assert_eq!(other, Err(HostError::Number)),
            }
        }

        #[test]
        fn an_ipv6_address_is_read_by_value_unless_it_is_mapped(bits in any::<u128>()) {
            let address = Ipv6Addr::from_bits(bits);
            let read = read_authority(&format!("[{address}]:8443"));
            prop_assert_eq!(read, Ok((Host::Address(address.into()), Some(8443))));
            let mapped = Ipv4Addr::from_bits(bits as u32).to_ipv6_mapped();
            prop_assert_eq!(read_authority(&format!("[{mapped}]")), Err(HostError::Mapped));
        }
    }
}

//! What is fuzzed, as plain functions: libfuzzer calls them for hours, and the tests of `annex-service` call them on stable Rust with the
//! corpus and some thousands of its mutations.
//!
//! Each panics where something holds not that must hold for every input.

use annex_core::HostName;
use annex_service::{HostHeaderError, requested_host};
use axum::http::{HeaderMap, HeaderValue, Uri, header::HOST};

/// The target of a request, and then on each further line a `Host` that it has. Whatever they are, at most one host comes of them, in one
/// spelling, and it is the one that whoever stands in front went by.
pub fn host(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let Some(target) = lines.next().and_then(|line| Uri::try_from(line).ok()) else { return };
    let values: Vec<HeaderValue> = lines.filter_map(|line| HeaderValue::from_bytes(line).ok()).collect();
    let read = requested_host(&target, &headers(&values));
    match &values[..] {
        [] => assert_eq!(read, Err(HostHeaderError::Missing)),
        [value] => {
            if let Ok(host) = read {
                one_spelling(&host);
                as_others_read_it(value.to_str().unwrap(), &host);
                as_the_target_says(&target, &host);
            }
        }
        _ => assert_eq!(read, Err(HostHeaderError::Duplicate), "also where they are the same"),
    }
}

fn headers(values: &[HeaderValue]) -> HeaderMap {
    values.iter().map(|value| (HOST, value.clone())).collect()
}

fn reads(value: &str) -> Result<HostName, HostHeaderError> {
    requested_host(&Uri::from_static("/"), &headers(&[value.parse().unwrap()]))
}

/// It is a key: neither port nor dot nor case nor anything that a lookup would read as more than a name is left in it.
fn one_spelling(host: &HostName) {
    let text = host.as_str();
    assert!((1..=253).contains(&text.len()), "{text}");
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    assert!(text.bytes().all(plain) && !text.starts_with('.') && !text.ends_with('.'), "{text}");
    for same in [
        text.to_owned(),
        text.to_ascii_uppercase(),
        format!("{text}."),
        format!("{text}:"),
        format!("{text}:8443"),
        format!("{text}.:0"),
    ] {
        assert_eq!(reads(&same).as_ref(), Ok(host), "{same}");
    }
    for other in [
        format!("{text}.."),
        format!(".{text}"),
        format!("u@{text}"),
        format!("{text}:8443:1"),
        format!("{text} "),
    ] {
        assert_ne!(reads(&other).as_ref(), Ok(host), "{other}");
    }
}

/// An ingress that reads the header by RFC 3986 sees no other host.
fn as_others_read_it(value: &str, host: &HostName) {
    let Ok(authority) = value.parse::<axum::http::uri::Authority>() else {
        // Without a port after its colon, which the RFC allows and that parser does not.
        return assert!(value.ends_with(':'), "{value}");
    };
    assert_eq!(plain(authority.host()), host.as_str(), "{value}");
}

/// In absolute form, it may not be for another host.
fn as_the_target_says(target: &Uri, host: &HostName) {
    if let Some(authority) = target.authority() {
        assert_eq!(plain(authority.host()), host.as_str(), "{target}");
        assert!(!authority.as_str().contains('@'), "{target}");
    }
}

fn plain(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

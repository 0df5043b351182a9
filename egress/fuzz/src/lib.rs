//! What is fuzzed, as plain functions: libfuzzer calls them for hours, and the tests of `annex-egress` call them on stable Rust with the
//! corpus and some thousands of its mutations.
//!
//! Each panics where something holds not that must hold for every input.

use annex_core::AddressPolicy;
use annex_egress::{Destination, Host, ManifestList, OperatorList, Scheme};
use url::Url;

/// Three lines: an operator's list, a manifest's rules with spaces between them, and the URI that a guest asks for.
pub fn allowlist(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let mut lines = text.splitn(3, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let operator = line().parse::<OperatorList>();
    let manifest = ManifestList::parse(line().split(' ').filter(|rule| !rule.is_empty()));
    let uri = line();

    if let Ok(list) = &operator {
        assert_eq!(list.to_string().parse().as_ref(), Ok(list), "a list reads back as itself");
    }
    let Some(destination) = uri.parse().ok().and_then(|uri| Destination::of(&uri).ok()) else { return };
    one_spelling(&destination);
    as_others_read_it(uri, &destination);
    let (Ok(operator), Ok(manifest)) = (operator, manifest) else { return };
    if operator.allows(&destination) && manifest.allows(&destination) {
        assert!(!operator.is_empty());
        if let Host::Address(address) = destination.host() {
            assert!(
                AddressPolicy::default().check(*address).is_ok(),
                "an address that is not public is allowed"
            );
        }
    }
}

/// What was read is read again as itself, and as nothing else.
fn one_spelling(destination: &Destination) {
    let host = destination.host().to_string();
    assert!(
        host.is_ascii() && host.to_ascii_lowercase() == host && !host.contains(['@', '%', '/', ' ', '*'])
    );
    let scheme = match destination.scheme() {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    let again = format!("{scheme}://{host}:{}/", destination.port());
    assert_eq!(Destination::of(&again.parse().unwrap()).as_ref(), Ok(destination), "{again}");
}

/// Browsers and most clients read a URI by the WHATWG standard. It may refuse what we take, but it never sees another host.
fn as_others_read_it(uri: &str, destination: &Destination) {
    let Ok(url) = Url::parse(uri) else { return };
    let host = match url.host().unwrap() {
        url::Host::Domain(name) => Host::Name(name.strip_suffix('.').unwrap_or(name).to_owned()),
        url::Host::Ipv4(address) => Host::Address(address.into()),
        url::Host::Ipv6(address) => Host::Address(address.into()),
    };
    assert_eq!(&host, destination.host(), "{uri}");
    assert_eq!(url.port_or_known_default(), Some(destination.port()), "{uri}");
}

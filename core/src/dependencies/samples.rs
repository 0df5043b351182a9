//! Short ways to write extensions and needs in tests.

use std::collections::BTreeMap;

use semver::Version;

use super::{Installed, Need, Needed, Offer, Present};
use crate::{ExtensionName, parse_requirement};

pub(super) fn name(text: &str) -> ExtensionName {
    text.parse().unwrap()
}

/// `com.example.a ^1` or `interface users ^1`.
pub(super) fn need(text: &str) -> Need {
    let (of, version) = text.rsplit_once(' ').unwrap();
    let of = match of.strip_prefix("interface ") {
        Some(interface) => Needed::Interface(interface.to_owned()),
        None => Needed::Extension(name(of)),
    };
    Need { of, version: parse_requirement(version).unwrap(), is_optional: false }
}

pub(super) fn optional(text: &str) -> Need {
    Need { is_optional: true, ..need(text) }
}

fn provides<'a>(pairs: impl Iterator<Item = &'a str>) -> BTreeMap<String, Version> {
    pairs
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(interface, version)| (interface.to_owned(), version.parse().unwrap()))
        .collect()
}

/// `com.example.a 1.0.0 users=1.0.0`, ready.
pub(super) fn present(text: &str) -> Present {
    let mut words = text.split(' ');
    let (extension, version) = (name(words.next().unwrap()), words.next().unwrap().parse().unwrap());
    Present { extension, version, provides: provides(words), is_ready: true, is_leaving: false }
}

/// The same with what it needs.
pub(super) fn installed(text: &str, needs: &[&str]) -> Installed {
    Installed { present: present(text), needs: needs.iter().map(|text| need(text)).collect() }
}

/// The same, not ready.
pub(super) fn waiting(text: &str, needs: &[&str]) -> Installed {
    let mut all = installed(text, needs);
    all.present.is_ready = false;
    all
}

/// The same, to be deleted.
pub(super) fn leaving(text: &str, needs: &[&str]) -> Installed {
    let mut all = installed(text, needs);
    all.present.is_leaving = true;
    all
}

/// `1.0.0 users=1.0.0` with what it needs.
pub(super) fn offer(text: &str, needs: &[&str]) -> Offer {
    let mut words = text.split(' ');
    let version = words.next().unwrap().parse().unwrap();
    Offer { version, provides: provides(words), needs: needs.iter().map(|text| need(text)).collect() }
}

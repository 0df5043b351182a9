//! What an extension may import, and which grant it takes.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// A capability of the host: a group of imports that a tenant grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    /// `http.fetch`: requests to the outside, through [`crate::Egress`].
    HttpFetch,
    /// `storage.kv`: values that outlive a call.
    StorageKv,
    /// `secrets`: the Secrets that the tenant names.
    Secrets,
    /// `log`: lines in the platform's log.
    Log,
    /// `metrics`: counters and measurements.
    Metrics,
    /// `context`: what the call is.
    Context,
}

/// A word that is no capability of this engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no capability of this engine")]
pub struct UnknownCapability;

impl Capability {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::HttpFetch, Self::StorageKv, Self::Secrets, Self::Log, Self::Metrics, Self::Context];

    /// The word that manifests and Installs have.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HttpFetch => "http.fetch",
            Self::StorageKv => "storage.kv",
            Self::Secrets => "secrets",
            Self::Log => "log",
            Self::Metrics => "metrics",
            Self::Context => "context",
        }
    }

    /// The one interface that it gives, without its version.
    const fn interface(self) -> &'static str {
        match self {
            Self::HttpFetch => "wasi:http/outgoing-handler",
            Self::StorageKv => "annex:host/storage-kv",
            Self::Secrets => "annex:host/secrets",
            Self::Log => "annex:host/log",
            Self::Metrics => "annex:host/metrics",
            Self::Context => "annex:host/context",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Capability {
    type Err = UnknownCapability;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|capability| capability.name() == text).ok_or(UnknownCapability)
    }
}

/// A set of capabilities: what was granted.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capabilities(BTreeSet<Capability>);

impl Capabilities {
    /// Nothing but what every component has: clocks, random numbers, and standard streams that lead nowhere but the log.
    pub fn none() -> Self {
        Self::default()
    }

    /// Those of these names.
    ///
    /// # Errors
    /// The first name that is no capability of this engine: to link less than was granted would be another extension.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, &'a str> {
        names.into_iter().map(|name| name.parse().map_err(|_| name)).collect()
    }

    /// Whether it was granted.
    pub fn has(&self, capability: Capability) -> bool {
        self.0.contains(&capability)
    }

    /// Those that were granted, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = Capability> + '_ {
        self.0.iter().copied()
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Capability>>(granted: I) -> Self {
        Self(granted.into_iter().collect())
    }
}

/// What an import takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Import {
    /// Nothing: every component has it.
    Free,
    /// A grant.
    Needs(Capability),
    /// No grant would do.
    Unknown,
}

/// Interfaces that reach nothing: no file is opened before the guest starts, the environment is empty, input is at its end.
///
/// `wasi:sockets` is left out on purpose. With no address allowed it would reach nothing either, but egress must have one way
/// out and not two.
const FREE: [&str; 21] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:http/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
];

/// What the import of a component takes, by its name, such as `annex:host/storage-kv@0.1.0`.
pub(crate) fn import(name: &str) -> Import {
    // The version is matched when the component is linked, by semver.
    let interface = name.split_once('@').map_or(name, |(interface, _)| interface);
    if FREE.contains(&interface) {
        return Import::Free;
    }
    let capability = Capability::ALL.into_iter().find(|capability| capability.interface() == interface);
    capability.map_or(Import::Unknown, Import::Needs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back() {
        for capability in Capability::ALL {
            assert_eq!(capability.name().parse(), Ok(capability));
            assert_eq!(import(capability.interface()), Import::Needs(capability));
        }
        assert_eq!("storage".parse::<Capability>(), Err(UnknownCapability));
    }

    #[test]
    fn an_import_takes_what_its_interface_takes() {
        assert_eq!(import("wasi:io/streams@0.2.6"), Import::Free);
        assert_eq!(import("wasi:http/outgoing-handler@0.2.0"), Import::Needs(Capability::HttpFetch));
        assert_eq!(import("annex:host/secrets@0.1.0"), Import::Needs(Capability::Secrets));
    }

    #[test]
    fn sockets_and_what_nobody_knows_are_unknown() {
        for name in
            ["wasi:sockets/tcp@0.2.0", "wasi:sockets/ip-name-lookup", "annex:host/storage-kv2", "", "@"]
        {
            assert_eq!(import(name), Import::Unknown, "{name:?}");
        }
    }
}

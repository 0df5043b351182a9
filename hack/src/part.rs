//! The processes of the environment.

use std::fmt;

/// One process that `up` starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The control plane, with its embedded etcd. Absent where kcp runs elsewhere.
    Kcp,
    /// What answers on the installs' domains. With Knative it runs on the cluster instead.
    Runner,
    /// What carries the installs' domains from this machine to the cluster's own ingress. Only with Knative.
    Ingress,
    /// What seeds new workspaces.
    Initializer,
    /// What publishes bundles, and answers the runner's lookups.
    Registry,
    /// What lets callers in to extensions' APIs.
    Gateway,
    /// What reconciles installs.
    Controller,
}

impl Part {
    /// All of them, in the order in which they start.
    pub const ALL: [Self; 7] = [
        Self::Kcp,
        Self::Registry,
        Self::Runner,
        Self::Gateway,
        Self::Ingress,
        Self::Initializer,
        Self::Controller,
    ];
    /// All but kcp, in the order in which they start.
    pub const SERVICES: [Self; 6] =
        [Self::Registry, Self::Runner, Self::Gateway, Self::Ingress, Self::Initializer, Self::Controller];

    /// The name of its log and of its process record.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kcp => "kcp",
            Self::Runner => "runner",
            Self::Ingress => "ingress",
            Self::Initializer => "initializer",
            Self::Registry => "registry",
            Self::Gateway => "gateway",
            Self::Controller => "controller",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

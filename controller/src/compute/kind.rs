use kube::core::ApiResource;

/// The kinds of the compute cluster that Annex reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Namespace,
    ResourceQuota,
    NetworkPolicy,
    /// The wildcard certificate of the domains, and its copies.
    Secret,
    /// Knative's, not the core one.
    Service,
    DomainMapping,
    ClusterDomainClaim,
}

/// The label by which Knative objects name each other.
pub(crate) const SERVING: &str = "serving.knative.dev";

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::ResourceQuota => "ResourceQuota",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::Secret => "Secret",
            Self::Service => "Service",
            Self::DomainMapping => "DomainMapping",
            Self::ClusterDomainClaim => "ClusterDomainClaim",
        }
    }

    pub(crate) fn is_namespaced(self) -> bool {
        !matches!(self, Self::Namespace | Self::ClusterDomainClaim)
    }

    /// `mappings` is the version of `serving.knative.dev` that serves DomainMappings.
    pub(crate) fn resource(self, mappings: &str) -> ApiResource {
        let (group, version, plural) = match self {
            Self::Namespace => ("", "v1", "namespaces"),
            Self::ResourceQuota => ("", "v1", "resourcequotas"),
            Self::NetworkPolicy => ("networking.k8s.io", "v1", "networkpolicies"),
            Self::Secret => ("", "v1", "secrets"),
            Self::Service => (SERVING, "v1", "services"),
            Self::DomainMapping => (SERVING, mappings, "domainmappings"),
            Self::ClusterDomainClaim => {
                ("networking.internal.knative.dev", "v1alpha1", "clusterdomainclaims")
            }
        };
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version,
            kind: self.name().to_owned(),
            plural: plural.to_owned(),
        }
    }
}

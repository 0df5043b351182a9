/// A kind of objects that a [`Shard`](crate::Shard) serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) name: String,
    pub(crate) plural: String,
    pub(crate) namespaced: bool,
}

impl Kind {
    /// A namespaced kind, such as `("v1", "ConfigMap")` or `("annex.sh/v1alpha1", "Install")`. Its plural is guessed as English has
    /// it.
    #[must_use]
    pub fn new(api_version: &str, name: &str) -> Self {
        let (group, version) = group_version(api_version);
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            name: name.to_owned(),
            plural: plural_of(&name.to_lowercase()),
            namespaced: true,
        }
    }

    /// The same kind without namespaces.
    #[must_use]
    pub fn cluster_scoped(self) -> Self {
        Self { namespaced: false, ..self }
    }

    /// The same kind under another plural: what its URLs have.
    #[must_use]
    pub fn with_plural(self, plural: &str) -> Self {
        Self { plural: plural.to_owned(), ..self }
    }

    /// Group and version, as objects have it.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    pub(crate) fn is(&self, api_version: &str, name: &str) -> bool {
        self.name == name && group_version(api_version) == (&self.group, &self.version)
    }

    /// Kubernetes' own kinds that a kcp serves in each workspace and that controllers use without making them.
    pub(crate) fn always_there() -> Vec<Self> {
        vec![
            Self::new("v1", "ConfigMap"),
            Self::new("v1", "Secret"),
            Self::new("v1", "Event"),
            Self::new("v1", "Namespace").cluster_scoped(),
            Self::new("coordination.k8s.io/v1", "Lease"),
        ]
    }

    /// Whether the status of an object is written through `/status` only. The group of the built-in kinds here have none.
    pub(crate) fn has_status(&self) -> bool {
        !self.group.is_empty() && self.group != "coordination.k8s.io"
    }

    /// Whether an update without a resourceVersion overwrites what is there; otherwise it is refused.
    pub(crate) fn allows_unconditional_update(&self) -> bool {
        self.group.is_empty()
    }

    /// `installs.annex.sh`, as messages name it.
    pub(crate) fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }
}

fn group_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

fn plural_of(singular: &str) -> String {
    let ends = |ends: &[&str]| ends.iter().any(|end| singular.ends_with(end));
    match singular.strip_suffix('y') {
        Some(stem) if !ends(&["ay", "ey", "oy", "uy"]) => format!("{stem}ies"),
        _ if ends(&["s", "x", "z", "ch", "sh"]) => format!("{singular}es"),
        _ => format!("{singular}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_knows_its_group_and_guesses_its_plural() {
        let plural = |kind: &str| Kind::new("v1", kind).plural;
        assert_eq!(plural("ConfigMap"), "configmaps");
        assert_eq!(plural("NetworkPolicy"), "networkpolicies");
        assert_eq!(plural("Ingress"), "ingresses");
        assert_eq!(plural("Gateway"), "gateways");
        let kind = Kind::new("annex.sh/v1alpha1", "Install");
        assert_eq!((kind.group.as_str(), kind.version.as_str()), ("annex.sh", "v1alpha1"));
        assert_eq!(kind.api_version(), "annex.sh/v1alpha1");
        assert!(kind.is("annex.sh/v1alpha1", "Install") && !kind.is("annex.sh/v1", "Install"));
        assert_eq!(kind.resource(), "installs.annex.sh");
    }
}

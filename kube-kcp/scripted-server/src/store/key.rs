/// Where an object is, in the order in which a list has them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) cluster: Box<str>,
    /// Empty for what has no namespace.
    pub(crate) namespace: Box<str>,
    pub(crate) name: Box<str>,
}

impl Key {
    pub(crate) fn new(cluster: &str, namespace: &str, name: &str) -> Self {
        Self { cluster: cluster.into(), namespace: namespace.into(), name: name.into() }
    }
}

/// Which objects a request is about, before any selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Everything,
    Cluster(String),
    Namespace(String, String),
}

impl Scope {
    pub(crate) fn holds(&self, key: &Key) -> bool {
        match self {
            Self::Everything => true,
            Self::Cluster(cluster) => **cluster == *key.cluster,
            Self::Namespace(cluster, namespace) => **cluster == *key.cluster && **namespace == *key.namespace,
        }
    }

    /// Not after the first key that it holds.
    pub(crate) fn start(&self) -> Key {
        match self {
            Self::Everything => Key::new("", "", ""),
            Self::Cluster(cluster) => Key::new(cluster, "", ""),
            Self::Namespace(cluster, namespace) => Key::new(cluster, namespace, ""),
        }
    }
}

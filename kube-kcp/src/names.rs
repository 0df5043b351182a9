use std::{fmt, str::FromStr};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

/// On every object that is read over a wildcard: the logical cluster that it lives in.
pub const CLUSTER_ANNOTATION: &str = "kcp.io/cluster";
/// On LogicalClusters and APIBindings: the workspace's path. It is for people; a path can be used again by another
/// workspace, a cluster name cannot.
pub const PATH_ANNOTATION: &str = "kcp.io/path";

/// A name that is none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NameError {
    /// Not a logical cluster name.
    #[error(
        "{0:?} is not a logical cluster name: 1 to 63 characters of a-z, 0-9 and -, beginning and ending with a letter or digit"
    )]
    Cluster(String),
    /// Not the URL of a virtual workspace.
    #[error("{0:?} is not an absolute http or https URL without query")]
    Shard(String),
}

/// The name of a logical cluster, such as `1s8uv2zt5c3nc1hy`: unique and stable, unlike a workspace's path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterName(std::sync::Arc<str>);

impl ClusterName {
    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClusterName {
    type Err = NameError;

    /// Refuses whatever could change the path of a request that the name is put into.
    fn from_str(name: &str) -> Result<Self, NameError> {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let valid = (1..=63).contains(&name.len())
            && name.chars().all(inner)
            && !name.starts_with('-')
            && !name.ends_with('-');
        if valid { Ok(Self(name.into())) } else { Err(NameError::Cluster(name.to_owned())) }
    }
}

impl TryFrom<String> for ClusterName {
    type Error = NameError;
    fn try_from(name: String) -> Result<Self, NameError> {
        name.parse()
    }
}

impl From<ClusterName> for String {
    fn from(name: ClusterName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The base URL of one shard's virtual workspace, without `/clusters/…` and without a slash at the end. Resource versions
/// compare only within one shard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardUrl(std::sync::Arc<str>);

impl ShardUrl {
    /// The URL itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ShardUrl {
    type Err = NameError;

    fn from_str(url: &str) -> Result<Self, NameError> {
        let refused = || NameError::Shard(url.to_owned());
        let uri: http::Uri = url.parse().map_err(|_| refused())?;
        let absolute = matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some();
        if !absolute || uri.query().is_some() {
            return Err(refused());
        }
        Ok(Self(url.trim_end_matches('/').into()))
    }
}

impl fmt::Display for ShardUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which object: of which logical cluster, which namespace (empty for cluster-scoped), which name.
///
/// The shard is not part of it. A logical cluster is on one shard, and its name is unique over all of them; the shard's URL may
/// change, and what is known of an object by its key must not be lost with it. Where a cluster is now, says
/// [`VirtualWorkspace::shard_of`](crate::VirtualWorkspace::shard_of).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The logical cluster that it lives in.
    pub cluster: ClusterName,
    /// Its namespace, empty where it has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ObjectKey {
    /// The key of an object that was read over a wildcard.
    ///
    /// # Errors
    /// The object does not say which logical cluster it lives in. That is an error and never a default: taking it for
    /// another workspace's object would let one tenant act on another's.
    pub fn of(meta: &ObjectMeta) -> Result<Self, MissingCluster> {
        Ok(Self {
            cluster: cluster_of(meta)?,
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        })
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}/{}", self.cluster, self.namespace, self.name)
    }
}

/// An object without a usable `kcp.io/cluster` annotation.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("object {namespace}/{name} does not say which logical cluster it lives in")]
pub struct MissingCluster {
    namespace: String,
    name: String,
}

/// The logical cluster that an object says it lives in.
///
/// # Errors
/// The annotation is absent or no cluster name.
pub fn cluster_of(meta: &ObjectMeta) -> Result<ClusterName, MissingCluster> {
    meta.annotations
        .as_ref()
        .and_then(|annotations| annotations.get(CLUSTER_ANNOTATION))
        .and_then(|name| name.parse().ok())
        .ok_or_else(|| MissingCluster {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_name_cannot_change_a_path() {
        for bad in ["", "*", "root:acme", "a/b", "..", "a?b", "A", "-a", "a-", &"a".repeat(64)] {
            assert_eq!(bad.parse::<ClusterName>(), Err(NameError::Cluster(bad.to_owned())));
        }
        assert_eq!("1s8uv2zt5c3nc1hy".parse::<ClusterName>().unwrap().as_str(), "1s8uv2zt5c3nc1hy");
    }

    #[test]
    fn a_shard_url_is_absolute_and_loses_its_last_slash() {
        for bad in ["", "/services/x", "ftp://a/b", "https://a/b?c=d"] {
            assert!(bad.parse::<ShardUrl>().is_err(), "{bad}");
        }
        assert_eq!("https://a:1/b/".parse::<ShardUrl>().unwrap().as_str(), "https://a:1/b");
    }

    #[test]
    fn an_object_without_cluster_has_no_key() {
        let meta = ObjectMeta { name: Some("x".into()), ..Default::default() };
        assert!(ObjectKey::of(&meta).is_err());
    }
}

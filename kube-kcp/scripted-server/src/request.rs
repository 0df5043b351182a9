use http::{Method, Version};
use hyper::body::Bytes;

use crate::form::Form;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Reads a collection.
    List,
    /// Follows a collection.
    Watch,
    /// Reads one object.
    Get,
    /// POST.
    Create,
    /// PUT.
    Update,
    /// PATCH.
    Patch,
    /// DELETE of one object.
    Delete,
    /// Anything else.
    Other,
}

impl Verb {
    /// Whether it changes something.
    #[must_use]
    pub fn is_write(self) -> bool {
        matches!(self, Self::Create | Self::Update | Self::Patch | Self::Delete)
    }
}

/// A request that came. Its headers are not kept: there are credentials in them.
#[derive(Clone)]
pub struct Request {
    pub(crate) verb: Verb,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) shard: Option<String>,
    pub(crate) place: Option<Place>,
    pub(crate) form: Form,
    pub(crate) version: Version,
    pub(crate) content_type: String,
    pub(crate) body: Bytes,
}

impl Request {
    /// What it does.
    #[must_use]
    pub fn verb(&self) -> Verb {
        self.verb
    }

    /// Its method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Its path, with the shard's prefix and without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// A parameter of its query, decoded.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|pair| pair.0 == name).map(|pair| pair.1.as_str())
    }

    /// The prefix of the shard that it went to; none if there is no such shard.
    #[must_use]
    pub fn shard(&self) -> Option<&str> {
        self.shard.as_deref()
    }

    /// The cluster in its path: a name, or `*`.
    #[must_use]
    pub fn cluster(&self) -> Option<&str> {
        self.place.as_ref()?.cluster.as_deref()
    }

    /// The plural of its kind.
    #[must_use]
    pub fn plural(&self) -> Option<&str> {
        self.place.as_ref().map(|place| place.plural.as_str())
    }

    /// The namespace in its path.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.place.as_ref()?.namespace.as_deref()
    }

    /// The object's name in its path.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.place.as_ref()?.name.as_deref()
    }

    /// What comes after the name in its path, such as `status`.
    #[must_use]
    pub fn subresource(&self) -> Option<&str> {
        self.place.as_ref()?.subresource.as_deref()
    }

    /// Whether it asked for the objects' metadata only.
    #[must_use]
    pub fn is_metadata_only(&self) -> bool {
        self.form == Form::Metadata
    }

    /// Whether it came over HTTP/2.
    #[must_use]
    pub fn is_http2(&self) -> bool {
        self.version == Version::HTTP_2
    }

    /// What it sent.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let query = self.query.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
        write!(f, "{:?} {}?{} ({} bytes)", self.verb, self.path, query.join("&"), self.body.len())
    }
}

/// What a path is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Absent: the shard's home.
    pub(crate) cluster: Option<String>,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
}

impl Place {
    /// Of a path without the shard's prefix.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let mut segments = path.strip_prefix('/')?.trim_end_matches('/').split('/').peekable();
        let cluster = match segments.peek() {
            Some(&"clusters") => segments.nth(1).map(Some)?,
            _ => None,
        };
        let (group, version) = match segments.next()? {
            "api" => ("", segments.next()?),
            "apis" => (segments.next()?, segments.next()?),
            _ => return None,
        };
        let rest: Vec<&str> = segments.collect();
        let (namespace, rest) = match rest.as_slice() {
            // A namespace's own subresources look like a namespaced collection.
            ["namespaces", _, "status" | "finalize"] => (None, rest.as_slice()),
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
            rest => (None, rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (plural, None, None),
            [plural, name] => (plural, Some(*name), None),
            [plural, name, subresource] => (plural, Some(*name), Some(*subresource)),
            _ => return None,
        };
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Some(Self {
            cluster: owned(cluster),
            group: group.to_owned(),
            version: version.to_owned(),
            plural: (*plural).to_owned(),
            namespace: owned(namespace),
            name: owned(name),
            subresource: owned(subresource),
        })
    }
}

/// What a request with this method does to that place.
pub(crate) fn verb_of(method: &Method, place: Option<&Place>, query: &[(String, String)]) -> Verb {
    let Some(place) = place else { return Verb::Other };
    let watches =
        || query.iter().any(|(name, value)| name == "watch" && matches!(value.as_str(), "true" | "1"));
    match (method.as_str(), place.name.is_some()) {
        ("GET", true) => Verb::Get,
        ("GET", false) if watches() => Verb::Watch,
        ("GET", false) => Verb::List,
        ("POST", _) => Verb::Create,
        ("PUT", true) => Verb::Update,
        ("PATCH", true) => Verb::Patch,
        ("DELETE", true) => Verb::Delete,
        _ => Verb::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(path: &str) -> Option<[String; 7]> {
        let place = Place::parse(path)?;
        let or = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        Some([
            or(place.cluster),
            place.group,
            place.version,
            or(place.namespace),
            place.plural,
            or(place.name),
            or(place.subresource),
        ])
    }

    #[test]
    fn a_path_says_what_it_is_about() {
        for (path, expected) in [
            ("/clusters/*/api/v1/configmaps", ["*", "", "v1", "-", "configmaps", "-", "-"]),
            ("/clusters/*/apis/annex.sh/v1/installs", ["*", "annex.sh", "v1", "-", "installs", "-", "-"]),
            (
                "/clusters/a/apis/annex.sh/v1/namespaces/n/installs/x/status",
                ["a", "annex.sh", "v1", "n", "installs", "x", "status"],
            ),
            ("/api/v1/namespaces", ["-", "", "v1", "-", "namespaces", "-", "-"]),
            ("/api/v1/namespaces/n", ["-", "", "v1", "-", "namespaces", "n", "-"]),
            ("/api/v1/namespaces/n/status", ["-", "", "v1", "-", "namespaces", "n", "status"]),
            ("/api/v1/namespaces/n/secrets", ["-", "", "v1", "n", "secrets", "-", "-"]),
            (
                "/apis/core.kcp.io/v1alpha1/logicalclusters/cluster",
                ["-", "core.kcp.io", "v1alpha1", "-", "logicalclusters", "cluster", "-"],
            ),
        ] {
            assert_eq!(parsed(path).unwrap(), expected, "{path}");
        }
        for path in ["/", "/version", "/api", "/api/v1", "/clusters/a", "/apis/g/v/a/b/c/d"] {
            assert_eq!(parsed(path), None, "{path}");
        }
    }
}

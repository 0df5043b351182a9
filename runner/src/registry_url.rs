//! Where the registry is.

use std::fmt;
use std::str::FromStr;

use annex_core::{HostName, InstallIdentity};
use reqwest::Url;

/// The registry's base URL: http or https, with or without a path, without user, query and fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryUrl(Url);

/// Why a text is no [`RegistryUrl`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryUrlError {
    /// Not a URL.
    #[error("is no url: {0}")]
    Syntax(String),
    /// Another scheme than http and https.
    #[error("is neither http nor https")]
    Scheme,
    /// A user name or password, which would end in logs.
    #[error("has a user name or password")]
    User,
    /// A query or a fragment, which the lookup would have to drop.
    #[error("has a query or a fragment")]
    Query,
}

impl RegistryUrl {
    /// The question which install `host` is.
    pub(crate) fn lookup_by_host(&self, host: &HostName) -> Url {
        let mut url = self.below("api/installs/lookup-by-host");
        url.query_pairs_mut().append_pair("host", host.as_str());
        url
    }

    /// The question whether an install has that content.
    pub(crate) fn validate(&self, identity: &InstallIdentity) -> Url {
        let mut url = self.below("api/installs/validate");
        url.query_pairs_mut()
            .append_pair("tenant", identity.tenant_id.as_str())
            .append_pair("extension", identity.extension_id.as_str())
            .append_pair("hash", &identity.content_hash.to_string());
        url
    }

    /// The URL itself.
    pub(crate) fn as_url(&self) -> &Url {
        &self.0
    }

    fn below(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}/{path}", url.path().trim_end_matches('/')));
        url
    }

    /// Whether certificates matter.
    pub(crate) fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }
}

impl FromStr for RegistryUrl {
    type Err = RegistryUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text).map_err(|error| RegistryUrlError::Syntax(error.to_string()))?;
        // The URL standard gives every http and https URL a host.
        if !matches!(url.scheme(), "http" | "https") {
            return Err(RegistryUrlError::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(RegistryUrlError::User);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(RegistryUrlError::Query);
        }
        Ok(Self(url))
    }
}

impl fmt::Display for RegistryUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_the_base_stays() {
        let host = "a--b.apps.localhost".parse().unwrap();
        for (base, expected) in [
            ("http://r:8091", "http://r:8091/api/installs/lookup-by-host?host=a--b.apps.localhost"),
            ("http://r:8091/", "http://r:8091/api/installs/lookup-by-host?host=a--b.apps.localhost"),
            ("https://r/annex/", "https://r/annex/api/installs/lookup-by-host?host=a--b.apps.localhost"),
        ] {
            let url: RegistryUrl = base.parse().unwrap();
            assert_eq!(url.lookup_by_host(&host).as_str(), expected);
            assert_eq!(url.to_string(), base.trim_end_matches('/'));
        }
    }

    #[test]
    fn other_urls_are_refused() {
        for (text, error) in [
            ("ftp://r", RegistryUrlError::Scheme),
            ("file:///etc/passwd", RegistryUrlError::Scheme),
            ("http://user:secret@r", RegistryUrlError::User),
            ("http://r?x=1", RegistryUrlError::Query),
            ("http://r#x", RegistryUrlError::Query),
        ] {
            assert_eq!(text.parse::<RegistryUrl>(), Err(error), "{text}");
        }
        for text in ["", "registry:8091/x y", "http://", "127.0.0.1:8091"] {
            assert!(text.parse::<RegistryUrl>().is_err(), "{text}");
        }
    }
}

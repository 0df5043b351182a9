//! What a request is for, by its path.

use annex_answering::Refusal;
use annex_core::ExtensionName;

use crate::{path::ExtensionPath, refusals::not_found};

const PREFIX: &str = "/api/ext/";

/// `/api/ext/{extension}/{path…}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) extension: ExtensionName,
    pub(crate) path: ExtensionPath,
}

impl Target {
    /// From the path as it came.
    ///
    /// # Errors
    /// It is another's path, or malformed.
    pub(crate) fn parse(raw: &str) -> Result<Self, Refusal> {
        let rest = raw.strip_prefix(PREFIX).ok_or_else(not_found)?;
        let (extension, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let extension =
            extension.parse().map_err(|error| Refusal::malformed(format!("the extension's name {error}")))?;
        let path = ExtensionPath::parse(path).map_err(|error| Refusal::malformed(error.to_string()))?;
        Ok(Self { extension, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_and_its_path() {
        let parsed = |raw: &str| {
            let target = Target::parse(raw).map_err(|refusal| refusal.code)?;
            Ok((target.extension.to_string(), target.path.as_str().to_owned()))
        };
        let good = |path: &str| Ok(("com.example.hello".to_owned(), path.to_owned()));
        assert_eq!(parsed("/api/ext/com.example.hello"), good("/"));
        assert_eq!(parsed("/api/ext/com.example.hello/"), good("/"));
        assert_eq!(parsed("/api/ext/com.example.hello/a/b"), good("/a/b"));
        for (raw, code) in [
            ("/", "NotFound"),
            ("/api/ext", "NotFound"),
            ("/API/ext/com.example.hello", "NotFound"),
            ("/api/ext/", "MalformedRequest"),
            ("/api/ext/hello/a", "MalformedRequest"),
            ("/api/ext/com%2eexample.hello/a", "MalformedRequest"),
            ("/api/ext/../com.example.hello", "MalformedRequest"),
            ("/api/ext/com.example.hello/../x", "MalformedRequest"),
        ] {
            assert_eq!(parsed(raw), Err(code), "{raw}");
        }
    }
}

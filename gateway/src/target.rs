//! What a request is for, by its path.

use annex_answering::Refusal;
use annex_core::ExtensionName;

use crate::{
    path::ExtensionPath,
    refusals::{no_endpoint, not_found},
};

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
    /// It is another's path, or malformed, or one of the extension's that nobody outside may call, whatever its manifest says.
    pub(crate) fn parse(raw: &str) -> Result<Self, Refusal> {
        let rest = raw.strip_prefix(PREFIX).ok_or_else(not_found)?;
        let (extension, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let extension =
            extension.parse().map_err(|error| Refusal::malformed(format!("the extension's name {error}")))?;
        let path = ExtensionPath::parse(path).map_err(|error| Refusal::malformed(error.to_string()))?;
        // Here and not where endpoints are looked up: a manifest with `/{*all}` describes it, too, and no lifecycle handler may be called by
        // anybody but Annex.
        if path.is_reserved() {
            return Err(no_endpoint());
        }
        Ok(Self { extension, path })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

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

    #[test]
    fn no_spelling_leads_to_a_lifecycle_handler() {
        let refused = |path: &str| Target::parse(&format!("/api/ext/com.example.hello{path}")).unwrap_err();
        for path in [
            "/.annex",
            "/.annex/lifecycle/setup",
            "/.annex/lifecycle/a%2Db",
            "/.annex/other",
            "/%2eannex/lifecycle/setup",
            "/%2Eannex/lifecycle/setup",
            "/.%61nnex/lifecycle/setup",
            "/.anne%78/lifecycle/setup",
            "/%2e%61%6e%6e%65%78/lifecycle/setup",
            "/%2E%61%6E%6E%65%78/%6c%69%66%65%63%79%63%6c%65/setup",
            "/.ANNEX/lifecycle/setup",
            "/.aNN%45x/lifecycle/setup",
        ] {
            let refusal = refused(path);
            assert_eq!((refusal.status.as_u16(), refusal.code), (404, "NoSuchEndpoint"), "{path}");
        }
        // What some server or other makes the same of is no path at all.
        for path in [
            "//.annex/lifecycle/setup",
            "/./.annex/lifecycle/setup",
            "/x/../.annex/lifecycle/setup",
            "/%2e/.annex/lifecycle/setup",
            "/x/%2e%2E/.annex/lifecycle/setup",
            "/.annex%2flifecycle%2Fsetup",
            "/.annex%5clifecycle",
            "/%2f.annex/lifecycle/setup",
            "/\\.annex/lifecycle/setup",
            "/.annex%00/lifecycle/setup",
            "/.annex/",
            "/.annex//lifecycle/setup",
        ] {
            assert_eq!(refused(path).code, "MalformedRequest", "{path}");
        }
    }

    #[test]
    fn what_only_looks_like_a_lifecycle_handler_is_the_extensions() {
        for path in
            ["/annex", "/.annexes", "/..annex", "/.anne", "/files/.annex", "/%252eannex/lifecycle/setup"]
        {
            let raw = format!("/api/ext/com.example.hello{path}");
            assert_eq!(Target::parse(&raw).unwrap().path.as_str(), path);
        }
    }

    proptest! {
        #[test]
        fn however_each_character_is_written_no_lifecycle_handler_is_reached(
            spelling in proptest::collection::vec(select(vec!["raw", "low", "high"]), 6),
            rest in "(/[a-z.-]{1,8}){0,3}",
            upper in 0u8..64,
        ) {
            use std::fmt::Write as _;
            let mut raw = "/api/ext/com.example.hello/".to_owned();
            for (at, (character, how)) in ".annex".chars().zip(spelling).enumerate() {
                let is_upper = upper & (1 << at) != 0;
                let character = if is_upper { character.to_ascii_uppercase() } else { character };
                match how {
                    "raw" => raw.push(character),
                    "low" => write!(raw, "%{:02x}", u32::from(character)).unwrap(),
                    _ => write!(raw, "%{:02X}", u32::from(character)).unwrap(),
                }
            }
            raw.push_str(&rest);
            let code = Target::parse(&raw).unwrap_err().code;
            let leads_elsewhere = rest.split('/').any(|segment| matches!(segment, "." | ".."));
            prop_assert_eq!(code, if leads_elsewhere { "MalformedRequest" } else { "NoSuchEndpoint" });
        }
    }
}

//! The paths of an extension's pages: `/ext-ui/{extension}/{hash}/{file}`. Pure.

use annex_bundle::BundlePath;
use annex_core::{ContentHash, ExtensionId, InstallIdentity};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

pub(super) const PREFIX: &str = "/ext-ui/";

/// Where a bundle has the files of its pages. Nothing else of it is served.
const UI: &str = "ui/";

/// What may stand in a segment of a path as it is (RFC 3986: unreserved, and the colon of a content hash).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// A file that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UiPath {
    pub(super) extension: ExtensionId,
    pub(super) content: ContentHash,
    /// Its path in the bundle, which begins with `ui/`.
    pub(super) file: BundlePath,
}

impl UiPath {
    /// Reads the path of a request as it came. None for whatever cannot be a file of an extension's pages.
    ///
    /// Each segment is decoded once, after the path was cut at its slashes: an encoded slash does not separate. What then is `..`, has a
    /// backslash, a NUL or still a percent sign is no path of a bundle ([`BundlePath`]), and is never looked for on a disk.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let mut segments = path.strip_prefix(PREFIX)?.split('/').map(decode);
        let extension = segments.next()??.parse().ok()?;
        let content = segments.next()??.parse().ok()?;
        let file = segments.collect::<Option<Vec<_>>>()?.join("/");
        let file = BundlePath::parse(format!("{UI}{file}").as_bytes()).ok()?;
        Some(Self { extension, content, file })
    }

    /// Whether it is for the pages of that install.
    pub(super) fn is_of(&self, identity: &InstallIdentity) -> bool {
        self.extension == identity.extension_id && self.content == identity.content_hash
    }
}

/// The path of a file of the install's bundle; none for a file that does not belong to its pages.
pub(super) fn path_of(identity: &InstallIdentity, file: &BundlePath) -> Option<String> {
    let file = file.as_str().strip_prefix(UI)?;
    let extension = encode(identity.extension_id.as_str());
    let file: Vec<String> = file.split('/').map(encode).collect();
    Some(format!("{PREFIX}{extension}/{}/{}", identity.content_hash, file.join("/")))
}

fn decode(segment: &str) -> Option<String> {
    let text = percent_decode_str(segment).decode_utf8().ok()?;
    (!text.contains('/')).then(|| text.into_owned())
}

fn encode(segment: &str) -> String {
    utf8_percent_encode(segment, ENCODED).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HASH: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn identity(extension: &str) -> InstallIdentity {
        InstallIdentity {
            tenant_id: "acme".parse().unwrap(),
            extension_id: extension.parse().unwrap(),
            content_hash: HASH.parse().unwrap(),
        }
    }

    fn file(rest: &str) -> Option<String> {
        let parsed = UiPath::parse(&format!("/ext-ui/com.example.hello/{HASH}/{rest}"))?;
        assert!(parsed.is_of(&identity("com.example.hello")));
        Some(parsed.file.as_str().to_owned())
    }

    #[test]
    fn files_are_found_however_they_are_spelled() {
        for (rest, expected) in [
            ("index.html", "ui/index.html"),
            ("a/b/c.js", "ui/a/b/c.js"),
            ("a%20b.js", "ui/a b.js"),
            ("%69ndex.html", "ui/index.html"),
            ("gr%C3%B6%C3%9Fe.css", "ui/größe.css"),
            ("größe.css", "ui/größe.css"),
            (".well-known/x", "ui/.well-known/x"),
        ] {
            assert_eq!(file(rest).as_deref(), Some(expected), "{rest}");
        }
    }

    #[test]
    fn nothing_leads_out() {
        for rest in [
            // As it is, encoded once in either case, half of it, twice, and as an overlong form.
            "../manifest.json",
            "%2e%2e/manifest.json",
            "%2E%2E/manifest.json",
            ".%2e/manifest.json",
            "%252e%252e/manifest.json",
            "%c0%ae%c0%ae/manifest.json",
            "%uff0e%uff0e/manifest.json",
            "a/../../manifest.json",
            "..",
            "..%2fmanifest.json",
            "..%5cmanifest.json",
            "..\\manifest.json",
            "a\\..\\..\\b",
            "%00",
            "index.html%00.js",
            "a%2fb.js",
            "%2fetc%2fpasswd",
            "/etc/passwd",
            "./index.html",
            "a//b",
            "a/",
            "",
            "%",
            "%2",
            "%zz",
            "index.html%0a",
            "%ff",
            "C:/x",
            "con",
        ] {
            assert_eq!(file(rest), None, "{rest}");
        }
        for path in [
            "/ext-ui/",
            "/ext-ui",
            "/ext-ui/com.example.hello",
            "/ext-ui/com.example.hello/index.html",
            "/ext-ui//index.html",
            "//ext-ui/com.example.hello/x/index.html",
            "/x/index.html",
        ] {
            assert_eq!(UiPath::parse(path), None, "{path}");
        }
        let upper = HASH.to_uppercase();
        assert_eq!(UiPath::parse(&format!("/ext-ui/com.example.hello/{upper}/index.html")), None);
    }

    #[test]
    fn another_install_is_another_path() {
        let path = UiPath::parse(&format!("/ext-ui/com.example.hello/{HASH}/index.html")).unwrap();
        assert!(!path.is_of(&identity("com.example.other")));
        let other = HASH.replace("0123", "3210").parse().unwrap();
        assert!(!path.is_of(&InstallIdentity { content_hash: other, ..identity("com.example.hello") }));
    }

    #[test]
    fn what_is_not_of_the_pages_has_no_path() {
        let file = BundlePath::parse(b"main.wasm").unwrap();
        assert_eq!(path_of(&identity("com.example.hello"), &file), None);
    }

    proptest! {
        /// Whatever comes, what is looked for lies below `ui/` of a bundle.
        #[test]
        fn a_path_stays_below_the_pages(rest in "([a-z./\\\\%]|%2e|%2f|%5c|%00|%25|\\.\\.|\\PC){0,40}") {
            if let Some(file) = file(&rest) {
                prop_assert!(file.starts_with("ui/"));
                prop_assert!(!file.contains(['\\', '\0', '%']));
                prop_assert!(file.split('/').all(|segment| !matches!(segment, "" | "." | "..")));
            }
        }

        /// What the runner redirects to is what it then finds.
        #[test]
        fn a_path_that_was_made_is_read_back(
            extension in "[^/\\p{Cc}]{1,20}",
            names in proptest::collection::vec("[a-zA-Z0-9äß日&+=;@~!'() ._-]{0,10}[a-zA-Z0-9ß日&~)_-]", 1..4),
        ) {
            prop_assume!(extension.parse::<ExtensionId>().is_ok());
            let file = BundlePath::parse(format!("ui/{}", names.join("/")).as_bytes());
            prop_assume!(file.is_ok());
            let (file, identity) = (file.unwrap(), identity(&extension));
            let path = path_of(&identity, &file).unwrap();
            prop_assert!(path.bytes().all(|byte| byte.is_ascii_graphic()));
            let parsed = UiPath::parse(&path).unwrap();
            prop_assert!(parsed.is_of(&identity));
            prop_assert_eq!(parsed.file, file);
        }
    }
}

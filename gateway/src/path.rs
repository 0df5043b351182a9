//! The path that an extension is asked for.

use std::fmt;

/// From `/`, in the one spelling that every path has: what needs no escape has none, hex digits are in upper case, and no segment is
/// empty or made of dots. What a guest makes of it is then what was compared with its endpoints: a public endpoint is no way to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExtensionPath(String);

/// Why a text is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    #[error("a percent sign is not followed by two hex digits")]
    Escape,
    #[error("the path has a character that is not in a path as it is")]
    Character,
    #[error("the path has an escaped slash, backslash or control character")]
    Escaped,
    #[error("a segment of the path is empty, . or ..")]
    Segment,
    #[error("the path has more than {LONGEST} bytes")]
    TooLong,
}

const LONGEST: usize = 8 * 1024;

impl ExtensionPath {
    /// Empty is `/`.
    pub(crate) fn parse(raw: &str) -> Result<Self, PathError> {
        if raw.len() > LONGEST {
            return Err(PathError::TooLong);
        }
        let mut path = String::with_capacity(raw.len());
        let mut bytes = raw.bytes();
        while let Some(byte) = bytes.next() {
            if byte != b'%' {
                if byte != b'/' && !needs_no_escape(byte) {
                    return Err(PathError::Character);
                }
                path.push(char::from(byte));
                continue;
            }
            let (high, low) = (bytes.next().and_then(digit), bytes.next().and_then(digit));
            let decoded = high.zip(low).map(|(high, low)| high << 4 | low).ok_or(PathError::Escape)?;
            match decoded {
                b'/' | b'\\' | 0..0x20 | 0x7f => return Err(PathError::Escaped),
                plain if needs_no_escape(plain) => path.push(char::from(plain)),
                other => {
                    use fmt::Write as _;
                    // Writing to a String cannot fail.
                    let _ = write!(path, "%{other:02X}");
                }
            }
        }
        if path.is_empty() {
            path.push('/');
        }
        let path = Self(path);
        let good =
            path.0.starts_with('/') && path.segments().all(|segment| !matches!(segment, "" | "." | ".."));
        if good { Ok(path) } else { Err(PathError::Segment) }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether its first segment is `.annex`, where Annex itself calls the extension's lifecycle handlers. Of the spellings there is one left
    /// here; in another case it is as good as that for a guest that does not look at the case.
    pub(crate) fn is_reserved(&self) -> bool {
        self.segments().next().is_some_and(|first| first.eq_ignore_ascii_case(".annex"))
    }

    /// None of `/`.
    pub(crate) fn segments(&self) -> impl Iterator<Item = &str> {
        let rest = self.0.strip_prefix('/').unwrap_or(&self.0);
        rest.split('/').filter(move |_| !rest.is_empty())
    }
}

/// RFC 3986, pchar: unreserved characters, sub-delimiters, `:` and `@`.
fn needs_no_escape(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_path_has_one_spelling() {
        for (raw, path) in [
            ("", "/"),
            ("/", "/"),
            ("/notes/7", "/notes/7"),
            ("/%6eotes/%37", "/notes/7"),
            ("/a%20b", "/a%20b"),
            ("/%c3%a4", "/%C3%A4"),
            ("/a:b@c", "/a:b@c"),
            ("/%2a%3A", "/*:"),
            // Decoded once and not twice.
            ("/%252e%252e/a", "/%252e%252e/a"),
            ("/...", "/..."),
            ("/%7Ba%7D", "/%7Ba%7D"),
        ] {
            assert_eq!(ExtensionPath::parse(raw).as_ref().map(ExtensionPath::as_str), Ok(path), "{raw}");
        }
    }

    #[test]
    fn what_leads_elsewhere_is_no_path() {
        use PathError::{Character, Escape, Escaped, Segment, TooLong};
        for (raw, error) in [
            ("/../a", Segment),
            ("/a/..", Segment),
            ("/./a", Segment),
            ("/%2e%2e/a", Segment),
            ("/.%2E/a", Segment),
            ("//a", Segment),
            ("/a//b", Segment),
            ("/a/", Segment),
            ("a", Segment),
            ("/..%2fa", Escaped),
            ("/..%5Ca", Escaped),
            ("/a%00b", Escaped),
            ("/a%0d%0ab", Escaped),
            ("/..\\a", Character),
            ("/a b", Character),
            ("/ä", Character),
            ("/{a}", Character),
            ("/%", Escape),
            ("/%2", Escape),
            ("/%zz", Escape),
            ("/%+1", Escape),
        ] {
            assert_eq!(ExtensionPath::parse(raw), Err(error), "{raw}");
        }
        assert_eq!(ExtensionPath::parse(&format!("/{}", "a".repeat(LONGEST))), Err(TooLong));
    }

    proptest! {
        #[test]
        fn what_is_read_is_read_the_same_again(raw in "(/([a-z.~:]|%[0-9a-fA-F]{2}){0,6}){0,4}") {
            if let Ok(path) = ExtensionPath::parse(&raw) {
                prop_assert_eq!(ExtensionPath::parse(path.as_str()), Ok(path.clone()));
                prop_assert!(path.segments().all(|segment| !segment.is_empty() && segment != ".."));
            }
        }
    }
}

//! Which headers of a guest's answer reach the caller.

use annex_grant::Header;
use axum::http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG},
};

const OWN: &str = "x-ext-";
/// Some 200 is what browsers and ingresses still take; all together no more than a listener takes in.
const MOST: usize = 100;
const MOST_BYTES: usize = 16 * 1024;

/// An answer that no client may be given: it could be read as another than it was meant to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidHeaders {
    #[error("a header's name or value has bytes that no header has")]
    Bytes,
    #[error("there are two of a header of which there is one")]
    Twice,
    #[error("there are more than {MOST} headers, or more than {MOST_BYTES} bytes of them")]
    TooMany,
}

/// Content type, entity tag, a safe cache control, and what the extension makes up for itself. Everything else is left out, `set-cookie`
/// first of all; but bytes that no header has are refused wherever they are.
pub(crate) fn passed(headers: &[Header]) -> Result<HeaderMap, InvalidHeaders> {
    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if headers.len() > MOST || bytes > MOST_BYTES {
        return Err(InvalidHeaders::TooMany);
    }
    let mut passed = HeaderMap::new();
    let mut cache = Vec::new();
    for (name, value) in headers {
        let name: HeaderName = name.parse().map_err(|_| InvalidHeaders::Bytes)?;
        // Visible ASCII, spaces and tabs: what is beyond is read differently by different readers.
        let visible = value.bytes().all(|byte| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t'));
        let header = HeaderValue::from_str(value).ok().filter(|_| visible).ok_or(InvalidHeaders::Bytes)?;
        if name == CACHE_CONTROL {
            cache.push(value.as_str());
        } else if name == CONTENT_TYPE || name == ETAG {
            if passed.insert(name, header).is_some() {
                return Err(InvalidHeaders::Twice);
            }
        } else if name.as_str().starts_with(OWN) {
            passed.append(name, header);
        }
    }
    passed.insert(CACHE_CONTROL, cache_control(&cache));
    Ok(passed)
}

/// An answer is one caller's, unless it is nobody's: nothing between may keep it and give it to another, whatever the guest says.
fn cache_control(values: &[&str]) -> HeaderValue {
    let mut kept = vec!["private".to_owned()];
    let directives = values.iter().flat_map(|value| value.split(','));
    for directive in directives.map(|directive| directive.trim().to_ascii_lowercase()) {
        match directive.as_str() {
            "no-cache" | "must-revalidate" | "no-transform" | "immutable" => kept.push(directive),
            "private" => {}
            _ => {
                let age = directive.strip_prefix("max-age=");
                let is_age = age.is_some_and(|age| {
                    (1..=9).contains(&age.len()) && age.bytes().all(|b| b.is_ascii_digit())
                });
                // What is for others to keep (`public`, `s-maxage`), and what is not known here: nobody keeps it.
                if !is_age {
                    return HeaderValue::from_static("no-store");
                }
                kept.push(directive);
            }
        }
    }
    if kept.len() == 1 {
        return HeaderValue::from_static("no-store");
    }
    HeaderValue::from_str(&kept.join(", ")).unwrap_or(HeaderValue::from_static("no-store"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(headers: &[(&str, &str)]) -> Result<Vec<String>, InvalidHeaders> {
        let headers: Vec<Header> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let passed = passed(&headers)?;
        let mut lines: Vec<String> =
            passed.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect();
        lines.sort();
        Ok(lines)
    }

    #[test]
    fn what_is_allowed_passes_and_nothing_else() {
        let sent = [
            ("Content-Type", "text/plain"),
            ("ETag", "\"1\""),
            ("x-ext-a", "1"),
            ("X-Ext-A", "2"),
            ("set-cookie", "a=b"),
            ("set-cookie2", "a=b"),
            ("location", "https://evil.test"),
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("content-length", "1"),
            ("access-control-allow-origin", "*"),
            ("x-request-id", "1"),
            ("www-authenticate", "Basic"),
            ("strict-transport-security", "max-age=0"),
            ("clear-site-data", "*"),
            ("refresh", "0;url=x"),
            ("x-extension", "1"),
        ];
        assert_eq!(
            map(&sent).unwrap(),
            ["cache-control=no-store", "content-type=text/plain", "etag=\"1\"", "x-ext-a=1", "x-ext-a=2"]
        );
    }

    #[test]
    fn nobody_between_keeps_an_answer() {
        for (said, passed) in [
            (&[][..], "no-store"),
            (&["max-age=60"], "private, max-age=60"),
            (&["Private, Max-Age=60"], "private, max-age=60"),
            (&["no-cache", "must-revalidate"], "private, no-cache, must-revalidate"),
            (&["private"], "no-store"),
            (&["no-store"], "no-store"),
            (&["public, max-age=60"], "no-store"),
            (&["max-age=60, s-maxage=60"], "no-store"),
            (&["max-age=x"], "no-store"),
            (&["max-age="], "no-store"),
            (&["max-age=99999999999"], "no-store"),
            (&["max-age=60", "surrogate-control=1"], "no-store"),
            (&[""], "no-store"),
        ] {
            let sent: Vec<_> = said.iter().map(|value| ("cache-control", *value)).collect();
            assert_eq!(map(&sent).unwrap(), [format!("cache-control={passed}")], "{said:?}");
        }
    }

    #[test]
    fn what_could_be_read_as_something_else_is_refused() {
        for bad in [
            ("x-ext-a", "1\r\nset-cookie: a=b"),
            ("x-ext-a", "1\n"),
            ("x-ext-a", "a\0b"),
            ("x-ext-a", "ü"),
            ("x-ext-a", "\u{7f}"),
            ("x-ext-a\r\nset-cookie", "1"),
            ("x ext", "1"),
            ("", "1"),
            // Also in what would be left out.
            ("location", "a\r\nb"),
        ] {
            assert_eq!(map(&[bad]), Err(InvalidHeaders::Bytes), "{bad:?}");
        }
        let twice = [("content-type", "text/plain"), ("Content-Type", "text/html")];
        assert_eq!(map(&twice), Err(InvalidHeaders::Twice));
        assert_eq!(map(&vec![("x-ext-a", "1"); 101]), Err(InvalidHeaders::TooMany));
        assert!(map(&vec![("x-ext-a", "1"); 100]).is_ok());
        assert_eq!(map(&[("x-ext-a", &"a".repeat(16 * 1024))]), Err(InvalidHeaders::TooMany));
    }
}

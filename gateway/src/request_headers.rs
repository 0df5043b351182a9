//! Which headers of a request reach the guest.

use annex_answering::Refusal;
use annex_grant::Header;
use axum::http::{HeaderMap, header::CONNECTION};

/// All others do not, whatever they are: credentials (`authorization`, `cookie`), what belongs to the connection, what proxies add, and
/// what this release does not know. Neither does what asks for an answer that cannot be passed on (`accept-encoding`, `range`).
const ALLOWED: &[&str] = &[
    "accept",
    "accept-language",
    "content-encoding",
    "content-language",
    "content-type",
    "idempotency-key",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-unmodified-since",
    "origin",
    "traceparent",
    "tracestate",
    "user-agent",
];
/// And what extensions make up for themselves.
const OWN: &str = "x-ext-";

/// Those that pass, in their order.
///
/// # Errors
/// One of them is no text.
pub(crate) fn passed(headers: &HeaderMap) -> Result<Vec<Header>, Refusal> {
    let of_connection = named_in_connection(headers);
    let passes = |name: &str| {
        (ALLOWED.contains(&name) || name.starts_with(OWN)) && !of_connection.iter().any(|other| other == name)
    };
    let mut passed = Vec::new();
    for (name, value) in headers {
        if passes(name.as_str()) {
            let text = value.to_str();
            let text =
                text.map_err(|_| Refusal::malformed(format!("the header {name} is not visible ASCII")))?;
            passed.push((name.as_str().to_owned(), text.to_owned()));
        }
    }
    Ok(passed)
}

/// In lower case. Of a value that is no text, nothing is known, and every other rule holds all the same.
fn named_in_connection(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|name| name.trim().to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn names(headers: &[(&str, &str)]) -> Vec<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        passed(&map).unwrap().into_iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    #[test]
    fn what_is_not_allowed_does_not_pass() {
        for name in [
            "authorization",
            "cookie",
            "cookie2",
            "proxy-authorization",
            "connection",
            "keep-alive",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "expect",
            "host",
            "content-length",
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-real-ip",
            "x-annex-workspace",
            "x-annex-grant",
            "x-annex-broker-grant",
            "x-request-id",
            "x-remote-user",
            "impersonate-user",
            "accept-encoding",
            "range",
        ] {
            assert_eq!(names(&[(name, "x")]), Vec::<String>::new(), "{name}");
        }
    }

    #[test]
    fn what_is_allowed_passes_unless_it_belongs_to_the_connection() {
        let sent = [("accept", "a"), ("x-ext-b", "1"), ("accept", "b"), ("x-ext-c", "2")];
        assert_eq!(names(&sent), ["accept=a", "accept=b", "x-ext-b=1", "x-ext-c=2"]);
        let connection = [("connection", "close, X-Ext-B"), ("connection", "accept")];
        assert_eq!(names(&[sent.as_slice(), &connection].concat()), ["x-ext-c=2"]);
    }

    #[test]
    fn what_is_no_text_is_malformed_where_it_would_pass() {
        let value = HeaderValue::from_bytes(b"a\xffb").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("cookie", value.clone());
        assert_eq!(passed(&headers), Ok(Vec::new()));
        headers.insert("x-ext-a", value);
        assert_eq!(passed(&headers).unwrap_err().code, "MalformedRequest");
    }
}

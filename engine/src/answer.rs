//! The head of a guest's answer: what of it goes out. Pure.

use http::header::{self, HeaderMap, HeaderName};
use http::{HeaderValue, StatusCode};

use crate::hop_by_hop::hop_by_hop;
use crate::limits::CallLimits;

/// Why an answer is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadAnswer {
    /// The guest returned without one.
    #[error("it returned without one")]
    Missing,
    /// The guest reported an error of its own instead.
    #[error("it reported an error instead")]
    Reported,
    /// The status is not between 200 and 599. A 1xx is no answer, and a 101 would hand over the connection.
    #[error("the status {0} is not between 200 and 599")]
    Status(u16),
    /// More header lines than it may have.
    #[error("it has more than {0} header lines")]
    HeaderCount(usize),
    /// More bytes of headers than it may have.
    #[error("its headers have more than {0} bytes")]
    HeaderBytes(usize),
    /// A byte in a header value that ends or breaks a line.
    #[error("a header value has a control character")]
    HeaderValue,
    /// The body was begun and given up.
    #[error("its body was not finished")]
    Body,
}

/// Cookies of the platform's domain are not an extension's to set.
const COOKIES: [HeaderName; 2] = [header::SET_COOKIE, HeaderName::from_static("set-cookie2")];

/// Checks status and headers, and drops what does not pass on.
///
/// The guest's own host calls refuse most of this already. It is checked again here because what is behind this function is
/// the user's browser.
pub(crate) fn vet_head(
    status: StatusCode,
    mut headers: HeaderMap,
    limits: &CallLimits,
) -> Result<(StatusCode, HeaderMap), BadAnswer> {
    if !(200..600).contains(&status.as_u16()) {
        return Err(BadAnswer::Status(status.as_u16()));
    }
    if headers.len() > limits.header_count {
        return Err(BadAnswer::HeaderCount(limits.header_count));
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > limits.header_bytes {
        return Err(BadAnswer::HeaderBytes(limits.header_bytes));
    }
    if headers.values().any(breaks_a_line) {
        return Err(BadAnswer::HeaderValue);
    }
    // Where a message ends is for whoever sends it to say.
    for name in hop_by_hop(&headers).into_iter().chain([header::CONTENT_LENGTH]).chain(COOKIES) {
        headers.remove(name);
    }
    Ok((status, headers))
}

fn breaks_a_line(value: &HeaderValue) -> bool {
    value.as_bytes().iter().any(|byte| byte.is_ascii_control() && *byte != b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vet(status: u16, headers: &[(&str, &str)]) -> Result<Vec<(String, String)>, BadAnswer> {
        let limits = CallLimits { header_count: 4, header_bytes: 64, ..CallLimits::default() };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let (_, headers) = vet_head(StatusCode::from_u16(status).unwrap(), map, &limits)?;
        Ok(headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect())
    }

    #[test]
    fn a_status_is_final_and_known_to_http() {
        for status in [200, 204, 404, 599] {
            assert_eq!(vet(status, &[]), Ok(vec![]));
        }
        for status in [100, 101, 103, 199, 600, 999] {
            assert_eq!(vet(status, &[]), Err(BadAnswer::Status(status)));
        }
    }

    #[test]
    fn what_is_between_neighbours_stays_there() {
        let headers =
            [("connection", "close, X-Mine"), ("x-mine", "1"), ("content-length", "3"), ("x-other", "2")];
        assert_eq!(vet(200, &headers), Ok(vec![("x-other".into(), "2".into())]));
    }

    #[test]
    fn cookies_are_not_set() {
        assert_eq!(
            vet(200, &[("set-cookie", "a=b"), ("set-cookie", "c=d"), ("set-cookie2", "e")]),
            Ok(vec![])
        );
    }

    #[test]
    fn headers_are_few_and_short() {
        assert_eq!(vet(200, &[("a", ""); 5]), Err(BadAnswer::HeaderCount(4)));
        assert_eq!(vet(200, &[("a", &"x".repeat(64))]), Err(BadAnswer::HeaderBytes(64)));
        assert_eq!(vet(200, &[("a", &"x".repeat(63))]).map(|headers| headers.len()), Ok(1));
    }

    #[test]
    fn no_value_breaks_a_line() {
        for byte in (0..=255).filter(|byte| HeaderValue::from_bytes(&[*byte]).is_ok()) {
            assert!(!breaks_a_line(&HeaderValue::from_bytes(&[byte]).unwrap()), "{byte}");
        }
        assert!(HeaderValue::from_bytes(b"a\r\nb: c").is_err());
    }
}

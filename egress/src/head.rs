//! The heads of requests and answers: what of them goes through.

use annex_engine::{EgressError, hop_by_hop};
use http::header;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, request, response};

use crate::destination::Destination;
use crate::limits::EgressLimits;

/// Makes the head that is sent of the guest's: in origin form, with our own `host`.
///
/// # Errors
/// A method that makes a tunnel or tells what others added, a length that is none, or a head that is too large.
pub(crate) fn outgoing(
    guest: request::Parts,
    destination: &Destination,
    limits: &EgressLimits,
) -> Result<request::Parts, EgressError> {
    if matches!(guest.method, Method::CONNECT | Method::TRACE) {
        return Err(EgressError::Denied);
    }
    let mut headers = guest.headers;
    // An answer of 100 would be waited for by nobody.
    headers.remove(header::EXPECT);
    headers.remove(header::HOST);
    drop_between_neighbours(&mut headers);
    if declared_length(&headers).map_err(|()| EgressError::Denied)?.unwrap_or_default() > limits.request_bytes
    {
        return Err(EgressError::TooLarge);
    }
    let target = guest.uri.path_and_query().map_or("/", |target| target.as_str());
    // What else could stand there, such as `*`, is no path of this host.
    let uri =
        Some(target).filter(|target| target.starts_with('/')).and_then(|target| target.parse::<Uri>().ok());
    headers.insert(header::HOST, destination.host_header().ok_or(EgressError::Denied)?);
    // Each request has a connection of its own.
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let line = guest.method.as_str().len() + target.len();
    if headers.len() > limits.header_count || line + size(&headers) > limits.head_bytes {
        return Err(EgressError::TooLarge);
    }
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.method = guest.method;
    parts.uri = uri.ok_or(EgressError::Denied)?;
    parts.version = Version::HTTP_11;
    parts.headers = headers;
    Ok(parts)
}

/// Makes the head that the guest sees of the one that came.
///
/// # Errors
/// It is no final answer, too large, or announces a body that is too large.
pub(crate) fn incoming(
    came: response::Parts,
    to: &Method,
    limits: &EgressLimits,
) -> Result<response::Parts, EgressError> {
    if !(200..=599).contains(&came.status.as_u16()) {
        return Err(EgressError::Protocol);
    }
    let mut headers = came.headers;
    if headers.len() > limits.header_count || size(&headers) > limits.head_bytes {
        return Err(EgressError::TooLarge);
    }
    drop_between_neighbours(&mut headers);
    let length = declared_length(&headers).map_err(|()| EgressError::Protocol)?;
    let has_body = to != Method::HEAD && came.status != StatusCode::NOT_MODIFIED;
    if has_body && length.unwrap_or_default() > limits.response_bytes {
        return Err(EgressError::TooLarge);
    }
    let (mut parts, ()) = http::Response::new(()).into_parts();
    parts.status = came.status;
    parts.headers = headers;
    // Extensions of the connection, such as an upgrade, stay with us.
    Ok(parts)
}

fn drop_between_neighbours(headers: &mut HeaderMap) {
    for name in hop_by_hop(headers) {
        headers.remove(name);
    }
}

/// The one length, in digits: with two of them, or a sign, two readers could see two bodies.
fn declared_length(headers: &HeaderMap) -> Result<Option<u64>, ()> {
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(());
    }
    digits(value).map(Some).ok_or(())
}

fn digits(value: &HeaderValue) -> Option<u64> {
    let text = value.to_str().ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// As on the wire: names, values, and four bytes between and behind them.
fn size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

#[cfg(test)]
mod tests {
    use http::header::HeaderName;

    use http::{Request, Response};

    use super::*;

    const URI: &str = "https://api.example.com:8443/notes?x=1";

    fn limits() -> EgressLimits {
        EgressLimits {
            request_bytes: 100,
            response_bytes: 100,
            head_bytes: 500,
            header_count: 7,
            ..EgressLimits::default()
        }
    }

    fn send(request: http::request::Builder) -> Result<request::Parts, EgressError> {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let destination = Destination::of(&parts.uri).unwrap();
        outgoing(parts, &destination, &limits())
    }

    fn answer(response: http::response::Builder) -> Result<response::Parts, EgressError> {
        incoming(response.body(()).unwrap().into_parts().0, &Method::GET, &limits())
    }

    #[test]
    fn a_request_is_in_origin_form_with_our_own_host() {
        let request = Request::post(URI)
            .header("host", "evil.example")
            .header("host", "second.example")
            .header("authorization", "Bearer x")
            .header("content-length", "5");
        let sent = send(request).unwrap();
        assert_eq!(sent.uri, "/notes?x=1");
        assert_eq!(sent.headers.get_all("host").iter().collect::<Vec<_>>(), ["api.example.com:8443"]);
        assert_eq!(sent.headers["authorization"], "Bearer x");
        assert_eq!(sent.headers["content-length"], "5");
        assert_eq!(send(Request::get("https://api.example.com")).unwrap().uri, "/");
    }

    #[test]
    fn what_is_between_neighbours_stays_there() {
        let request = Request::get(URI)
            .header("connection", "keep-alive, X-Secret, host")
            .header("x-secret", "1")
            .header("transfer-encoding", "chunked")
            .header("te", "trailers")
            .header("upgrade", "websocket")
            .header("proxy-authorization", "Basic x")
            .header("expect", "100-continue");
        let sent = send(request).unwrap();
        assert_eq!(sent.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["host", "connection"]);
        assert_eq!(sent.headers["connection"], "close");
        let came = answer(
            Response::builder()
                .header("connection", "close, x-private")
                .header("x-private", "1")
                .header("keep-alive", "timeout=5")
                .header("transfer-encoding", "chunked")
                .header("set-cookie", "a=b"),
        );
        assert_eq!(came.unwrap().headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["set-cookie"]);
    }

    #[test]
    fn no_tunnel_and_no_trace() {
        assert_eq!(send(Request::connect(URI)).unwrap_err(), EgressError::Denied);
        assert_eq!(send(Request::trace(URI)).unwrap_err(), EgressError::Denied);
        assert!(send(Request::delete(URI)).is_ok());
    }

    #[test]
    fn a_length_is_one_number() {
        for values in
            [&["5", "5"][..], &["5, 5"], &["+5"], &["-1"], &["0x5"], &["5 "], &["99999999999999999999"]]
        {
            let request = values.iter().fold(Request::post(URI), |request, value| {
                request.header("content-length", HeaderValue::from_static(value))
            });
            assert_eq!(send(request).unwrap_err(), EgressError::Denied, "{values:?}");
        }
        assert_eq!(
            send(Request::post(URI).header("content-length", "101")).unwrap_err(),
            EgressError::TooLarge
        );
        assert!(send(Request::post(URI).header("content-length", "100")).is_ok());
    }

    #[test]
    fn a_head_is_so_large() {
        let long = "x".repeat(450);
        assert_eq!(send(Request::get(URI).header("x", &long)).unwrap_err(), EgressError::TooLarge);
        assert_eq!(
            send(Request::get(format!("https://a.example/{long}{long}"))).unwrap_err(),
            EgressError::TooLarge
        );
        let many = (0..6).fold(Request::get(URI), |request, index| request.header(format!("x-{index}"), "1"));
        assert_eq!(send(many).unwrap_err(), EgressError::TooLarge);
        let many = (0..8).fold(Response::builder(), |answer, index| answer.header(format!("x-{index}"), "1"));
        assert_eq!(answer(many).unwrap_err(), EgressError::TooLarge);
        assert_eq!(
            answer(Response::builder().header("x", "x".repeat(500))).unwrap_err(),
            EgressError::TooLarge
        );
    }

    #[test]
    fn an_answer_is_final_and_announces_no_more_than_may_come() {
        for status in [100, 101, 103, 199, 600, 999] {
            assert_eq!(
                answer(Response::builder().status(status)).unwrap_err(),
                EgressError::Protocol,
                "{status}"
            );
        }
        for status in [200, 302, 404, 599] {
            assert_eq!(answer(Response::builder().status(status)).unwrap().status, status);
        }
        let large = || Response::builder().header("content-length", "101");
        assert_eq!(answer(large()).unwrap_err(), EgressError::TooLarge);
        assert!(incoming(large().body(()).unwrap().into_parts().0, &Method::HEAD, &limits()).is_ok());
        assert!(answer(large().status(304)).is_ok());
    }

    #[test]
    fn a_target_is_a_path() {
        let (mut parts, ()) = Request::options("https://a.example/").body(()).unwrap().into_parts();
        let destination = Destination::of(&parts.uri).unwrap();
        parts.uri = "*".parse().unwrap();
        assert_eq!(outgoing(parts, &destination, &limits()).unwrap_err(), EgressError::Denied);
    }
}

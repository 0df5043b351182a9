//! What is asked of the guest, once it is what was granted. Pure.

use annex_grant::{ExecuteContext, ExecuteRequest, Grant, RunnerErrorCode};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderName, HeaderValue, Method, Request, Uri};
use bytes::Bytes;

use super::refusal::Refusal;

/// A request for a guest, and what it is told of the call.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) request_id: String,
    pub(super) version: String,
    /// JSON.
    pub(super) config: String,
    pub(super) request: Request<Bytes>,
}

impl Question {
    /// Reads the body of `POST /v1/execute`, of which the grant has the digest.
    pub(super) fn parse(body: &[u8], grant: &Grant) -> Result<Self, Refusal> {
        let asked: ExecuteRequest = serde_json::from_slice(body)
            .map_err(|error| Refusal::new(RunnerErrorCode::MalformedRequest, &error.to_string()))?;
        if !agrees(&asked.context, grant) || asked.limits != grant.limits {
            return Err(Refusal::new(
                RunnerErrorCode::GrantRefused,
                "the request says something else than its grant",
            ));
        }
        let request = request(&asked)
            .ok_or_else(|| Refusal::new(RunnerErrorCode::MalformedRequest, "http is no request of HTTP"))?;
        let config = serde_json::to_string(&asked.context.config)
            .map_err(|error| Refusal::new(RunnerErrorCode::Internal, &error.to_string()))?;
        Ok(Self { request_id: asked.context.request_id, version: asked.context.version, config, request })
    }
}

/// The body is under the grant's MAC already. That both say the same keeps a gateway that mixes two calls up from doing harm.
fn agrees(context: &ExecuteContext, grant: &Grant) -> bool {
    context.tenant_id == grant.tenant
        && context.extension_id == grant.extension
        && context.install_id == grant.install
        && context.content_hash == grant.content
}

fn request(asked: &ExecuteRequest) -> Option<Request<Bytes>> {
    let http = &asked.http;
    let target = match &http.query {
        Some(query) => format!("{}?{query}", http.path),
        None => http.path.clone(),
    };
    // `//host` would be an authority where a URI is parsed as a whole.
    if !target.starts_with('/') {
        return None;
    }
    let target: PathAndQuery = target.parse().ok()?;
    let body = http.body_b64.as_ref().map(|body| Bytes::copy_from_slice(&body.0)).unwrap_or_default();
    let mut request = Request::new(body);
    *request.method_mut() = Method::from_bytes(http.method.as_bytes()).ok()?;
    *request.uri_mut() = Uri::from(target);
    for (name, value) in &http.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        request.headers_mut().append(name, HeaderValue::from_str(value).ok()?);
    }
    Some(request)
}

#[cfg(test)]
mod tests {
    use annex_core::ContentHash;
    use annex_grant::{Base64Bytes, BodyDigest, Capabilities, HttpRequest, Limits, Nonce, UnixMillis};

    use super::*;

    fn grant() -> Grant {
        Grant {
            audience: "direct".parse().unwrap(),
            tenant: "acme".parse().unwrap(),
            install: "0f5a2b31-7ab6-4a56-a0b2-3f5f9c1b3a11".parse().unwrap(),
            extension: "com.example.notes".parse().unwrap(),
            content: ContentHash::from_sha256([7; 32]),
            capabilities: Capabilities::default(),
            limits: Limits { timeout_ms: 1000, memory_mb: 32, fuel: None },
            nonce: Nonce([1; 16]),
            issued: UnixMillis(0),
            expires: UnixMillis(1),
            body: BodyDigest::of(b""),
        }
    }

    fn asked() -> ExecuteRequest {
        let grant = grant();
        ExecuteRequest {
            context: ExecuteContext {
                request_id: "r-1".into(),
                tenant_id: grant.tenant,
                extension_id: grant.extension,
                install_id: grant.install,
                content_hash: grant.content,
                version: "1.2.3".into(),
                config: [("colour".to_owned(), serde_json::json!("blue"))].into(),
            },
            http: HttpRequest {
                method: "POST".into(),
                path: "/notes".into(),
                query: Some("a=b".into()),
                headers: vec![
                    ("content-type".into(), "text/plain".into()),
                    ("x-a".into(), "1".into()),
                    ("x-a".into(), "2".into()),
                ],
                body_b64: Some(Base64Bytes(b"hello".to_vec())),
            },
            limits: grant.limits,
        }
    }

    fn parse(asked: &ExecuteRequest) -> Result<Question, RunnerErrorCode> {
        Question::parse(&serde_json::to_vec(asked).unwrap(), &grant()).map_err(|refusal| refusal.code)
    }

    #[test]
    fn the_guest_is_asked_what_was_sent() {
        let question = parse(&asked()).unwrap();
        let request = question.request;
        assert_eq!((request.method().as_str(), request.uri().to_string().as_str()), ("POST", "/notes?a=b"));
        assert_eq!(request.headers().get_all("x-a").iter().count(), 2);
        assert_eq!(request.body().as_ref(), b"hello");
        assert_eq!((question.request_id.as_str(), question.version.as_str()), ("r-1", "1.2.3"));
        assert_eq!(question.config, r#"{"colour":"blue"}"#);
    }

    #[test]
    fn what_differs_from_the_grant_is_refused() {
        type Change = fn(&mut ExecuteRequest);
        let changes: [Change; 6] = [
            |asked| asked.context.tenant_id = "globex".parse().unwrap(),
            |asked| asked.context.extension_id = "com.example.other".parse().unwrap(),
            |asked| asked.context.install_id = "0f5a2b31-7ab6-4a56-a0b2-3f5f9c1b3a12".parse().unwrap(),
            |asked| asked.context.content_hash = ContentHash::from_sha256([8; 32]),
            |asked| asked.limits.timeout_ms += 1,
            |asked| asked.limits.fuel = Some(1),
        ];
        for change in changes {
            let mut asked = asked();
            change(&mut asked);
            assert_eq!(parse(&asked).err(), Some(RunnerErrorCode::GrantRefused));
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        type Change = fn(&mut ExecuteRequest);
        let changes: [Change; 6] = [
            |asked| asked.http.method = "GET /".into(),
            |asked| asked.http.path = "notes".into(),
            |asked| asked.http.path = String::new(),
            |asked| asked.http.path = "/a b".into(),
            |asked| asked.http.headers = vec![("x\r\ny".into(), String::new())],
            |asked| asked.http.headers = vec![("x".into(), "a\r\nset-cookie: b".into())],
        ];
        for change in changes {
            let mut asked = asked();
            change(&mut asked);
            assert_eq!(parse(&asked).err(), Some(RunnerErrorCode::MalformedRequest), "{:?}", asked.http);
        }
        let error = Question::parse(b"{}", &grant()).err().map(|refusal| refusal.code);
        assert_eq!(error, Some(RunnerErrorCode::MalformedRequest));
    }
}

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use crate::kind::Kind;

/// Kubernetes' answer to what did not go well, as the body of an error or as the object of an `ERROR` event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub(crate) code: u16,
    reason: Cow<'static, str>,
    message: String,
    details: Map<String, Value>,
    retry_after: Option<u32>,
}

impl Status {
    /// A failure with an HTTP status code, a reason such as `InternalError`, and a message.
    #[must_use]
    pub fn new(code: u16, reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { code, reason: reason.into(), message: message.into(), details: Map::new(), retry_after: None }
    }

    /// The same, to be tried again after so many seconds: in the details and in the header `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// 400: the request makes no sense.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 401: the token is missing or wrong.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 403: the identity may not do that.
    #[must_use]
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(403, "Forbidden", message)
    }

    /// 404 for a whole kind: it is not served, or not any more.
    #[must_use]
    pub fn not_served() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
    }

    /// 410: what was asked for is older than the history.
    #[must_use]
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 429: asked to be slower, and when to come again.
    #[must_use]
    pub fn too_many_requests(retry_after_seconds: u32) -> Self {
        let message = "the server has received too many requests and has asked us to try again later";
        Self::new(429, "TooManyRequests", message).retry_after(retry_after_seconds)
    }

    /// 500.
    #[must_use]
    pub fn internal_error(message: impl Into<String>) -> Self {
        Self::new(500, "InternalError", message)
    }

    /// 503.
    #[must_use]
    pub fn service_unavailable() -> Self {
        Self::new(503, "ServiceUnavailable", "the server is currently unable to handle the request")
    }

    pub(crate) fn not_found(kind: &Kind, name: &str) -> Self {
        let message = format!("{} {name:?} not found", kind.resource());
        Self::new(404, "NotFound", message).about(kind, name)
    }

    pub(crate) fn already_exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", kind.resource());
        Self::new(409, "AlreadyExists", message).about(kind, name)
    }

    pub(crate) fn conflict(kind: &Kind, name: &str, because: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {because}", kind.resource());
        Self::new(409, "Conflict", message).about(kind, name)
    }

    pub(crate) fn invalid(kind: &Kind, name: &str, because: &str) -> Self {
        let what =
            if kind.group.is_empty() { kind.name.clone() } else { format!("{}.{}", kind.name, kind.group) };
        Self::new(422, "Invalid", format!("{what} {name:?} is invalid: {because}"))
            .detail("name", name)
            .detail("group", &kind.group)
            .detail("kind", &kind.name)
    }

    pub(crate) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message)
    }

    fn about(self, kind: &Kind, name: &str) -> Self {
        let about = self.detail("name", name).detail("kind", &kind.plural);
        if kind.group.is_empty() { about } else { about.detail("group", &kind.group) }
    }

    fn detail(mut self, name: &str, value: &str) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    /// What the header `Retry-After` says.
    pub(crate) fn retry_after_seconds(&self) -> Option<u32> {
        self.retry_after
    }

    pub(crate) fn to_value(&self) -> Value {
        let mut details = self.details.clone();
        if let Some(seconds) = self.retry_after {
            details.insert("retryAfterSeconds".to_owned(), seconds.into());
        }
        let details = (!details.is_empty()).then_some(details);
        let mut value = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        });
        if let (Some(value), Some(details)) = (value.as_object_mut(), details) {
            value.insert("details".to_owned(), details.into());
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_that_of_kubernetes() {
        let kind = Kind::new("annex.sh/v1alpha1", "Install");
        assert_eq!(
            Status::conflict(&kind, "x", "the object has been modified").to_value(),
            json!({
                "kind": "Status",
                "apiVersion": "v1",
                "metadata": {},
                "status": "Failure",
                "message": "Operation cannot be fulfilled on installs.annex.sh \"x\": the object has been modified",
                "reason": "Conflict",
                "details": {"name": "x", "group": "annex.sh", "kind": "installs"},
                "code": 409,
            })
        );
    }

    #[test]
    fn when_to_come_again_is_in_the_details() {
        assert_eq!(Status::too_many_requests(3).to_value()["details"], json!({"retryAfterSeconds": 3}));
    }
}

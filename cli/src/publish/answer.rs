//! What the registry answers.

use reqwest::{Response, StatusCode};
use serde::{Deserialize, Serialize};

use super::registry::RegistryUrl;
use super::upload::body;
use crate::outcome::Failure;
use crate::server::chain;

/// More than any answer has. One that is larger is not the registry's.
const MAX_ANSWER: usize = 256 << 10;
/// How long the answer may take from its first byte on.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(30);

/// What was published. Fields that this version does not know are left out.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Published {
    name: String,
    extension: String,
    version: String,
    publisher: String,
    content_hash: String,
    archive: Archive,
    capabilities: Vec<String>,
    key_id: String,
    published_at: String,
    created: bool,
    created_extension: bool,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Archive {
    digest: String,
    size: u64,
}

impl Published {
    pub(super) fn text(&self) -> String {
        let first = if self.created { "published" } else { "was published already:" };
        let mut text = format!(
            "{first} {} {} of {}\nextensionversion.annex.sh/{}\ncontent hash  {}\n",
            self.extension, self.version, self.publisher, self.name, self.content_hash
        );
        if self.created_extension {
            text.push_str(&format!("{} is new in the catalog\n", self.extension));
        }
        text
    }
}

#[derive(Deserialize)]
struct Refusal {
    code: String,
    message: String,
}

/// The answer as what it means.
pub(super) async fn read(registry: &RegistryUrl, answer: Response) -> Result<Published, Failure> {
    let status = answer.status();
    let header = answer.headers().get("x-request-id").and_then(|id| id.to_str().ok());
    let request = header.map(str::to_owned);
    let bytes = match tokio::time::timeout(LIMIT, body(answer, MAX_ANSWER)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) => {
            let reason = chain(&error.without_url());
            return Err(Failure::Unable(format!("{registry} broke off its answer {status}: {reason}")));
        }
        Err(_) => return Err(Failure::Unable(format!("{registry} did not finish its answer {status}"))),
    };
    if status.is_success() {
        return serde_json::from_slice(&bytes).map_err(|_| {
            Failure::Unable(format!("{registry} answered {status} and nothing of a registry's; is it one?"))
        });
    }
    Err(refused(registry, status, &bytes, request.as_deref()))
}

fn refused(registry: &RegistryUrl, status: StatusCode, body: &[u8], request: Option<&str>) -> Failure {
    let Ok(Refusal { code, message }) = serde_json::from_slice(body) else {
        return Failure::Unable(format!(
            "{registry} answered {status} and no refusal of a registry; is it one?"
        ));
    };
    let mut text = format!("{code}: {message}");
    if let Some(next) = next(&code) {
        text.push_str("; ");
        text.push_str(next);
    }
    if let Some(request) = request.filter(|_| status.is_server_error()) {
        text.push_str(&format!(" (request {request})"));
    }
    // What comes of a fault, of a queue or of credentials is no verdict on the bundle.
    let again = status.is_server_error()
        || [StatusCode::UNAUTHORIZED, StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS]
            .contains(&status);
    if again { Failure::Unable(text) } else { Failure::Refused(text) }
}

/// What to do about it, where the registry cannot know.
fn next(code: &str) -> Option<&'static str> {
    Some(match code {
        "Unauthenticated" => "choose whom you publish as with --context or --kubeconfig",
        "VersionExists" => "count version in manifest.json up, then bundle and sign again",
        "UntrustedSigner" => {
            "its operator has to trust your key or its authority (KEY.pub) for your publisher"
        }
        "DigestMismatch" | "ManifestMismatch" => "sign the archive again",
        "NotFound" => "is --registry the registry's address?",
        "UploadTimeout" | "TooManyUploads" | "NotSynced" | "KcpUnavailable" | "StoreUnavailable"
        | "DiskFull" => "the same command can be run again",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, body: &str) -> Failure {
        let registry = "https://registry.example.com".parse().unwrap();
        refused(&registry, StatusCode::from_u16(status).unwrap(), body.as_bytes(), Some("abc"))
    }

    #[test]
    fn a_verdict_is_told_from_what_may_do_another_time() {
        let body = |code: &str| format!(r#"{{"code":"{code}","message":"why"}}"#);
        assert_eq!(
            of(409, &body("VersionExists")),
            Failure::Refused(
                "VersionExists: why; count version in manifest.json up, then bundle and sign again"
                    .to_owned()
            )
        );
        assert_eq!(of(422, &body("ChainExpired")), Failure::Refused("ChainExpired: why".to_owned()));
        for (status, code) in
            [(401, "Unauthenticated"), (429, "TooManyUploads"), (503, "NotSynced"), (507, "DiskFull")]
        {
            let failure = of(status, &body(code));
            assert!(matches!(&failure, Failure::Unable(text) if text.starts_with(code)), "{failure:?}");
        }
        assert_eq!(of(500, &body("Internal")), Failure::Unable("Internal: why (request abc)".to_owned()));
    }

    #[test]
    fn what_is_no_registry_is_said_to_be_none() {
        for body in ["", "<html>", "{}", "[]"] {
            assert!(matches!(of(404, body), Failure::Unable(text) if text.contains("is it one?")), "{body}");
        }
    }
}

//! A double of kcp: it has the Secrets that the author named, out of files, and says no to every other question.
//!
//! The gateway asks nothing else where no token is shown.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Request, Response, StatusCode};
use kube::Client;
use serde_json::{Value, json};

use crate::install::SecretFile;

const SECRETS: &str = "/api/v1/namespaces/default/secrets/";

/// A client of it.
pub(crate) fn client(secrets: Arc<Vec<SecretFile>>) -> Client {
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let secrets = Arc::clone(&secrets);
        async move {
            let name =
                request.uri().path().strip_prefix(SECRETS).filter(|_| *request.method() == Method::GET);
            let found = match name {
                Some(name) => secret(&secrets, name).await?,
                None => None,
            };
            let (status, body) = match found {
                Some(secret) => (StatusCode::OK, secret),
                None => (StatusCode::NOT_FOUND, not_found()),
            };
            let mut response = Response::new(kube::client::Body::from(body.to_string().into_bytes()));
            *response.status_mut() = status;
            Ok::<_, std::io::Error>(response)
        }
    });
    Client::new(service, "default")
}

/// Read anew each time, as a Secret that was changed is.
async fn secret(secrets: &[SecretFile], name: &str) -> std::io::Result<Option<Value>> {
    let mut data = BTreeMap::new();
    for secret in secrets.iter().filter(|secret| secret.name == name) {
        let value = tokio::fs::read(&secret.file).await.inspect_err(|error| {
            tracing::warn!(target: crate::terminal::OWN, "the secret {name}/{}: {} cannot be read: {error}", secret.key, secret.file.display());
        })?;
        data.insert(secret.key.clone(), STANDARD.encode(value));
    }
    Ok((!data.is_empty()).then(|| {
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name, "namespace": "default" }, "data": data })
    }))
}

fn not_found() -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "reason": "NotFound", "message": "there is no kcp here", "code": 404,
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Secret;
    use kube::Api;

    use super::*;

    #[tokio::test]
    async fn a_secret_is_its_files_and_there_are_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        std::fs::write(&file, b"s3cr3t\n").unwrap();
        let secrets = ["password", "user"].map(|key| SecretFile {
            name: "smtp".into(),
            key: key.into(),
            file: file.clone(),
        });
        let api = Api::<Secret>::namespaced(client(Arc::new(secrets.to_vec())), "default");
        let data = api.get("smtp").await.unwrap().data.unwrap();
        assert_eq!(data.keys().collect::<Vec<_>>(), ["password", "user"]);
        assert_eq!(data["password"].0, b"s3cr3t\n");
        assert!(api.get_opt("other").await.unwrap().is_none());
        std::fs::write(&file, b"another").unwrap();
        assert_eq!(api.get("smtp").await.unwrap().data.unwrap()["user"].0, b"another");
        std::fs::remove_file(&file).unwrap();
        assert!(api.get("smtp").await.is_err());
    }
}

use std::{fs, path::Path, sync::Arc};

use annex_bundle::{Limits, SigningKey, Unpacked, pack_files, sign};
use jiff::Timestamp;
use reqwest::{StatusCode, header::CONTENT_TYPE};
use serde_json::{Value, json};
use xtask::Stack;

use crate::token_in;

const BOUNDARY: &str = "annex-e2e-boundary";

/// Somebody who publishes bundles at the registry of the environment, with a token of kcp and the development publisher's key.
#[derive(Clone, Debug)]
pub struct Publisher {
    http: reqwest::Client,
    url: String,
    token: String,
    key: Arc<SigningKey>,
}

/// An extension's archive, and what is in it. The same words make the same archive.
///
/// # Errors
/// They make none.
pub fn packed(name: &str, version: &str, page: &str) -> anyhow::Result<(Vec<u8>, Unpacked)> {
    let manifest = json!({ "name": name, "publisher": "example.com", "version": version, "ui": { "entry": "ui/index.html" } });
    let manifest = manifest.to_string();
    let files: [(&str, &[u8]); 3] = [
        ("manifest.json", manifest.as_bytes()),
        ("main.wasm", b"\0asm\x0d\0\x01\0 a component"),
        ("ui/index.html", page.as_bytes()),
    ];
    let mut archive = Vec::new();
    let unpacked = pack_files(files, &Limits::default(), &mut archive)?;
    Ok((archive, unpacked))
}

fn bundles(registry: &str) -> String {
    format!("{registry}/api/bundles")
}

impl Publisher {
    /// One of the environment's users.
    ///
    /// # Errors
    /// The environment is not up, or its kcp knows people by other things than tokens.
    pub fn new(stack: &Stack, user: &str) -> anyhow::Result<Self> {
        Self::with_kubeconfig(stack, &stack.paths().user_kubeconfig(user))
    }

    /// Whose token is in a kubeconfig.
    ///
    /// # Errors
    /// As [`Publisher::new`].
    pub fn with_kubeconfig(stack: &Stack, kubeconfig: &Path) -> anyhow::Result<Self> {
        Self::with_token(stack, &token_in(kubeconfig)?)
    }

    /// Who has this token.
    ///
    /// # Errors
    /// The environment is not up.
    pub fn with_token(stack: &Stack, token: &str) -> anyhow::Result<Self> {
        Ok(Self {
            http: reqwest::Client::builder().no_proxy().timeout(crate::PATIENCE).build()?,
            url: bundles(&stack.registry_url()?),
            token: token.to_owned(),
            key: Arc::new(SigningKey::from_pem(&fs::read(stack.paths().publisher_key())?)?),
        })
    }

    /// The same, at another registry than the environment's.
    #[must_use]
    pub fn at(&self, registry: &str) -> Self {
        Self { url: bundles(registry), ..self.clone() }
    }

    /// The signature file of what was packed.
    ///
    /// # Errors
    /// The key does not sign.
    pub fn signature(&self, unpacked: &Unpacked) -> anyhow::Result<Vec<u8>> {
        Ok(sign(unpacked, &self.key, &[], Timestamp::now())?)
    }

    /// The body of an upload, and its content type.
    #[must_use]
    pub fn body(archive: &[u8], signature: Option<&[u8]>) -> (String, Vec<u8>) {
        let mut body = Vec::new();
        let parts =
            signature.map(|signature| ("signature", signature)).into_iter().chain([("archive", archive)]);
        for (name, content) in parts {
            let head = format!("--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n");
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(content);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        (format!("multipart/form-data; boundary={BOUNDARY}"), body)
    }

    /// Uploads, and returns what the registry says.
    ///
    /// # Errors
    /// No answer.
    pub async fn upload(
        &self,
        archive: &[u8],
        signature: Option<&[u8]>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let (content_type, body) = Self::body(archive, signature);
        let request = self.http.post(&self.url).bearer_auth(&self.token).header(CONTENT_TYPE, content_type);
        let response = request.body(body).send().await?;
        Ok((response.status(), response.json().await?))
    }

    /// The head of an upload of this many bytes, as it goes over the wire.
    #[must_use]
    pub fn head(&self, content_type: &str, length: usize) -> String {
        format!(
            "POST /api/bundles HTTP/1.1\r\nhost: registry\r\nauthorization: Bearer {}\r\ncontent-type: {content_type}\r\n\
             content-length: {length}\r\n\r\n",
            self.token
        )
    }

    /// Asks for an Install to be made again.
    ///
    /// # Errors
    /// No answer.
    pub async fn reprovision(&self, id: &str) -> anyhow::Result<(StatusCode, Value)> {
        let url = self.url.replace("/api/bundles", &format!("/api/installs/{id}/reprovision"));
        let response = self.http.post(url).bearer_auth(&self.token).send().await?;
        Ok((response.status(), response.json().await?))
    }

    /// Packs, signs and uploads.
    ///
    /// # Errors
    /// No answer.
    pub async fn publish(
        &self,
        name: &str,
        version: &str,
        page: &str,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let (archive, unpacked) = packed(name, version, page)?;
        self.upload(&archive, Some(&self.signature(&unpacked)?)).await
    }
}

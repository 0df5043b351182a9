//! The services' own identities: service accounts in the provider's workspace, made by its manifests.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::kubeconfig::Endpoint;
use crate::kubectl::{Kubectl, retry};
use crate::part::Part;
use crate::paths::Paths;
use crate::private_file;

/// The services that speak to kcp. The runner does not.
const WITH_IDENTITY: [Part; 4] = [Part::Controller, Part::Gateway, Part::Initializer, Part::Registry];

/// Writes a kubeconfig for each service that speaks to kcp. `annex`: the administrator in the provider's workspace.
pub(crate) fn write(paths: &Paths, endpoint: &Endpoint, annex: &Kubectl) -> Result<()> {
    for part in WITH_IDENTITY {
        let secret = format!("annex-{part}-token");
        // kcp fills the Secret a moment after it was made.
        let token = retry(Duration::from_secs(30), &format!("Secret {secret} has a token"), || {
            token(annex, &secret)
        })?;
        let text = endpoint.kubeconfig(
            &format!("annex-{part}"),
            &json!({"token": token}),
            &[("annex", "root:annex")],
        )?;
        private_file::write(&paths.service_kubeconfig(part), &text)?;
    }
    Ok(())
}

fn token(annex: &Kubectl, secret: &str) -> Result<String> {
    let data = annex.run(&[
        "get",
        "secret",
        secret,
        "--namespace=annex-system",
        "--output=jsonpath={.data.token}",
    ])?;
    if data.is_empty() {
        bail!("kcp has not filled Secret annex-system/{secret} yet: is its service account there?");
    }
    let bytes = STANDARD.decode(data.trim()).with_context(|| format!("Secret {secret} is not base64"))?;
    String::from_utf8(bytes).with_context(|| format!("Secret {secret} is not text"))
}

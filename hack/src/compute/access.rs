//! What an operator gives Annex on a compute cluster: rights, and an identity of its own.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::checkout::Checkout;
use crate::kubeconfig;
use crate::kubectl::{Kubectl, retry};
use crate::part::Part;
use crate::paths::Paths;
use crate::private_file;

const MANIFESTS: &str = "manifests/compute/rbac";
const NAMESPACE: &str = "--namespace=annex-system";
const SECRET: &str = "annex-controller-token";
/// What the same folder defines and uses is there a moment later.
const LIMIT: Duration = Duration::from_secs(60);

/// Copies a kubeconfig, whole and with nothing but its current context.
pub(crate) fn adopt(reader: &Kubectl, paths: &Paths) -> Result<()> {
    let view = reader.json(&["config", "view", "--raw", "--flatten", "--minify"])?;
    let text = serde_json::to_vec_pretty(&view).context("cannot render a kubeconfig")?;
    private_file::write(&paths.compute_kubeconfig(), &text)
}

/// Applies the rights, and writes the kubeconfig of the controller's own identity.
pub(crate) fn grant(checkout: &Checkout, paths: &Paths, admin: &Kubectl) -> Result<()> {
    let folder = checkout.join(MANIFESTS);
    let folder = folder.to_str().context("the checkout's path is not Unicode")?;
    retry(LIMIT, &format!("apply {MANIFESTS}"), || {
        admin.run(&["apply", "--server-side", "--filename", folder])
    })?;
    // In the cluster the controller would have a token by itself. From outside it needs one that lasts.
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/service-account-token",
        "metadata": {
            "name": SECRET,
            "namespace": "annex-system",
            "annotations": {"kubernetes.io/service-account.name": "annex-controller"},
        },
    });
    admin.run_with_input(&["apply", "--server-side", "--filename=-"], &secret.to_string())?;
    let token = retry(LIMIT, &format!("Secret {SECRET} has a token"), || token(admin))?;
    let view = admin.json(&["config", "view", "--raw", "--flatten", "--minify"])?;
    let text = service_kubeconfig(&view, &token)?;
    private_file::write(&paths.compute_service_kubeconfig(Part::Controller), &text)
}

fn token(admin: &Kubectl) -> Result<String> {
    let data = admin.run(&["get", "secret", SECRET, NAMESPACE, "--output=jsonpath={.data.token}"])?;
    if data.is_empty() {
        bail!("Secret annex-system/{SECRET} is not filled yet: is its service account there?");
    }
    let bytes = STANDARD.decode(data.trim()).context("the token is not base64")?;
    String::from_utf8(bytes).context("the token is not text")
}

/// The administrator's way to the server, as somebody else.
fn service_kubeconfig(view: &Value, token: &str) -> Result<Vec<u8>> {
    let cluster =
        view.pointer("/clusters/0/cluster").context("the kubeconfig's current context names no server")?;
    kubeconfig::single("compute", cluster, "annex-controller", &json!({"token": token}))
}

/// Whether there is anything to apply.
pub(crate) fn manifests_exist(checkout: &Checkout) -> bool {
    Path::new(&checkout.join(MANIFESTS)).is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_administrator_is_in_the_controllers_kubeconfig() {
        let view = json!({
            "clusters": [{"name": "c", "cluster": {"server": "https://h:6443", "certificate-authority-data": "Q0E="}}],
            "users": [{"name": "admin", "user": {"client-key-data": "secret"}}],
        });
        let text = String::from_utf8(service_kubeconfig(&view, "t0ken").unwrap()).unwrap();
        assert!(text.contains("https://h:6443") && text.contains("Q0E=") && text.contains("t0ken"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}

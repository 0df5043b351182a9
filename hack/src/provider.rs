//! What the operator of a kcp applies once: the provider's workspace and what is in it.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::checkout::Checkout;
use crate::kubectl::{Kubectl, retry};

/// Kinds that the same folder defines and uses are served a moment later, and so is a new workspace.
const LIMIT: Duration = Duration::from_secs(60);

/// Applies everything; what is already so stays untouched. `root`: the administrator in workspace `root`.
pub(crate) fn apply(checkout: &Checkout, root: &Kubectl) -> Result<()> {
    let annex = root.context("annex");
    let ready = "--for=jsonpath={.status.phase}=Ready";
    apply_path(checkout, root, "hack/dev/root.yaml")?;
    root.run(&["wait", "workspace/annex", ready, "--timeout=60s"])
        .context("workspace root:annex does not get ready")?;
    apply_path(checkout, &annex, "manifests/provider")?;
    let crds = annex.run(&["get", "crd", "--output=name"])?;
    let crds: Vec<&str> = crds.lines().collect();
    if !crds.is_empty() {
        annex.run(&[["wait", "--for=condition=Established", "--timeout=60s"].as_slice(), &crds].concat())?;
    }
    apply_path(checkout, &annex, "manifests/samples/extension.yaml")
}

fn apply_path(checkout: &Checkout, kubectl: &Kubectl, path: &str) -> Result<()> {
    let file = checkout.join(path);
    let file = file.to_str().context("the checkout's path is not Unicode")?;
    retry(LIMIT, &format!("apply {path}"), || {
        // Not server-side: kcp v0.31 keeps no field manager when some kinds are created so, adds it at the next apply, and thereby
        // changes objects that are as they should be.
        kubectl.run(&["apply", "--filename", file])
    })
    .map(drop)
}

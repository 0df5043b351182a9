//! kcp: started here, or running elsewhere.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::kubeconfig::Endpoint;
use crate::kubectl::Kubectl;
use crate::paths::Paths;
use crate::process::Launch;
use crate::settings::Settings;
use crate::users;

/// How kcp is started here.
pub(crate) fn launch(settings: &Settings, paths: &Paths, binary: &Path) -> Launch {
    let mut env = Vec::new();
    if !settings.fsync {
        env.push(("UNSAFE_E2E_HACK_DISABLE_ETCD_FSYNC".to_owned(), "true".to_owned()));
    }
    Launch {
        program: binary.to_path_buf(),
        args: vec![
            "start".to_owned(),
            format!("--root-directory={}", paths.kcp_root().display()),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", settings.kcp_port),
            format!("--embedded-etcd-client-port={}", settings.etcd_port),
            format!("--embedded-etcd-peer-port={}", settings.etcd_peer_port()),
            format!("--token-auth-file={}", paths.kcp_tokens().display()),
        ],
        env,
        inputs: vec![paths.kcp_tokens()],
        network: None,
    }
}

/// Where kcp answers and as whom its administrator comes. Fails while a kcp started here is still making certificates.
pub(crate) fn endpoint(settings: &Settings, paths: &Paths, kubectl: &Path) -> Result<(Endpoint, Value)> {
    let (file, context) = match &settings.kcp_kubeconfig {
        Some(file) => (file.clone(), None),
        None => (paths.kcp_root().join("admin.kubeconfig"), Some("root")),
    };
    // Kubectl makes an empty answer out of a file that is not there.
    std::fs::metadata(&file).with_context(|| format!("there is no {} yet", file.display()))?;
    let mut reader = Kubectl::new(kubectl, file, paths.kubectl_cache());
    if let Some(context) = context {
        reader = reader.context(context);
    }
    let (mut endpoint, mut credentials) =
        Endpoint::from_view(&reader.json(&["config", "view", "--raw", "--flatten", "--minify"])?)?;
    if settings.kcp_kubeconfig.is_none() {
        // The file may still be the one of an earlier start, on another port and with a token that has ended.
        endpoint.base = settings.ops_url(crate::part::Part::Kcp);
        credentials = users::admin_credentials(paths)?;
    }
    Ok((endpoint, credentials))
}

/// Whether kcp serves. Its `/readyz` and its API turn up in either order after a start, so both are asked.
pub(crate) fn check(admin: &Kubectl) -> Result<()> {
    for path in ["/readyz", "/apis/tenancy.kcp.io/v1alpha1/workspaces?limit=1"] {
        admin.run(&["--request-timeout=5s", "get", "--raw", path])?;
    }
    Ok(())
}

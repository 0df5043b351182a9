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

/// Where kcp listens when nobody but this machine has to reach it.
pub(crate) const LOOPBACK: &str = "127.0.0.1";

/// How kcp is started here. `address`: where it listens, and what its certificate and the URLs of its virtual workspaces are for.
pub(crate) fn launch(settings: &Settings, paths: &Paths, binary: &Path, address: &str) -> Launch {
    let mut env = Vec::new();
    if !settings.fsync {
        env.push(("UNSAFE_E2E_HACK_DISABLE_ETCD_FSYNC".to_owned(), "true".to_owned()));
    }
    let mut args = vec![
        "start".to_owned(),
        format!("--root-directory={}", paths.kcp_root().display()),
        format!("--bind-address={address}"),
        format!("--secure-port={}", settings.kcp_port),
        format!("--embedded-etcd-client-port={}", settings.etcd_port),
        format!("--embedded-etcd-peer-port={}", settings.etcd_peer_port()),
        format!("--token-auth-file={}", paths.kcp_tokens().display()),
    ];
    if address != LOOPBACK {
        // Kcp keeps a certificate that it finds, whatever address that one is for.
        let certificates = paths.kcp_root().join(format!("certificates-{address}"));
        args.push(format!("--cert-dir={}", certificates.display()));
    }
    Launch { program: binary.to_path_buf(), args, env, inputs: vec![paths.kcp_tokens()], network: None }
}

/// Where kcp answers and as whom its administrator comes. `base`: the address of one that is started here. Fails while such a one
/// is still making certificates.
pub(crate) fn endpoint(
    settings: &Settings,
    paths: &Paths,
    kubectl: &Path,
    base: String,
) -> Result<(Endpoint, Value)> {
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
        endpoint.base = base;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_certificates_of_its_own() {
        let settings = Settings::new(Path::new("/state"));
        let paths = Paths::new(&settings.state_dir);
        let line = |address: &str| launch(&settings, &paths, Path::new("/bin/kcp"), address).args.join(" ");
        assert!(line(LOOPBACK).contains("--bind-address=127.0.0.1 "), "{}", line(LOOPBACK));
        assert!(!line(LOOPBACK).contains("--cert-dir"), "{}", line(LOOPBACK));
        let near = line("10.89.0.1");
        assert!(near.contains("--bind-address=10.89.0.1 "), "{near}");
        assert!(near.contains("--cert-dir=/state/kcp/certificates-10.89.0.1"), "{near}");
    }
}

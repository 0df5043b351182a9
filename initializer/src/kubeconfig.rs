use annex_apis::{KUBECONFIG_KEY, MANAGED_ENVIRONMENT_SECRET_TYPE, SEED_TOKEN_ANNOTATION};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube_kcp::ClusterName;
use serde_json::json;

use crate::{KUBECONFIG_SECRET, SERVICE_ACCOUNT, Seed, SeedConfig, Token, objects::namespaced};

impl Seed {
    /// The Secret with a kubeconfig that opens the workspace with plain kubectl. Server and CA come from the configuration:
    /// the `ca.crt` beside the token is not reliably that of the front proxy. An annotation names the token Secret, so that
    /// who finds several knows which one counts.
    #[must_use]
    pub fn kubeconfig_secret(config: &SeedConfig, cluster: &ClusterName, token: &Token) -> Secret {
        let kubeconfig = kubeconfig(config, cluster, token.secret());
        let mut metadata = namespaced(KUBECONFIG_SECRET);
        metadata.annotations = Some([(SEED_TOKEN_ANNOTATION.to_owned(), token.name().to_string())].into());
        Secret {
            metadata,
            type_: Some(MANAGED_ENVIRONMENT_SECRET_TYPE.into()),
            data: Some([(KUBECONFIG_KEY.to_owned(), ByteString(kubeconfig.into_bytes()))].into()),
            ..Secret::default()
        }
    }
}

/// JSON, which is YAML: kubectl and every client read it, and nothing in a value can break out of it.
fn kubeconfig(config: &SeedConfig, cluster: &ClusterName, token: &str) -> String {
    let mut server = json!({ "server": config.workspace_url(cluster) });
    if let (Some(ca), Some(server)) = (&config.tenant_ca, server.as_object_mut()) {
        server.insert("certificate-authority-data".into(), json!(ByteString(ca.clone().into_bytes())));
    }
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "workspace", "cluster": server }],
        "users": [{ "name": SERVICE_ACCOUNT, "user": { "token": token } }],
        "contexts": [{ "name": "workspace", "context": { "cluster": "workspace", "user": SERVICE_ACCOUNT } }],
        "current-context": "workspace",
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TokenName, seed::tests::config, token::tests::filled};

    #[test]
    fn the_kubeconfig_is_read_by_a_client_and_leads_to_the_cluster() {
        let cluster = "1s8uv2zt5c3nc1hy".parse().unwrap();
        let token = filled(&TokenName::first());
        let secret = Seed::kubeconfig_secret(&config(), &cluster, &token);
        assert_eq!(secret.type_.as_deref(), Some(MANAGED_ENVIRONMENT_SECRET_TYPE));
        assert_eq!(secret.metadata.annotations.unwrap()[SEED_TOKEN_ANNOTATION], "annex-token");
        let text = String::from_utf8(secret.data.unwrap()[KUBECONFIG_KEY].0.clone()).unwrap();
        let read = kube::config::Kubeconfig::from_yaml(&text).unwrap();
        let server = read.clusters[0].cluster.as_ref().unwrap().server.as_deref();
        assert_eq!(server, Some("https://kcp.example.com:6443/clusters/1s8uv2zt5c3nc1hy"));
        assert_eq!(server, Some(Seed::environment(&config(), &cluster).spec.api_url.as_str()));
    }
}

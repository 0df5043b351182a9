use std::collections::BTreeMap;

use annex_apis::{
    KUBECONFIG_KEY, MANAGED_ENVIRONMENT_SECRET_TYPE, MANAGED_LABEL, ManagedEnvironment,
    ManagedEnvironmentSpec, NameReference, provider,
};
use k8s_openapi::{
    ByteString,
    api::{
        core::v1::{Namespace, Secret, ServiceAccount},
        rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube_kcp::{
    ClusterName,
    kinds::{APIBinding, APIBindingSpec, BindingReference, ExportReference},
};
use serde_json::json;

use crate::SeedConfig;

/// The namespace of everything seeded.
pub const NAMESPACE: &str = "annex";
/// The ServiceAccount that the kubeconfig speaks for.
pub const SERVICE_ACCOUNT: &str = "annex";
/// The Secret that kcp fills with the ServiceAccount's token.
pub const TOKEN_SECRET: &str = "annex-token";
/// The Secret with the kubeconfig.
pub const KUBECONFIG_SECRET: &str = "annex-kubeconfig";
/// The ManagedEnvironment that stands for the workspace itself.
pub const ENVIRONMENT: &str = "workspace";

/// On the APIBinding of a workspace that the initializer made. It tells the controller to leave the workspace to the
/// initializer for the first while.
pub const INITIALIZED_ANNOTATION: &str = "annex.sh/initialized";

const RBAC: &str = "rbac.authorization.k8s.io";
/// kcp's own role: without `access` on `/` a token is refused before any other rule is asked.
const ACCESS_ROLE: &str = "system:kcp:workspace:access";

/// The objects that a workspace gets and that depend on nothing in it. What depends on the token is
/// [`Seed::kubeconfig_secret`], what needs the API to be bound is [`Seed::environment`].
#[derive(Clone, Debug)]
pub struct Seed {
    /// The namespace of the others.
    pub namespace: Namespace,
    /// Whom the kubeconfig speaks for.
    pub service_account: ServiceAccount,
    /// Filled by kcp with the ServiceAccount's token.
    pub token_secret: Secret,
    /// What the ServiceAccount may do in its namespace: read its own kubeconfig.
    pub role: Role,
    /// Gives `role`.
    pub role_binding: RoleBinding,
    /// What the ServiceAccount may do in the workspace: see its namespaces and Annex's kinds.
    pub cluster_role: ClusterRole,
    /// Gives `cluster_role`, and the right to enter the workspace at all.
    pub cluster_role_bindings: [ClusterRoleBinding; 2],
    /// Binds the API, with every claim accepted for labelled objects only.
    pub api_binding: APIBinding,
}

impl Seed {
    /// What every workspace gets.
    #[must_use]
    pub fn of(config: &SeedConfig) -> Self {
        let subjects = || {
            Some(vec![Subject {
                kind: "ServiceAccount".into(),
                name: SERVICE_ACCOUNT.into(),
                namespace: Some(NAMESPACE.into()),
                api_group: None,
            }])
        };
        let cluster_role_binding = |name: &str, role: &str| ClusterRoleBinding {
            metadata: cluster_scoped(name),
            role_ref: RoleRef { api_group: RBAC.into(), kind: "ClusterRole".into(), name: role.into() },
            subjects: subjects(),
        };
        let mut token_meta = namespaced(TOKEN_SECRET);
        token_meta.annotations =
            Some([("kubernetes.io/service-account.name".to_owned(), SERVICE_ACCOUNT.to_owned())].into());
        Self {
            namespace: Namespace { metadata: cluster_scoped(NAMESPACE), ..Namespace::default() },
            service_account: ServiceAccount {
                metadata: namespaced(SERVICE_ACCOUNT),
                ..ServiceAccount::default()
            },
            token_secret: Secret {
                metadata: token_meta,
                type_: Some("kubernetes.io/service-account-token".into()),
                ..Secret::default()
            },
            role: Role {
                metadata: namespaced("annex"),
                rules: Some(vec![PolicyRule {
                    // By name: a rule for all Secrets of the namespace would open what a tenant puts beside them.
                    resource_names: Some(vec![KUBECONFIG_SECRET.into()]),
                    ..rule("", &["secrets"], &["get"])
                }]),
            },
            role_binding: RoleBinding {
                metadata: namespaced("annex"),
                role_ref: RoleRef { api_group: RBAC.into(), kind: "Role".into(), name: "annex".into() },
                subjects: subjects(),
            },
            cluster_role: ClusterRole {
                metadata: cluster_scoped("annex"),
                rules: Some(vec![
                    rule("", &["namespaces"], &["get", "list", "watch"]),
                    rule(annex_apis::GROUP, &["installs", "managedenvironments"], &["get", "list", "watch"]),
                ]),
                ..ClusterRole::default()
            },
            cluster_role_bindings: [
                cluster_role_binding("annex", "annex"),
                cluster_role_binding("annex-access", ACCESS_ROLE),
            ],
            api_binding: APIBinding {
                metadata: ObjectMeta {
                    annotations: Some([(INITIALIZED_ANNOTATION.to_owned(), "true".to_owned())].into()),
                    ..cluster_scoped(&config.export_name)
                },
                spec: APIBindingSpec {
                    reference: BindingReference {
                        export: Some(ExportReference {
                            path: Some(config.export_path.clone()),
                            name: config.export_name.clone(),
                        }),
                    },
                    permission_claims: provider::accepted_claims(),
                },
                status: None,
            },
        }
    }

    /// The Secret with a kubeconfig that opens the workspace with plain kubectl. Server and CA come from the configuration:
    /// the `ca.crt` beside the token is not reliably that of the front proxy.
    #[must_use]
    pub fn kubeconfig_secret(config: &SeedConfig, cluster: &ClusterName, token: &str) -> Secret {
        let kubeconfig = kubeconfig(config, cluster, token);
        Secret {
            metadata: namespaced(KUBECONFIG_SECRET),
            type_: Some(MANAGED_ENVIRONMENT_SECRET_TYPE.into()),
            data: Some([(KUBECONFIG_KEY.to_owned(), ByteString(kubeconfig.into_bytes()))].into()),
            ..Secret::default()
        }
    }

    /// The ManagedEnvironment that stands for the workspace itself.
    #[must_use]
    pub fn environment(config: &SeedConfig, cluster: &ClusterName) -> ManagedEnvironment {
        ManagedEnvironment {
            metadata: namespaced(ENVIRONMENT),
            spec: ManagedEnvironmentSpec {
                api_url: config.workspace_url(cluster),
                credentials_secret_ref: NameReference { name: KUBECONFIG_SECRET.into() },
                ..ManagedEnvironmentSpec::default()
            },
            status: None,
        }
    }
}

/// The token in the Secret that kcp fills, once it is there.
#[must_use]
pub fn token_of(secret: &Secret) -> Option<String> {
    let token = secret.data.as_ref()?.get("token")?;
    String::from_utf8(token.0.clone()).ok().filter(|token| !token.is_empty())
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

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> PolicyRule {
    let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(owned(resources)),
        verbs: owned(verbs),
        ..PolicyRule::default()
    }
}

fn cluster_scoped(name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(BTreeMap::from([(MANAGED_LABEL.to_owned(), "true".to_owned())])),
        ..ObjectMeta::default()
    }
}

fn namespaced(name: &str) -> ObjectMeta {
    ObjectMeta { namespace: Some(NAMESPACE.to_owned()), ..cluster_scoped(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> SeedConfig {
        SeedConfig {
            tenant_server: "https://kcp.example.com:6443".into(),
            tenant_ca: Some("-----BEGIN CERTIFICATE-----\n".into()),
            export_path: "root:annex".into(),
            export_name: "annex.sh".into(),
        }
    }

    #[test]
    fn no_rule_has_a_wildcard_and_secrets_go_by_name() {
        let seed = Seed::of(&config());
        let rules = seed.role.rules.iter().chain(&seed.cluster_role.rules).flatten();
        for rule in rules {
            let words = [&rule.verbs].into_iter().chain(&rule.resources).chain(&rule.api_groups).flatten();
            assert!(words.clone().all(|word| word != "*"), "{rule:?}");
            if words.clone().any(|word| word == "secrets") {
                assert_eq!(rule.resource_names.as_deref(), Some([KUBECONFIG_SECRET.to_owned()].as_slice()));
            }
        }
    }

    #[test]
    fn the_kubeconfig_is_read_by_a_client_and_leads_to_the_cluster() {
        let cluster = "1s8uv2zt5c3nc1hy".parse().unwrap();
        let secret = Seed::kubeconfig_secret(&config(), &cluster, "to\"ken");
        assert_eq!(secret.type_.as_deref(), Some(MANAGED_ENVIRONMENT_SECRET_TYPE));
        let text = String::from_utf8(secret.data.unwrap()[KUBECONFIG_KEY].0.clone()).unwrap();
        let read = kube::config::Kubeconfig::from_yaml(&text).unwrap();
        let server = read.clusters[0].cluster.as_ref().unwrap().server.as_deref();
        assert_eq!(server, Some("https://kcp.example.com:6443/clusters/1s8uv2zt5c3nc1hy"));
        assert_eq!(server, Some(Seed::environment(&config(), &cluster).spec.api_url.as_str()));
    }

    #[test]
    fn everything_carries_the_label_that_the_claims_select_by() {
        let seed = Seed::of(&config());
        let metas = [
            &seed.namespace.metadata,
            &seed.service_account.metadata,
            &seed.token_secret.metadata,
            &seed.role.metadata,
            &seed.role_binding.metadata,
            &seed.cluster_role.metadata,
            &seed.api_binding.metadata,
        ];
        let bindings = seed.cluster_role_bindings.iter().map(|binding| &binding.metadata);
        for meta in metas.into_iter().chain(bindings) {
            assert_eq!(meta.labels.as_ref().unwrap()[MANAGED_LABEL], "true", "{meta:?}");
        }
    }
}

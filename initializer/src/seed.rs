use annex_apis::{ManagedEnvironment, ManagedEnvironmentSpec, NameReference, provider};
use k8s_openapi::{
    api::{
        core::v1::{Namespace, ServiceAccount},
        rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube_kcp::{
    ClusterName,
    kinds::{APIBinding, APIBindingSpec, BindingReference, ExportReference},
};

use crate::{
    SeedConfig,
    objects::{cluster_scoped, namespaced, rule},
};

/// The namespace of everything seeded.
pub const NAMESPACE: &str = "annex";
/// The ServiceAccount that the kubeconfig speaks for.
pub const SERVICE_ACCOUNT: &str = "annex";
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

/// The objects that a workspace gets, in the order in which they are written:
///
/// 1. [`Seed::api_binding`], which nothing here waits for, and which kcp takes the longest to bind;
/// 2. [`Seed::steps`], one after the other;
/// 3. [`Seed::token_secret`], once the ServiceAccount is there;
/// 4. [`Seed::kubeconfig_secret`], once kcp has filled in the token;
/// 5. [`Seed::environment`], once the API is bound, and last of all: who sees it finds the rest.
#[derive(Clone, Debug)]
pub struct Seed {
    /// Binds the API, with every claim accepted for labelled objects only.
    pub api_binding: APIBinding,
    /// What depends on nothing but the steps before. The objects of one step may be written beside each other.
    pub steps: [Vec<SeedObject>; 2],
}

/// An object of a seed, of whichever kind.
#[derive(Clone, Debug)]
pub enum SeedObject {
    /// The namespace of the others.
    Namespace(Namespace),
    /// What the ServiceAccount may do in the workspace: see its namespaces and Annex's kinds.
    ClusterRole(ClusterRole),
    /// Gives the ClusterRole, or the right to enter the workspace at all.
    ClusterRoleBinding(ClusterRoleBinding),
    /// Whom the kubeconfig speaks for.
    ServiceAccount(ServiceAccount),
    /// What the ServiceAccount may do in its namespace: read its own kubeconfig.
    Role(Role),
    /// Gives the Role.
    RoleBinding(RoleBinding),
}

impl SeedObject {
    /// Its name and labels.
    #[must_use]
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Namespace(object) => &object.metadata,
            Self::ClusterRole(object) => &object.metadata,
            Self::ClusterRoleBinding(object) => &object.metadata,
            Self::ServiceAccount(object) => &object.metadata,
            Self::Role(object) => &object.metadata,
            Self::RoleBinding(object) => &object.metadata,
        }
    }
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
        let cluster_role_binding = |name: &str, role: &str| {
            SeedObject::ClusterRoleBinding(ClusterRoleBinding {
                metadata: cluster_scoped(name),
                role_ref: RoleRef { api_group: RBAC.into(), kind: "ClusterRole".into(), name: role.into() },
                subjects: subjects(),
            })
        };
        Self {
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
            steps: [
                vec![
                    SeedObject::Namespace(Namespace {
                        metadata: cluster_scoped(NAMESPACE),
                        ..Namespace::default()
                    }),
                    SeedObject::ClusterRole(ClusterRole {
                        metadata: cluster_scoped("annex"),
                        rules: Some(vec![
                            rule("", &["namespaces"], &["get", "list", "watch"]),
                            rule(
                                annex_apis::GROUP,
                                &["installs", "managedenvironments"],
                                &["get", "list", "watch"],
                            ),
                        ]),
                        ..ClusterRole::default()
                    }),
                    cluster_role_binding("annex", "annex"),
                    cluster_role_binding("annex-access", ACCESS_ROLE),
                ],
                vec![
                    SeedObject::ServiceAccount(ServiceAccount {
                        metadata: namespaced(SERVICE_ACCOUNT),
                        ..ServiceAccount::default()
                    }),
                    SeedObject::Role(Role {
                        metadata: namespaced("annex"),
                        rules: Some(vec![PolicyRule {
                            // By name: a rule for all Secrets of the namespace would open what a tenant puts beside them.
                            resource_names: Some(vec![KUBECONFIG_SECRET.into()]),
                            ..rule("", &["secrets"], &["get"])
                        }]),
                    }),
                    SeedObject::RoleBinding(RoleBinding {
                        metadata: namespaced("annex"),
                        role_ref: RoleRef {
                            api_group: RBAC.into(),
                            kind: "Role".into(),
                            name: "annex".into(),
                        },
                        subjects: subjects(),
                    }),
                ],
            ],
        }
    }

    /// The objects of all steps.
    pub fn objects(&self) -> impl Iterator<Item = &SeedObject> {
        self.steps.iter().flatten()
    }

    /// The ManagedEnvironment that stands for the workspace itself. Its spec is Annex's as a whole, `namespaces` included: what
    /// a tenant wants otherwise belongs into an environment of their own.
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

#[cfg(test)]
pub(crate) mod tests {
    use annex_apis::MANAGED_LABEL;

    use super::*;
    use crate::TokenName;

    pub(crate) fn config() -> SeedConfig {
        SeedConfig {
            tenant_server: "https://kcp.example.com:6443".into(),
            tenant_ca: Some("-----BEGIN CERTIFICATE-----\n".into()),
            export_path: "root:annex".into(),
            export_name: "annex.sh".into(),
        }
    }

    pub(crate) fn seed() -> Seed {
        Seed::of(&config())
    }

    #[test]
    fn no_rule_has_a_wildcard_and_secrets_go_by_name() {
        let seed = seed();
        let rules = seed.objects().flat_map(|object| match object {
            SeedObject::Role(role) => role.rules.clone(),
            SeedObject::ClusterRole(role) => role.rules.clone(),
            _ => None,
        });
        let rules: Vec<PolicyRule> = rules.flatten().collect();
        assert_eq!(rules.len(), 3);
        for rule in rules {
            let words = [&rule.verbs].into_iter().chain(&rule.resources).chain(&rule.api_groups).flatten();
            assert!(words.clone().all(|word| word != "*"), "{rule:?}");
            if words.clone().any(|word| word == "secrets") {
                assert_eq!(rule.resource_names.as_deref(), Some([KUBECONFIG_SECRET.to_owned()].as_slice()));
            }
        }
    }

    #[test]
    fn everything_carries_the_label_that_the_claims_select_by() {
        let seed = seed();
        let token = Seed::token_secret(&TokenName::first());
        let environment = Seed::environment(&config(), &"c".parse().unwrap());
        let more = [&seed.api_binding.metadata, &token.metadata, &environment.metadata];
        assert_eq!(seed.objects().count(), 7);
        for meta in seed.objects().map(SeedObject::metadata).chain(more) {
            assert_eq!(meta.labels.as_ref().unwrap()[MANAGED_LABEL], "true", "{meta:?}");
        }
    }
}

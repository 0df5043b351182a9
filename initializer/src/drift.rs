use std::collections::BTreeMap;

use annex_apis::{KUBECONFIG_KEY, MANAGED_LABEL, ManagedEnvironment};
use k8s_openapi::{
    api::{
        core::v1::Secret,
        rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::Resource;

/// What is to be done so that an object is again as it was seeded.
#[derive(Clone, Debug, PartialEq)]
pub enum Drift<K> {
    /// Nothing.
    None,
    /// Write this over it. It carries the resourceVersion of what was compared.
    Update(K),
    /// Delete it and create this: what differs cannot be changed.
    Recreate(K),
}

/// A kind whose seeded objects are kept as they were seeded.
///
/// Only what the seed sets is compared. Labels and annotations that the tenant adds stay, and so do fields that the seed does
/// not speak of.
pub trait Kept: Resource<DynamicType = ()> + Clone {
    /// What `self`, as it is in the workspace, needs in order to be as `seeded`.
    fn drift(&self, seeded: &Self) -> Drift<Self>;
}

/// Whether the object carries the label by which Annex may touch it. One of the same name without it is the tenant's own.
#[must_use]
pub fn is_managed(metadata: &ObjectMeta) -> bool {
    let labels = metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(MANAGED_LABEL)).is_some_and(|value| value == "true")
}

impl Kept for Role {
    fn drift(&self, seeded: &Self) -> Drift<Self> {
        update(self, Self { metadata: merged(&self.metadata, &seeded.metadata), rules: seeded.rules.clone() })
    }
}

impl Kept for ClusterRole {
    fn drift(&self, seeded: &Self) -> Drift<Self> {
        let wanted = Self { metadata: merged(&self.metadata, &seeded.metadata), ..seeded.clone() };
        update(self, wanted)
    }
}

impl Kept for RoleBinding {
    fn drift(&self, seeded: &Self) -> Drift<Self> {
        let wanted = Self { metadata: merged(&self.metadata, &seeded.metadata), ..seeded.clone() };
        if self.role_ref == wanted.role_ref { update(self, wanted) } else { recreate(wanted) }
    }
}

impl Kept for ClusterRoleBinding {
    fn drift(&self, seeded: &Self) -> Drift<Self> {
        let wanted = Self { metadata: merged(&self.metadata, &seeded.metadata), ..seeded.clone() };
        if self.role_ref == wanted.role_ref { update(self, wanted) } else { recreate(wanted) }
    }
}

impl Kept for ManagedEnvironment {
    fn drift(&self, seeded: &Self) -> Drift<Self> {
        let metadata = merged(&self.metadata, &seeded.metadata);
        update(self, Self { metadata, spec: seeded.spec.clone(), status: self.status.clone() })
    }
}

/// The kubeconfig Secret: its type and the one key that the seed writes.
impl Kept for Secret {
    fn drift(&self, seeded: &Self) -> Drift<Self> {
        let mut wanted = self.clone();
        wanted.metadata = merged(&self.metadata, &seeded.metadata);
        wanted.type_.clone_from(&seeded.type_);
        let content = seeded.data.iter().flatten().filter(|(key, _)| *key == KUBECONFIG_KEY);
        for (key, value) in content {
            wanted.data.get_or_insert_default().insert(key.clone(), value.clone());
        }
        let frozen = self.immutable == Some(true) && self.data != wanted.data;
        if frozen || self.type_ != wanted.type_ {
            wanted.immutable = None;
            return recreate(wanted);
        }
        update(self, wanted)
    }
}

fn update<K: PartialEq>(current: &K, wanted: K) -> Drift<K> {
    if *current == wanted { Drift::None } else { Drift::Update(wanted) }
}

/// Without what only an object that exists has.
fn recreate<K: Resource>(mut object: K) -> Drift<K> {
    let metadata = std::mem::take(object.meta_mut());
    *object.meta_mut() = ObjectMeta {
        name: metadata.name,
        namespace: metadata.namespace,
        labels: metadata.labels.map(without_kcps_own),
        annotations: metadata.annotations.map(without_kcps_own),
        ..ObjectMeta::default()
    };
    Drift::Recreate(object)
}

/// kcp writes these itself, from where the object is and which claims cover it.
fn without_kcps_own(mut all: BTreeMap<String, String>) -> BTreeMap<String, String> {
    all.retain(|name, _| !name.starts_with("kcp.io/") && !name.starts_with("claimed.internal.apis.kcp.io/"));
    all
}

/// What is there, with the seed's labels and annotations put right.
fn merged(current: &ObjectMeta, seeded: &ObjectMeta) -> ObjectMeta {
    let with = |current: &Option<BTreeMap<String, String>>, seeded: &Option<BTreeMap<String, String>>| {
        let Some(seeded) = seeded else { return current.clone() };
        let mut all = current.clone().unwrap_or_default();
        all.extend(seeded.clone());
        Some(all)
    };
    ObjectMeta {
        labels: with(&current.labels, &seeded.labels),
        annotations: with(&current.annotations, &seeded.annotations),
        ..current.clone()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;
    use crate::{
        Seed, SeedObject, TokenName,
        seed::tests::{config, seed},
        token::tests::filled,
    };

    /// As the server has it, with what a tenant added.
    fn stored<K: Resource + Clone>(seeded: &K) -> K {
        let mut object = seeded.clone();
        let metadata = object.meta_mut();
        metadata.uid = Some("u".into());
        metadata.resource_version = Some("7".into());
        metadata.labels.get_or_insert_default().insert("team".into(), "blue".into());
        metadata.annotations.get_or_insert_default().insert("kcp.io/cluster".into(), "c".into());
        object
    }

    fn role() -> Role {
        seed()
            .objects()
            .find_map(|it| if let SeedObject::Role(it) = it { Some(it.clone()) } else { None })
            .unwrap()
    }

    fn role_binding() -> RoleBinding {
        seed()
            .objects()
            .find_map(|it| if let SeedObject::RoleBinding(it) = it { Some(it.clone()) } else { None })
            .unwrap()
    }

    #[test]
    fn what_the_tenant_adds_is_no_drift() {
        assert_eq!(stored(&role()).drift(&role()), Drift::None);
        assert_eq!(stored(&role_binding()).drift(&role_binding()), Drift::None);
        let environment = Seed::environment(&config(), &"c".parse().unwrap());
        assert_eq!(stored(&environment).drift(&environment), Drift::None);
    }

    #[test]
    fn changed_rules_are_put_right_and_the_rest_is_left() {
        let mut changed = stored(&role());
        changed.rules.as_mut().unwrap()[0].verbs.push("delete".into());
        let Drift::Update(repaired) = changed.drift(&role()) else { panic!("{changed:?}") };
        assert_eq!(repaired, stored(&role()), "the tenant's label and the resourceVersion too");
    }

    #[test]
    fn a_lost_label_comes_back() {
        let mut changed = stored(&role());
        changed.metadata.labels.as_mut().unwrap().remove(MANAGED_LABEL);
        assert!(!is_managed(&changed.metadata));
        assert_eq!(changed.drift(&role()), Drift::Update(stored(&role())));
    }

    #[test]
    fn a_changed_role_reference_takes_a_new_object() {
        let mut changed = stored(&role_binding());
        changed.role_ref.name = "other".into();
        let Drift::Recreate(wanted) = changed.drift(&role_binding()) else { panic!("{changed:?}") };
        assert_eq!(wanted.role_ref, role_binding().role_ref);
        assert_eq!((&wanted.metadata.uid, &wanted.metadata.resource_version), (&None, &None));
        assert_eq!(wanted.metadata.labels.unwrap()["team"], "blue");
        assert!(wanted.metadata.annotations.unwrap().is_empty(), "kcp's own are not written by others");
    }

    #[test]
    fn changed_subjects_are_put_right() {
        let mut changed = stored(&role_binding());
        changed.subjects = None;
        assert_eq!(changed.drift(&role_binding()), Drift::Update(stored(&role_binding())));
    }

    #[test]
    fn an_aggregated_cluster_role_is_no_longer() {
        let seeded = seed()
            .objects()
            .find_map(|it| if let SeedObject::ClusterRole(it) = it { Some(it.clone()) } else { None })
            .unwrap();
        let mut changed = stored(&seeded);
        changed.aggregation_rule = Some(Default::default());
        assert_eq!(changed.drift(&seeded), Drift::Update(stored(&seeded)));
    }

    #[test]
    fn the_environment_is_wholly_annexs_but_its_status_stays() {
        let seeded = Seed::environment(&config(), &"c".parse().unwrap());
        let mut changed = stored(&seeded);
        changed.status = Some(Default::default());
        changed.spec.namespaces = vec!["mine".into()];
        let Drift::Update(repaired) = changed.drift(&seeded) else { panic!("{changed:?}") };
        assert_eq!(repaired.spec, seeded.spec);
        assert!(repaired.status.is_some());
    }

    fn kubeconfig(name: &TokenName) -> Secret {
        Seed::kubeconfig_secret(&config(), &"c".parse().unwrap(), &filled(name))
    }

    #[test]
    fn of_the_kubeconfig_secret_the_key_and_the_type_count() {
        let seeded = kubeconfig(&TokenName::first());
        let mut current = stored(&seeded);
        current.data.as_mut().unwrap().insert("note".into(), ByteString(b"mine".to_vec()));
        assert_eq!(current.drift(&seeded), Drift::None);

        let next = kubeconfig(&TokenName::of_origin(&["x"]));
        let Drift::Update(repaired) = current.drift(&next) else { panic!("not updated") };
        let data = repaired.data.unwrap();
        assert_eq!(data[KUBECONFIG_KEY], next.data.as_ref().unwrap()[KUBECONFIG_KEY]);
        assert_eq!(data["note"].0, b"mine");

        let mut frozen = current.clone();
        frozen.immutable = Some(true);
        assert_eq!(frozen.drift(&seeded), Drift::None, "while nothing has to be written");
        assert!(matches!(frozen.drift(&next), Drift::Recreate(secret) if secret.immutable.is_none()));

        current.type_ = Some("Opaque".into());
        assert!(matches!(current.drift(&seeded), Drift::Recreate(secret) if secret.type_ == seeded.type_));
    }
}

//! Removing what was made on a cluster. Asks the cluster what there is: a watch may be behind, and what is left behind is left for
//! good.

use std::{collections::HashSet, future::Future};

use annex_core::HostName;
use kube::{ResourceExt as _, core::DynamicObject};
use kube_kcp::ClusterName;

use super::{
    desired::{CLUSTER_LABEL, INSTALL_LABEL, PLACE_LABEL},
    kind::Kind,
    observed::{install_of, made_for, short},
    place::{Layout, Place},
    provision::Tenancy,
};
use crate::{api_writes::WriteError, store::Name};

/// How far an undo is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Undone {
    /// Nothing is left.
    Done,
    /// Its end was asked for. What is waited for.
    Waiting(String),
}

impl Place {
    /// The uids of the Installs of a workspace for which there are mappings or claims, be these Installs there or not.
    pub(crate) fn installs_of(&self, cluster: &ClusterName) -> HashSet<String> {
        let theirs = |object: &DynamicObject| made_for(object).as_ref() == Some(cluster);
        [Kind::DomainMapping, Kind::ClusterDomainClaim]
            .iter()
            .flat_map(|kind| self.filter(*kind, theirs))
            .filter_map(|object| install_of(&object).map(str::to_owned))
            .collect()
    }

    /// Whether there are runners of a workspace.
    pub(crate) fn has_runners(&self, cluster: &ClusterName) -> bool {
        let theirs = |object: &DynamicObject| {
            made_for(object).as_ref() == Some(cluster) && object.metadata.deletion_timestamp.is_none()
        };
        [Kind::Service, Kind::Namespace].iter().any(|kind| !self.filter(*kind, theirs).is_empty())
    }

    /// Whether something is here that was made for an Install and is for another host than `keep`.
    pub(crate) fn has_other_domains(&self, whose: Tenancy<'_>, keep: &HostName) -> bool {
        let other = |object: &DynamicObject| {
            install_of(object) == Some(whose.install) && object.name_any() != keep.as_str()
        };
        [Kind::DomainMapping, Kind::ClusterDomainClaim]
            .iter()
            .any(|kind| !self.filter(*kind, other).is_empty())
    }

    /// Whether the Install's host is mapped in another namespace of this cluster, through another place.
    pub(crate) fn is_mapped_elsewhere(&self, whose: Tenancy<'_>, host: &HostName) -> bool {
        let here = self.reference(whose.cluster).namespace;
        let other = |object: &DynamicObject| {
            install_of(object) == Some(whose.install)
                && object.name_any() == host.as_str()
                && object.namespace().is_some_and(|namespace| namespace != here)
        };
        !self.filter(Kind::DomainMapping, other).is_empty()
    }

    /// Removes the mappings and claims that were made for an Install through this place, except those of `keep`.
    pub(crate) async fn remove_domains(
        &self,
        whose: Tenancy<'_>,
        namespace: &str,
        keep: Option<&HostName>,
    ) -> Result<Undone, WriteError> {
        let labels = format!("{INSTALL_LABEL}={},{PLACE_LABEL}={}", whose.install, self.label);
        let mappings = self.remove_named(Kind::DomainMapping, namespace, &labels, keep).await?;
        if mappings != Undone::Done {
            return Ok(mappings);
        }
        // The claim outlives its mapping: freed before, another could be given the host while this one still answers.
        match self.remove_named(Kind::ClusterDomainClaim, "", &labels, keep).await {
            // Where no claims are made there need be no right to them. Those of a time when they were made stay then.
            Err(error) if error.is_forbidden() && !self.claims => {
                tracing::info!(place = ?self, install = whose.install, "claims, if it has any, are not removed: there is no right to");
                Ok(Undone::Done)
            }
            claims => claims,
        }
    }

    async fn remove_named(
        &self,
        kind: Kind,
        namespace: &str,
        labels: &str,
        keep: Option<&HostName>,
    ) -> Result<Undone, WriteError> {
        let mut there = self.list(kind, namespace, labels).await?;
        there.retain(|object| keep.is_none_or(|keep| object.name_any() != keep.as_str()));
        self.remove(kind, there).await
    }

    /// Removes the runners of a workspace in a namespace, unless `used` says that something runs on them. That a namespace has been
    /// asked to go is enough: what it waits for is the cluster's own affair, and no tenant can mend it.
    pub(crate) async fn remove_runners(
        &self,
        cluster: &ClusterName,
        namespace: &str,
        used: impl Future<Output = Result<bool, WriteError>>,
    ) -> Result<Undone, WriteError> {
        let turn = self.turn(cluster).await;
        let is_shared =
            matches!(&self.layout, Layout::Shared { namespace: shared, .. } if shared == namespace);
        // Only now: an Install that came meanwhile has had its turn, and its runners are in use.
        if is_shared || used.await? {
            return Ok(Undone::Done);
        }
        let labels = format!("{CLUSTER_LABEL}={cluster},{PLACE_LABEL}={}", self.label);
        let services = self.list(Kind::Service, namespace, &labels).await?;
        if let Undone::Waiting(what) = self.remove(Kind::Service, services).await? {
            return Ok(Undone::Waiting(what));
        }
        // Only one that is called so can have been made by Annex, in whichever layout it was; and no environment may name it.
        let is_named = matches!(&self.layout, Layout::Within { namespace: named } if named == namespace);
        if !is_named
            && namespace == format!("annex-{cluster}")
            && let Some(seen) = self.ask(Kind::Namespace, &Name::global(namespace)).await?
            && made_for(&seen).as_ref() == Some(cluster)
            // Two environments may open one cluster.
            && seen.labels().get(PLACE_LABEL) == Some(&self.label)
            && seen.metadata.deletion_timestamp.is_none()
        {
            self.delete(Kind::Namespace, &seen).await?;
        }
        drop(turn);
        self.forget_turn(cluster);
        Ok(Undone::Done)
    }

    async fn remove(&self, kind: Kind, objects: Vec<DynamicObject>) -> Result<Undone, WriteError> {
        for object in objects.iter().filter(|object| object.metadata.deletion_timestamp.is_none()) {
            self.delete(kind, object).await?;
        }
        Ok(match objects.first() {
            None => Undone::Done,
            Some(first) => {
                Undone::Waiting(short(&format!("the {} {} to be gone", kind.name(), first.name_any())))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        compute::Setup,
        scripted::{self, Log},
    };

    const CLAIM: &str = "/apis/networking.internal.knative.dev/v1alpha1/clusterdomainclaims";

    /// What becomes of an Install's claim where none are made any more, and what was deleted.
    async fn without_claims(listed: bool, deleted: bool) -> (Undone, Vec<String>) {
        let log = Log::default();
        let seen = log.clone();
        let cluster = scripted::cluster(move |asked| {
            seen.add(asked);
            let claim = json!({ "metadata": { "name": "acme--hello.apps.test", "uid": "c" } });
            match asked.what.strip_suffix("/acme--hello.apps.test").unwrap_or(&asked.what).split_once(' ') {
                Some(("GET", CLAIM)) if listed => Some(scripted::list(json!([claim]))),
                Some(("DELETE", CLAIM)) if deleted => Some(scripted::object(claim)),
                Some((_, CLAIM)) => Some(scripted::refusal(403, "forbidden")),
                _ => None,
            }
        });
        let place = Place::new(Setup { claims: false, ..scripted::platform(cluster) });
        let whose = Tenancy { cluster: &"acme".parse().unwrap(), install: "a", others: &HashSet::new() };
        (place.remove_domains(whose, "annex-acme", None).await.unwrap(), log.with("DELETE"))
    }

    #[tokio::test]
    async fn claims_of_a_time_when_they_were_made_go_if_that_is_allowed() {
        let (undone, deleted) = without_claims(true, true).await;
        assert!(
            matches!(undone, Undone::Waiting(_))
                && deleted == [format!("DELETE {CLAIM}/acme--hello.apps.test")]
        );
        assert_eq!(without_claims(true, false).await.0, Undone::Done);
        assert_eq!(without_claims(false, false).await, (Undone::Done, Vec::new()));
    }

    /// Whether the namespace goes with the runners of the place `platform`.
    async fn namespace_goes(place: &str) -> bool {
        let log = Log::default();
        let (seen, labels) = (log.clone(), json!({ "annex.sh/cluster": "acme", "annex.sh/place": place }));
        let cluster = scripted::cluster(move |asked| {
            seen.add(asked);
            let namespace = json!({ "metadata": { "name": "annex-acme", "uid": "n", "labels": labels } });
            asked.what.ends_with("/namespaces/annex-acme").then(|| scripted::object(namespace))
        });
        let place = Place::new(scripted::platform(cluster));
        let unused = async { Ok(false) };
        let undone = place.remove_runners(&"acme".parse().unwrap(), "annex-acme", unused).await.unwrap();
        assert_eq!(undone, Undone::Done);
        !log.with("DELETE").is_empty()
    }

    #[tokio::test]
    async fn a_namespace_that_another_environment_has_taken_over_stays() {
        assert!(namespace_goes("platform").await);
        assert!(!namespace_goes("another").await);
    }
}

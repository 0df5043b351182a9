//! The steps between what is to be on a cluster and what is there. Each looks first and writes only what differs, so that each can
//! be repeated at any time.

use std::{borrow::Cow, sync::Arc};

use annex_core::HostName;
use kube::{ResourceExt as _, core::DynamicObject};
use kube_kcp::ClusterName;

use super::{
    desired::{self, Desired, Services, TLS_SECRET},
    kind::Kind,
    observed::{Condition, condition, holds, install_of, is_false, made_for, short},
    place::{Layout, Place},
};
use crate::{api_writes::WriteError, store::Name};

/// For whom something is on a cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tenancy<'a> {
    /// The workspace.
    pub(crate) cluster: &'a ClusterName,
    /// The uid of the Install.
    pub(crate) install: &'a str,
}

/// Why a step is not done.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Something is there that Annex did not make. It is neither changed nor deleted.
    Foreign {
        /// In one word.
        reason: &'static str,
        /// For people; names no other tenant.
        message: String,
    },
    /// Something is on its way, and the watch will tell.
    Waiting {
        /// In one word; Knative's own where it has one.
        reason: Cow<'static, str>,
        /// For people.
        message: String,
    },
    /// The cluster refused a write, or did not answer it.
    Write(WriteError),
}

impl From<WriteError> for Trouble {
    fn from(error: WriteError) -> Self {
        Self::Write(error)
    }
}

impl Trouble {
    fn waiting(reason: &'static str, message: impl Into<String>) -> Self {
        Self::Waiting { reason: reason.into(), message: message.into() }
    }

    /// The reason and message of a condition.
    pub(crate) fn because(&self) -> (Cow<'static, str>, String) {
        match self {
            Self::Foreign { reason, message } => ((*reason).into(), message.clone()),
            Self::Waiting { reason, message } => (reason.clone(), message.clone()),
            Self::Write(error) => {
                ("ComputeRefused".into(), short(&format!("{error}; it is tried again by itself")))
            }
        }
    }
}

/// How far an undo is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Undone {
    /// Nothing is left.
    Done,
    /// Its end was asked for, and the watch will tell.
    Waiting(String),
}

impl Place {
    /// The Knative Services of a workspace here.
    fn services(&self, cluster: &ClusterName) -> Services {
        match &self.layout {
            Layout::NamespacePerWorkspace => Services {
                namespace: format!("annex-{cluster}"),
                runner: "runner".to_owned(),
                exec: "exec".to_owned(),
            },
            Layout::Within { namespace } => Services {
                namespace: namespace.clone(),
                runner: format!("annex-runner-{cluster}"),
                exec: format!("annex-exec-{cluster}"),
            },
            Layout::Shared { namespace, kservice } => {
                Services { namespace: namespace.clone(), runner: kservice.clone(), exec: String::new() }
            }
        }
    }

    /// Namespace and name of the Knative Service that answers for the workspace's domains.
    pub(crate) fn runner_of(&self, cluster: &ClusterName) -> (String, String) {
        let services = self.services(cluster);
        (services.namespace, services.runner)
    }

    /// Whether what belongs to the workspace has a namespace to be in.
    pub(crate) fn has_namespace(&self, cluster: &ClusterName) -> bool {
        let name = Name::global(&self.services(cluster).namespace);
        self.layout != Layout::NamespacePerWorkspace
            || self
                .get(Kind::Namespace, &name)
                .is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_none())
    }

    /// Makes the workspace's runners what they are to be. Ok: both are ready.
    pub(crate) async fn ensure_runners(&self, cluster: &ClusterName) -> Result<(), Trouble> {
        let services = self.services(cluster);
        if let Layout::Shared { .. } = &self.layout {
            return self.shared_runner(&services);
        }
        let Some(options) = &self.options else {
            return Err(Trouble::Foreign {
                reason: "NoRunnerImage",
                message: "this platform is not set up to run extensions on a cluster; ask its operator"
                    .to_owned(),
            });
        };
        let _turn = self.turn(cluster).await;
        let namespace = &services.namespace;
        if self.layout == Layout::NamespacePerWorkspace {
            self.ensure_namespace(cluster, namespace).await?;
            self.ensure_ours(cluster, &desired::quota(cluster, namespace, options)).await?;
            self.ensure_ours(cluster, &desired::network_policy(cluster, namespace, options)).await?;
            self.ensure_certificate(cluster, namespace).await?;
        }
        let runner = self.ensure_ours(cluster, &desired::runner(cluster, &services, options)).await?;
        ready(&runner, "the runner")?;
        // After the runner, because the domain waits for that one alone.
        let exec = self.ensure_ours(cluster, &desired::exec(cluster, &services, options)).await?;
        ready(&exec, "the executing runner")
    }

    fn shared_runner(&self, services: &Services) -> Result<(), Trouble> {
        let Services { namespace, runner, .. } = services;
        match self.get(Kind::Service, &Name::within(namespace, runner)) {
            Some(service) => ready(&service, "the platform's runner"),
            None => Err(Trouble::waiting(
                "RunnerNotFound",
                format!(
                    "there is no Knative Service {namespace}/{runner}; the platform's operator has to make it"
                ),
            )),
        }
    }

    async fn ensure_namespace(&self, cluster: &ClusterName, name: &str) -> Result<(), Trouble> {
        let desired = desired::namespace(cluster, name);
        match self.get(Kind::Namespace, &desired.name) {
            None => match self.create(&desired).await {
                Err(error) if error.is_conflict() => Err(Trouble::Foreign {
                    reason: "NamespaceConflict",
                    message: format!(
                        "the namespace {name} is on the compute cluster already and Annex did not make it; ask the platform's operator"
                    ),
                }),
                result => Ok(result.map(drop)?),
            },
            Some(seen) if seen.metadata.deletion_timestamp.is_some() => Err(Trouble::waiting(
                "NamespaceTerminating",
                format!("the namespace {name} of an earlier install is still being removed"),
            )),
            Some(seen) if made_for(&seen).as_ref() != Some(cluster) => Err(Trouble::Foreign {
                reason: "NamespaceConflict",
                message: format!("the namespace {name} on the compute cluster is not this workspace's"),
            }),
            Some(seen) if holds(&seen, &desired) => Ok(()),
            Some(_) => Ok(self.apply(&desired).await.map(drop)?),
        }
    }

    /// What nobody but Annex has a reason to make: repaired whatever was done to it, unless somebody else's is in its place.
    async fn ensure_ours(
        &self,
        cluster: &ClusterName,
        desired: &Desired,
    ) -> Result<Arc<DynamicObject>, Trouble> {
        match self.get(desired.kind, &desired.name) {
            Some(seen) if seen.metadata.deletion_timestamp.is_some() => Err(Trouble::waiting(
                "BeingRemoved",
                format!("the {} {} is being removed", desired.kind.name(), desired.name.name),
            )),
            Some(seen) if made_for(&seen).as_ref() != Some(cluster) => Err(Trouble::Foreign {
                reason: "RunnerConflict",
                message: format!(
                    "the {} {}/{} is there already and Annex did not make it",
                    desired.kind.name(),
                    desired.name.namespace,
                    desired.name.name
                ),
            }),
            Some(seen) if holds(&seen, desired) => Ok(seen),
            _ => Ok(self.apply(desired).await?),
        }
    }

    async fn ensure_certificate(&self, cluster: &ClusterName, namespace: &str) -> Result<(), Trouble> {
        if !self.copies_certificate() {
            return Ok(());
        }
        let Some(source) = self.certificate() else {
            // One that is gone for a moment must not stop what answers with its copy.
            if self.get(Kind::Secret, &Name::within(namespace, TLS_SECRET)).is_some() {
                return Ok(());
            }
            return Err(Trouble::waiting(
                "CertificateNotFound",
                "the Secret that EXT_DOMAIN_TLS_SECRET names is not there; the platform's operator has to make it",
            ));
        };
        let desired = desired::certificate(cluster, namespace, &source.data);
        self.ensure_ours(cluster, &desired).await.map(drop)
    }

    /// Makes `host` lead to the workspace's runner. Ok: it does.
    pub(crate) async fn ensure_domain(&self, whose: Tenancy<'_>, host: &HostName) -> Result<(), Trouble> {
        let services = self.services(whose.cluster);
        let namespace = &services.namespace;
        if self.claims {
            self.ensure_claim(whose, host, namespace).await?;
        }
        let tls = match &self.layout {
            Layout::NamespacePerWorkspace => self.copies_certificate().then_some(TLS_SECRET),
            // There the mappings are beside the certificate, or the operator has put one there.
            Layout::Shared { .. } => self.tls_secret.as_ref().map(|(_, name)| name.as_str()),
            Layout::Within { .. } => None,
        };
        let desired = desired::mapping(whose.cluster, host, namespace, &services.runner, whose.install, tls);
        let mapping = match self.get(Kind::DomainMapping, &desired.name) {
            None => match self.create(&desired).await {
                Err(error) if error.is_conflict() => return Err(taken(host)),
                result => result?,
            },
            Some(seen) if install_of(&seen) != Some(whose.install) => return Err(taken(host)),
            Some(seen) if seen.metadata.deletion_timestamp.is_some() => {
                return Err(Trouble::waiting(
                    "BeingRemoved",
                    format!("the mapping of {host} is being removed"),
                ));
            }
            Some(seen) if holds(&seen, &desired) && only_asked_for(&seen, &desired) => seen,
            Some(seen) => self.repair(&desired, &seen).await?,
        };
        if is_false(&mapping, "DomainClaimed") {
            return Err(self.not_claimed(host, namespace, &mapping));
        }
        ready(&mapping, "the domain mapping")
    }

    async fn ensure_claim(
        &self,
        whose: Tenancy<'_>,
        host: &HostName,
        namespace: &str,
    ) -> Result<(), Trouble> {
        match self.get(Kind::ClusterDomainClaim, &Name::global(host.as_str())) {
            // Whoever made it, it says what is needed.
            Some(seen)
                if seen.data.pointer("/spec/namespace").and_then(serde_json::Value::as_str)
                    == Some(namespace)
                    && seen.metadata.deletion_timestamp.is_none() =>
            {
                Ok(())
            }
            Some(seen) if seen.metadata.deletion_timestamp.is_some() => {
                Err(Trouble::waiting("BeingRemoved", format!("the claim of {host} is being removed")))
            }
            Some(_) => Err(taken(host)),
            None => {
                let desired = desired::claim(whose.cluster, host, namespace, whose.install);
                match self.create(&desired).await {
                    Err(error) if error.is_conflict() => Err(taken(host)),
                    result => Ok(result.map(drop)?),
                }
            }
        }
    }

    fn not_claimed(&self, host: &HostName, namespace: &str, mapping: &DynamicObject) -> Trouble {
        let Condition::Not { reason, message } = condition(mapping, "DomainClaimed") else {
            return Trouble::waiting("Waiting", "Knative looks at the domain's claim");
        };
        if reason == "DomainAlreadyClaimed" {
            return taken(host);
        }
        Trouble::Waiting {
            reason: "ClaimMissing".into(),
            message: format!(
                "Knative does not let the namespace {namespace} have {host} ({message}); the operator of the compute cluster can allow it \
                 with `kubectl apply -f -` of {}",
                desired::claim_to_apply(host, namespace)
            ),
        }
    }

    /// Removes the mappings and claims that were made for an Install, except those of `keep`.
    pub(crate) async fn remove_domains(
        &self,
        whose: Tenancy<'_>,
        keep: Option<&HostName>,
    ) -> Result<Undone, WriteError> {
        let mut left = Vec::new();
        for kind in [Kind::DomainMapping, Kind::ClusterDomainClaim] {
            let theirs = self.filter(kind, |object| {
                install_of(object) == Some(whose.install)
                    && keep.is_none_or(|keep| object.name_any() != keep.as_str())
            });
            for object in theirs {
                if object.metadata.deletion_timestamp.is_none() {
                    self.delete(kind, &object).await?;
                }
                left.push(format!("{} {}", kind.name(), object.name_any()));
            }
            // The claim outlives its mapping: freed before, another could be given the host while this one still answers.
            if !left.is_empty() {
                break;
            }
        }
        Ok(if left.is_empty() { Undone::Done } else { Undone::Waiting(left.join(", ")) })
    }

    /// Removes the runners of a workspace that has no Install here any more. That a namespace has been asked to go is enough: what
    /// it waits for is the cluster's own affair, and no tenant can mend it.
    pub(crate) async fn remove_runners(&self, cluster: &ClusterName) -> Result<Undone, WriteError> {
        if matches!(self.layout, Layout::Shared { .. }) {
            return Ok(Undone::Done);
        }
        let _turn = self.turn(cluster).await;
        let ours = |object: &DynamicObject| made_for(object).as_ref() == Some(cluster);
        let mut left = Vec::new();
        for service in self.filter(Kind::Service, ours) {
            if service.metadata.deletion_timestamp.is_none() {
                self.delete(Kind::Service, &service).await?;
            }
            left.push(format!("Service {}", service.name_any()));
        }
        if !left.is_empty() {
            return Ok(Undone::Waiting(left.join(", ")));
        }
        for namespace in self.filter(Kind::Namespace, ours) {
            if namespace.metadata.deletion_timestamp.is_none() {
                self.delete(Kind::Namespace, &namespace).await?;
            }
        }
        self.forget_turn(cluster);
        Ok(Undone::Done)
    }
}

/// Nobody else's host is taken, and nobody is named.
fn taken(host: &HostName) -> Trouble {
    Trouble::Foreign {
        reason: "DomainConflict",
        message: format!("the host name {host} is taken on the compute cluster; ask the platform's operator"),
    }
}

/// Ok when Knative says that it is.
fn ready(object: &DynamicObject, what: &str) -> Result<(), Trouble> {
    match condition(object, "Ready") {
        Condition::True => Ok(()),
        Condition::Not { reason, message } => {
            Err(Trouble::Waiting { reason, message: format!("{what} is not ready: {message}") })
        }
    }
}

/// Whether the mapping has a certificate that is not asked for any more.
fn only_asked_for(seen: &DynamicObject, desired: &Desired) -> bool {
    let tls = |value: &serde_json::Value| value.pointer("/spec/tls").is_some_and(|tls| !tls.is_null());
    tls(&seen.data) == tls(&desired.body)
}

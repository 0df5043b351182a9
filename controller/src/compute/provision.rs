//! The steps between what is to be on a cluster and what is there. Each looks first and writes only what differs, so that each can
//! be repeated at any time.

use std::{borrow::Cow, collections::HashSet, sync::Arc};

use annex_apis::PlaceReference;
use annex_core::HostName;
use jiff::{SignedDuration, Timestamp};
use kube::core::DynamicObject;
use kube_kcp::ClusterName;

use super::{
    desired::{self, Desired, Owner, Services, TLS_SECRET},
    kind::Kind,
    observed::{Condition, Failed, condition, failed, holds, install_of, is_false, is_ours, made_for, short},
    place::{Layout, Place},
};
use crate::{api_writes::WriteError, store::Name};

/// A runner that has failed is tried again after this, and after twice as long each time.
const TRIED_AGAIN_AFTER: SignedDuration = SignedDuration::from_mins(4);
const TRIED_AGAIN_AT_MOST: SignedDuration = SignedDuration::from_hours(1);
/// Knative has given a revision up so long after its deadline.
const GIVEN_UP_AFTER: SignedDuration = SignedDuration::from_secs(30);

/// For whom something is on a cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tenancy<'a> {
    /// The workspace.
    pub(crate) cluster: &'a ClusterName,
    /// The uid of the Install.
    pub(crate) install: &'a str,
    /// The uids of the other Installs of the workspace. What was made for one that is not there any more is taken over.
    pub(crate) others: &'a HashSet<String>,
}

impl Tenancy<'_> {
    /// Whether `object` was made for this Install, or for one of the same workspace that is gone and left it behind, or has lost its
    /// labels to somebody.
    fn may_have(&self, object: &DynamicObject) -> bool {
        match made_for(object) {
            Some(cluster) => {
                cluster == *self.cluster
                    && install_of(object).is_none_or(|uid| uid == self.install || !self.others.contains(uid))
            }
            None => is_ours(object),
        }
    }
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
        if error.is_conflict() {
            // Whatever has changed is on its way through the watch.
            return Self::waiting("Provisioning", "something on the cluster has changed meanwhile");
        }
        Self::Write(error)
    }
}

impl Trouble {
    fn waiting(reason: &'static str, message: impl Into<String>) -> Self {
        Self::Waiting { reason: reason.into(), message: message.into() }
    }

    /// The reason and message of a condition of an Install that is to run at `place`.
    pub(crate) fn because(&self, place: &Place) -> (Cow<'static, str>, String) {
        match self {
            Self::Foreign { reason, message } => ((*reason).into(), message.clone()),
            Self::Waiting { reason, message } => (reason.clone(), message.clone()),
            Self::Write(error) => {
                let why = if place.is_elsewhere() { error.to_string() } else { plainly(error) };
                ("ComputeRefused".into(), short(&format!("{why}; it is tried again by itself")))
            }
        }
    }
}

/// What a tenant is told of a write that the platform's cluster refused. Not in the server's words: they name its webhooks, its
/// addresses and accounts.
fn plainly(error: &WriteError) -> String {
    let why = match error.status() {
        None => "the compute cluster did not answer".to_owned(),
        Some(status) => {
            let says = |words: &str| status.message.contains(words);
            match status.code {
                _ if says("exceeded quota") => "a quota of the compute cluster is full".to_owned(),
                _ if says("calling webhook") => "a webhook of the compute cluster does not answer".to_owned(),
                _ if says("admission webhook") || says("ValidatingAdmissionPolicy") => {
                    "a policy of the compute cluster does not allow it".to_owned()
                }
                403 => "Annex has no right to on the compute cluster".to_owned(),
                code => format!("the compute cluster answers {code}"),
            }
        }
    };
    format!("the {} cannot be made: {why}; the platform's operator finds more in the log", error.what())
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

    fn owner<'a>(&'a self, cluster: &'a ClusterName) -> Owner<'a> {
        Owner { cluster, place: &self.label }
    }

    /// Where what belongs to the workspace is, for a status.
    pub(crate) fn reference(&self, cluster: &ClusterName) -> PlaceReference {
        PlaceReference {
            environment: self.environment().map(|environment| environment.name.clone()),
            namespace: self.services(cluster).namespace,
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

    /// Makes the workspace's runners what they are to be. Ok: both are ready. `began`: when the flow began that needs them; what has failed
    /// before is tried again for it.
    pub(crate) async fn ensure_runners(
        &self,
        cluster: &ClusterName,
        began: Option<Timestamp>,
    ) -> Result<(), Trouble> {
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
        let (owner, namespace) = (self.owner(cluster), &services.namespace);
        if self.layout == Layout::NamespacePerWorkspace {
            self.ensure_namespace(cluster, namespace).await?;
            self.ensure_ours(cluster, &desired::quota(owner, namespace, options)).await?;
            self.ensure_ours(cluster, &desired::network_policy(owner, namespace, options)).await?;
            self.ensure_certificate(cluster, namespace).await?;
        }
        let deadline = SignedDuration::from_secs(options.progress_deadline_seconds.into());
        let again = Again { began, deadline };
        let runner = self.ensure_service(cluster, desired::runner(owner, &services, options), again).await?;
        ready(&runner, "the runner")?;
        // After the runner, because the domain waits for that one alone.
        let exec = self.ensure_service(cluster, desired::exec(owner, &services, options), again).await?;
        ready(&exec, "the executing runner")
    }

    /// The same for a Knative Service. Knative tries a revision until its deadline and never again: whatever kept it from starting, such
    /// as an image that could not be fetched for some minutes, is tried once more with another revision.
    async fn ensure_service(
        &self,
        cluster: &ClusterName,
        desired: Desired,
        again: Again,
    ) -> Result<Arc<DynamicObject>, Trouble> {
        let (seen, now) = (self.ensure_ours(cluster, &desired).await?, Timestamp::now());
        let Some(failed) = failed(&seen, now).filter(|failed| again.is_due(*failed, now)) else {
            return Ok(seen);
        };
        tracing::info!(place = ?self.id, service = %desired.name.name, namespace = %desired.name.namespace, "a runner that failed is tried again");
        let attempts = failed.attempts.saturating_add(1);
        Ok(self.apply(&desired.attempted(attempts, now), Some(&seen)).await?)
    }

    fn shared_runner(&self, services: &Services) -> Result<(), Trouble> {
        let Services { namespace, runner, .. } = services;
        match self.get(Kind::Service, &Name::within(namespace, runner)) {
            Some(service) => match condition(&service, "Ready") {
                Condition::True => Ok(()),
                // What Knative says of it may be the last words of a container that serves others, too. It is in the log.
                Condition::Not { .. } if is_false(&service, "Ready") => Err(Trouble::waiting(
                    "RunnerNotReady",
                    "the platform's runner does not start; the platform's operator finds more in the log",
                )),
                Condition::Not { .. } => Err(Trouble::waiting(
                    "Provisioning",
                    "the platform's runner is not ready: Knative is at work on it",
                )),
            },
            None => Err(Trouble::waiting(
                "RunnerNotFound",
                format!(
                    "there is no Knative Service {namespace}/{runner}; the platform's operator has to make it"
                ),
            )),
        }
    }

    async fn ensure_namespace(&self, cluster: &ClusterName, name: &str) -> Result<(), Trouble> {
        let desired = desired::namespace(self.owner(cluster), name);
        let Some(seen) = self.found_or_made(&desired).await? else {
            return Err(Trouble::waiting("BeingRemoved", "a former namespace has just gone"));
        };
        if seen.metadata.deletion_timestamp.is_some() {
            return Err(Trouble::waiting(
                "NamespaceTerminating",
                format!("the namespace {name} of an earlier install is still being removed"),
            ));
        }
        self.mended(cluster, &desired, seen, "NamespaceConflict").await.map(drop)
    }

    /// What nobody but Annex has a reason to make: repaired whatever was done to it, unless somebody else's is in its place.
    async fn ensure_ours(
        &self,
        cluster: &ClusterName,
        desired: &Desired,
    ) -> Result<Arc<DynamicObject>, Trouble> {
        // In a namespace of Annex's own there is nobody else's. In others, what is not seen may be theirs: what has no label is not
        // watched.
        let seen = match self.layout {
            Layout::NamespacePerWorkspace => self.get(desired.kind, &desired.name),
            Layout::Within { .. } | Layout::Shared { .. } => self.found_or_made(desired).await?,
        };
        let Some(seen) = seen else { return Ok(self.apply(desired, None).await?) };
        if seen.metadata.deletion_timestamp.is_some() {
            let what = format!("the {} {} is being removed", desired.kind.name(), desired.name.name);
            return Err(Trouble::waiting("BeingRemoved", what));
        }
        self.mended(cluster, desired, seen, "RunnerConflict").await
    }

    /// What is there, made now where nothing was. None: what kept it from being made has gone meanwhile.
    async fn found_or_made(&self, desired: &Desired) -> Result<Option<Arc<DynamicObject>>, WriteError> {
        if let Some(seen) = self.get(desired.kind, &desired.name) {
            return Ok(Some(seen));
        }
        match self.create(desired).await {
            // The watch is behind, or does not show what has no label.
            Err(error) if error.is_conflict() => {
                Ok(self.ask(desired.kind, &desired.name).await?.map(Arc::new))
            }
            result => result.map(Some),
        }
    }

    /// `seen` as it is to be, unless it is somebody else's.
    async fn mended(
        &self,
        cluster: &ClusterName,
        desired: &Desired,
        seen: Arc<DynamicObject>,
        conflict: &'static str,
    ) -> Result<Arc<DynamicObject>, Trouble> {
        let ours = match made_for(&seen) {
            Some(owner) => owner == *cluster,
            // Somebody took its labels away.
            None => is_ours(&seen),
        };
        if !ours {
            let Name { namespace, name } = &desired.name;
            let of =
                if namespace.is_empty() { String::new() } else { format!(" of the namespace {namespace}") };
            return Err(Trouble::Foreign {
                reason: conflict,
                message: format!(
                    "the {} {name}{of} is on the compute cluster already and Annex did not make it for this workspace",
                    desired.kind.name()
                ),
            });
        }
        if holds(&seen, desired) { Ok(seen) } else { Ok(self.apply(desired, Some(&seen)).await?) }
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
        let desired = desired::certificate(self.owner(cluster), namespace, &source.data);
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
        let owner = self.owner(whose.cluster);
        let desired = desired::mapping(owner, host, namespace, &services.runner, whose.install, tls);
        let Some(seen) = self.found_or_made(&desired).await? else {
            return Err(Trouble::waiting("BeingRemoved", "a former mapping has just gone"));
        };
        if !whose.may_have(&seen) {
            return Err(taken(host));
        }
        if seen.metadata.deletion_timestamp.is_some() {
            return Err(Trouble::waiting("BeingRemoved", format!("the mapping of {host} is being removed")));
        }
        let mapping = if holds(&seen, &desired) && only_asked_for(&seen, &desired) {
            seen
        } else {
            self.repair(&desired, &seen).await?
        };
        if is_false(&mapping, "DomainClaimed") {
            return Err(self.not_claimed(host, namespace));
        }
        ready(&mapping, "the domain mapping")
    }

    async fn ensure_claim(
        &self,
        whose: Tenancy<'_>,
        host: &HostName,
        namespace: &str,
    ) -> Result<(), Trouble> {
        let desired = desired::claim(self.owner(whose.cluster), host, namespace, whose.install);
        let Some(seen) = self.found_or_made(&desired).await? else {
            return Err(Trouble::waiting("BeingRemoved", "a former claim has just gone"));
        };
        if seen.metadata.deletion_timestamp.is_some() {
            return Err(Trouble::waiting("BeingRemoved", format!("the claim of {host} is being removed")));
        }
        let says = seen.data.pointer("/spec/namespace").and_then(serde_json::Value::as_str);
        // One without any mark of ours is an operator's: it is used, and left as it is.
        let made_by_us = (made_for(&seen).is_some() || is_ours(&seen)) && whose.may_have(&seen);
        match (says == Some(namespace), made_by_us) {
            // Made through another place, or for an Install that is gone: it goes with this one from now on.
            (true, true) if !holds(&seen, &desired) => Ok(self.repair(&desired, &seen).await.map(drop)?),
            (true, _) => Ok(()),
            // For where the install was before. What a claim is for cannot be changed.
            (false, true) => {
                self.delete(Kind::ClusterDomainClaim, &seen).await?;
                Err(Trouble::waiting("BeingRemoved", format!("the former claim of {host} is being removed")))
            }
            (false, false) => Err(taken(host)),
        }
    }

    /// Knative has one word for a claim that is missing and for one that is another's.
    fn not_claimed(&self, host: &HostName, namespace: &str) -> Trouble {
        if self.claims {
            // The claim has been seen, or made, a moment ago, and is right.
            return Trouble::waiting("Provisioning", "Knative has not seen the claim of the domain yet");
        }
        Trouble::Waiting {
            reason: "ClaimMissing".into(),
            message: format!(
                "Knative does not let the namespace {namespace} have {host}: nothing claims it for this namespace; the operator of the \
                 compute cluster can allow it, if no other namespace has it, with `kubectl apply -f -` of {}",
                desired::claim_to_apply(host, namespace)
            ),
        }
    }
}

/// When what has failed is tried again.
#[derive(Clone, Copy, Debug)]
struct Again {
    /// When the flow began that needs it.
    began: Option<Timestamp>,
    /// So long Knative tries by itself.
    deadline: SignedDuration,
}

impl Again {
    fn is_due(&self, failed: Failed, now: Timestamp) -> bool {
        let pause = TRIED_AGAIN_AFTER.saturating_mul(1 << failed.attempts.min(8)).min(TRIED_AGAIN_AT_MOST);
        let is_asked_for = self.began.is_some_and(|began| failed.at < began);
        is_asked_for || now.duration_since(failed.at) > pause.max(self.deadline + GIVEN_UP_AFTER)
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

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::{Value, json};

    use super::*;
    use crate::{compute::PlaceId, compute::Setup, scripted};

    #[test]
    fn a_runner_that_failed_is_tried_again_for_each_flow_and_otherwise_less_and_less_often() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let minutes = |minutes: i64| now - SignedDuration::from_mins(minutes);
        let due = |began: Option<i64>, deadline: i64, ago: i64, attempts: u32| {
            let again = Again { began: began.map(minutes), deadline: SignedDuration::from_mins(deadline) };
            again.is_due(Failed { at: minutes(ago), attempts }, now)
        };
        for (attempts, pause) in [(0, 4), (1, 8), (2, 16), (3, 32), (4, 60), (1000, 60)] {
            assert!(!due(None, 2, pause, attempts) && due(None, 2, pause + 1, attempts), "{attempts}");
        }
        // Knative is still at it.
        assert!(!due(None, 10, 10, 0) && due(None, 10, 11, 0));
        // A flow that began since then wants another try, and the one in which it failed has had its own.
        assert!(due(Some(1), 2, 2, 1000) && !due(Some(3), 2, 2, 0));
    }

    fn refused(code: u16, message: &str) -> Trouble {
        let status = Status { code, message: message.to_owned(), ..Status::default() };
        Trouble::Write(WriteError::Refused {
            what: "Service",
            error: Box::new(kube::Error::Api(Box::new(status))),
        })
    }

    fn place(id: PlaceId, layout: Layout) -> Place {
        let setup = scripted::platform(scripted::cluster(|_| None));
        Place::new(Setup { id, layout, ..setup })
    }

    fn mine() -> PlaceId {
        PlaceId::Environment(kube_kcp::ObjectKey {
            cluster: "acme".parse().unwrap(),
            namespace: "default".to_owned(),
            name: "mine".to_owned(),
        })
    }

    #[tokio::test]
    async fn what_the_platforms_cluster_says_of_itself_is_told_to_nobody_else() {
        let account = r#"services is forbidden: User "system:serviceaccount:annex-system:annex-controller" cannot create"#;
        let webhook = r#"failed calling webhook "w.knative.dev": Post "https://webhook.knative-serving.svc:443": dial tcp 10.96.3.7:443"#;
        let denied = r#"admission webhook "policy.internal" denied the request: other-tenant has it"#;
        let quota = "exceeded quota: acme-internal, requested: services=1, used: services=7";
        let (platform, own) = (
            place(PlaceId::Platform, Layout::NamespacePerWorkspace),
            place(mine(), Layout::NamespacePerWorkspace),
        );
        for (code, message, plain) in [
            (403, account, "no right"),
            (500, webhook, "a webhook of the compute cluster does not answer"),
            (400, denied, "a policy of the compute cluster"),
            (403, quota, "a quota of the compute cluster is full"),
            (502, "bad gateway at edge-7.internal", "answers 502"),
        ] {
            let (reason, told) = refused(code, message).because(&platform);
            assert_eq!(reason, "ComputeRefused");
            assert!(told.contains(plain), "{told}");
            for secret in ["annex-system", "svc", "10.96", "internal", "other-tenant"] {
                assert!(!told.contains(secret), "{told}");
            }
            // Whose cluster it is may read what it says.
            assert!(refused(code, message).because(&own).1.contains(message));
        }
        let lost = Trouble::Write(WriteError::Timeout("Service"));
        assert!(lost.because(&platform).1.contains("did not answer"));
    }

    fn shared(ready: Value) -> Result<(), Trouble> {
        let layout = Layout::Shared { namespace: "annex-runner".to_owned(), kservice: "runner".to_owned() };
        let place = place(PlaceId::Platform, layout);
        let service = json!({
            "apiVersion": "serving.knative.dev/v1", "kind": "Service",
            "metadata": { "name": "runner", "namespace": "annex-runner", "generation": 1 },
            "status": { "observedGeneration": 1, "conditions": [ready] },
        });
        place.stores[&Kind::Service].wrote(serde_json::from_value(service).unwrap());
        place.shared_runner(&place.services(&"acme".parse().unwrap()))
    }

    #[tokio::test]
    async fn what_the_runner_of_all_says_at_its_end_is_told_to_none() {
        let host = "other--hello.apps.test";
        let crashed = json!({ "type": "Ready", "status": "False", "reason": "ExitCode1", "message": format!("container failed with: GET {host}") });
        let Err(Trouble::Waiting { reason, message }) = shared(crashed) else { panic!() };
        assert_eq!(reason, "RunnerNotReady");
        assert!(!message.contains(host) && message.contains("operator"), "{message}");
        let starts = json!({ "type": "Ready", "status": "Unknown", "reason": "Deploying", "message": host });
        let Err(Trouble::Waiting { reason, message }) = shared(starts) else { panic!() };
        assert!(reason == "Provisioning" && !message.contains(host), "{message}");
        assert!(shared(json!({ "type": "Ready", "status": "True" })).is_ok());
    }
}

//! Which keys a change wakes.

use std::sync::{Arc, atomic::Ordering};

use annex_apis::{INSTALL_FINALIZER, Install, ManagedEnvironment, is_going};
use annex_initializer::NAMESPACE;
use k8s_openapi::api::core::v1::Secret;
use kube::{ResourceExt as _, core::PartialObjectMeta};
use kube_kcp::{Change, ClusterName, ObjectKey, RemovedBecause, kinds::APIBinding};
use tokio::sync::mpsc;

use crate::{
    claims::Rank,
    compute::{About, Notice, PlaceId},
    context::{Context, Key},
    environment,
    install::{names, recorded_host, routes_of_status},
    runner::Runner,
};

impl Context {
    /// This replica leads from now on: what it decides by is made anew from what statuses say. Another has led, and may have given
    /// to others what this one remembers.
    pub(crate) fn begin(&self) {
        self.host_claims.clear();
        self.extension_claims.clear();
        self.vanished.lock().clear();
        self.deleted.lock().clear();
        self.orphans.lock().clear();
        self.left.lock().clear();
        self.undone.lock().clear();
        self.announcer.begin();
        // What changes meanwhile claims for itself; twice does no harm.
        self.leads.store(true, Ordering::Release);
        for (key, install) in self.tenants.installs.all() {
            self.claim_recorded(&key, &install);
            self.announcer.note(self, &key, &install);
        }
        self.restore_routes();
        self.sweep_tenants();
        self.wake_all();
        for (key, _) in self.tenants.environments.all() {
            self.environments.queue.add(key);
        }
    }

    /// This replica leads no longer.
    pub(crate) fn end(&self) {
        self.leads.store(false, Ordering::Release);
    }

    fn leads(&self) -> bool {
        self.leads.load(Ordering::Acquire)
    }

    /// An Install came, changed or went. A replica that does not lead remembers nothing of it: it begins with what is there then.
    pub(crate) fn install_changed(&self, change: &Change<Install>) {
        if self.leads() {
            self.install_noted(change);
            self.wake_who_needs(change);
            if let Change::Applied { key, object, .. } = change {
                self.announcer.note(self, key, object);
            }
        }
        self.queue.add(Key::Install(change.key().clone()));
    }

    /// Another version came, answers, answers no more or goes: whoever needs it is looked at, and whom it needs.
    fn wake_who_needs(&self, change: &Change<Install>) {
        let (install, previous) = match change {
            Change::Applied { object, previous, .. } => (object, previous.as_ref()),
            Change::Removed { last, .. } => (last, None),
        };
        if previous.is_some_and(|previous| standing(previous) == standing(install)) {
            return;
        }
        let key = change.key();
        let there = self.tenants.installs.in_cluster(&key.cluster).into_iter();
        let frees = matches!(change, Change::Removed { .. })
            || is_going(install) && previous.is_some_and(|previous| !is_going(previous));
        let is_concerned = |other: &Install| {
            (frees && is_over_quota(other))
                || names(other, &install.spec.extension)
                || names(install, &other.spec.extension)
                // It may not need that one any more.
                || previous.is_some_and(|previous| names(previous, &other.spec.extension))
        };
        self.wake(
            there.filter(|(other, install)| other != key && is_concerned(install)).map(|(other, _)| other),
        );
    }

    /// What the status of an Install says it holds is claimed before anything is reconciled, so that a restart gives nobody's host
    /// away.
    fn claim_recorded(&self, key: &ObjectKey, install: &Install) {
        // Who goes holds what it has until it is gone: whoever has it after that must not find the rest of it going.
        let is_held = install.finalizers().iter().any(|finalizer| finalizer == INSTALL_FINALIZER);
        if install.metadata.deletion_timestamp.is_some() && !is_held {
            return;
        }
        let is_installed = install.status.as_ref().is_some_and(|status| status.installed_version.is_some());
        // Whoever goes and never came up: its modules may have been called. Who is installed takes it from that one.
        let has_begun = install.metadata.deletion_timestamp.is_some()
            && install
                .status
                .iter()
                .filter_map(|status| status.flow.as_ref())
                .any(|flow| flow.target.is_some());
        if is_installed || has_begun {
            let resource = (key.cluster.clone(), install.spec.extension.clone());
            self.wake(self.extension_claims.claim(&resource, key, rank(install, !is_installed)).wake);
        }
        if let Some(host) = recorded_host(install) {
            self.wake(self.host_claims.claim(&host, key, rank(install, false)).wake);
        }
    }

    fn install_noted(&self, change: &Change<Install>) {
        match change {
            Change::Removed { key, last, because } => {
                let uid = last.uid().unwrap_or_default();
                let places = last.status.as_ref().map_or(0, |status| status.places.len());
                if !self.undone.lock().remove(&uid) && places > 0 {
                    self.orphans.lock().insert(key.clone(), last.clone());
                }
                match because {
                    RemovedBecause::Relist | RemovedBecause::ShardGone | RemovedBecause::LetGo => {
                        drop(self.vanished.lock().insert(key.clone(), last.clone()))
                    }
                    RemovedBecause::Deleted => drop(self.deleted.lock().insert(key.clone())),
                }
                self.left.lock().remove(&uid);
                // For what it may have left behind.
                self.queue.add(Key::Workspace(key.cluster.clone()));
            }
            Change::Applied { key, object, .. } => {
                self.vanished.lock().remove(key);
                self.deleted.lock().remove(key);
                // A list did not hold it, and it is there. Of another one by its name nothing is said.
                let mut orphans = self.orphans.lock();
                if orphans.get(key).is_some_and(|orphan| orphan.uid() == object.uid()) {
                    orphans.remove(key);
                }
            }
        }
        if let Change::Applied { key, object, previous: None } = change {
            self.claim_recorded(key, object);
        }
    }

    /// Takes over what statuses record and their Installs hold, before the first reconcile: a new leader must not make a host unknown for as
    /// long as it takes to look at every Install again.
    fn restore_routes(&self) {
        self.routes.clear();
        for (key, install) in self.tenants.installs.all() {
            let mut routes = routes_of_status(&self.catalog, &key, &install);
            routes
                .retain(|(host, _)| self.host_claims.claim(host, &key, rank(&install, false)).holder == key);
            self.routes.follow(&key, routes);
        }
    }

    /// A binding came, changed or went: its workspace is looked at, and all that is installed there.
    pub(crate) fn binding_changed(&self, change: &Change<APIBinding>) {
        let key = change.key();
        self.queue.add(Key::Workspace(key.cluster.clone()));
        self.wake_cluster(&key.cluster);
    }

    /// A labelled Secret came, changed or went: environments that name it are looked at, and of Installs those to which it came
    /// or from which it went, and those that take parameters out of it.
    pub(crate) fn secret_changed(&self, change: &Change<PartialObjectMeta<Secret>>) {
        self.seeded_changed(change);
        let at = change.key();
        for (key, environment) in self.tenants.environments.in_cluster(&at.cluster) {
            if environment.spec.credentials_secret_ref.name == at.name && key.namespace == at.namespace {
                self.environments.queue.add(key);
            }
        }
        let was_there = matches!(change, Change::Applied { previous: Some(_), .. });
        for (key, install) in self.tenants.installs.in_cluster(&at.cluster) {
            let may_read = install.spec.secrets.iter().any(|secret| secret.name == at.name);
            let takes = install.spec.parameters_from.iter().any(|from| from.name == at.name);
            if (takes || may_read && !was_there) && key.namespace == at.namespace {
                self.queue.add(Key::Install(key));
            }
        }
    }

    /// An environment came, changed or went: it is looked at, and whatever names it. Its status is our own.
    pub(crate) fn environment_changed(&self, change: &Change<ManagedEnvironment>) {
        // Its labels, too, are kept.
        self.seeded_changed(change);
        if let Change::Applied { object, previous: Some(previous), .. } = change
            && object.metadata.uid == previous.metadata.uid
            && object.metadata.generation == previous.metadata.generation
            && object.metadata.deletion_timestamp == previous.metadata.deletion_timestamp
        {
            return;
        }
        let key = change.key();
        self.environments.queue.add(key.clone());
        for next in environment::let_in(self, &key.cluster) {
            self.environments.queue.add(next);
        }
        self.wake(self.installs_naming(key));
    }

    /// What is known of an environment has changed: whatever runs there is looked at. A way in that was withdrawn is not used any
    /// longer.
    pub(crate) fn environment_turned(&self, environment: &ObjectKey) {
        if self.environments.get(environment).is_none() {
            self.close_place(environment, None);
        }
        self.wake(self.installs_naming(environment));
    }

    /// The environment's cluster is not followed any longer, which makes room for another of the workspace's: whoever waits for that
    /// is looked at. Not the Install that has let go of it, which would open it again.
    pub(crate) fn close_place(&self, environment: &ObjectKey, by: Option<&ObjectKey>) {
        if self.places.close(environment) {
            let there = self.tenants.installs.in_cluster(&environment.cluster);
            self.wake(there.into_iter().map(|(key, _)| key).filter(|key| Some(key) != by));
        }
    }

    /// The Installs that run, or are to run, in an environment.
    pub(crate) fn installs_naming(&self, environment: &ObjectKey) -> Vec<ObjectKey> {
        let named = |install: &Install| {
            let spec = install.spec.environment_ref.as_ref().map(|environment| &environment.name);
            let places = install.status.iter().flat_map(|status| &status.places);
            spec == Some(&environment.name)
                || places.into_iter().any(|place| place.environment.as_ref() == Some(&environment.name))
        };
        let there = self.installs_of(&environment.cluster);
        there
            .into_iter()
            .filter(|(key, install)| key.namespace == environment.namespace && named(install))
            .map(|(key, _)| key)
            .collect()
    }

    /// Something that may be part of a seed came, changed or went: its workspace is looked at. What the seed has no part in,
    /// such as a tenant's own Secrets elsewhere, wakes nobody.
    pub(crate) fn seeded_changed<T>(&self, change: &Change<T>) {
        let key = change.key();
        if key.namespace.is_empty() || key.namespace == NAMESPACE {
            self.queue.add(Key::Workspace(key.cluster.clone()));
        }
    }

    /// A quota changed, which only the platform may do: its workspace is looked at.
    pub(crate) fn quota_changed<T>(&self, change: &Change<T>) {
        let key = change.key();
        self.queue.add(Key::Workspace(key.cluster.clone()));
    }

    /// A Tenant changed: its workspace is looked at, and all that is installed there. It may have been deleted while nobody watched.
    pub(crate) fn tenant_changed(&self, name: &str) {
        let Ok(cluster) = name.parse::<ClusterName>() else { return };
        self.queue.add(Key::Workspace(cluster.clone()));
        self.wake_cluster(&cluster);
    }

    /// Every Tenant is looked at: when all that is watched was listed, and when the platform's cluster came to be known.
    pub(crate) fn sweep_tenants(&self) {
        for tenant in self.catalog.tenants.filter(|_| true) {
            self.tenant_changed(&tenant.name_any());
        }
    }

    /// An Extension or one of its versions changed: every Install of it is looked at.
    pub(crate) fn extension_changed(&self, extension: &str) {
        for (key, install) in self.tenants.installs.all() {
            if install.spec.extension == extension {
                self.queue.add(Key::Install(key));
            }
        }
    }

    /// Every Install is looked at.
    pub(crate) fn wake_all(&self) {
        self.wake(self.tenants.installs.all().into_iter().map(|(key, _)| key));
    }

    pub(crate) fn wake(&self, installs: impl IntoIterator<Item = ObjectKey>) {
        for key in installs {
            self.queue.add(Key::Install(key));
        }
    }

    fn wake_cluster(&self, cluster: &ClusterName) {
        self.wake(self.tenants.installs.in_cluster(cluster).into_iter().map(|(key, _)| key));
    }
}

/// Whether it waits for another to go.
fn is_over_quota(install: &Install) -> bool {
    let conditions = install.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.reason == "QuotaExceeded")
}

/// What others go by that need an Install, or that it needs.
fn standing(install: &Install) -> (Option<&str>, bool, Option<&str>, [bool; 2], usize) {
    let status = install.status.as_ref();
    (
        status.and_then(|status| status.installed_version.as_deref()),
        status.is_some_and(|status| !status.routes.is_empty()),
        status.and_then(|status| status.flow.as_ref()?.to.as_deref()),
        [install.metadata.deletion_timestamp.is_some(), is_going(install)],
        status.map_or(0, |status| status.dependencies.len()),
    )
}

/// Where an Install stands among those that claim the same.
pub(crate) fn rank(install: &Install, unrecorded: bool) -> Rank {
    Rank {
        unrecorded,
        created: install.metadata.creation_timestamp.as_ref().map_or(i64::MAX, |time| time.0.as_second()),
        uid: install.metadata.uid.clone().unwrap_or_default(),
    }
}

/// Follows who is asked whether hosts answer: when it is back, or away for good, every Install is looked at.
pub(crate) async fn follow_runner(context: Arc<Context>) {
    let Some(mut reachable) = context.runner.as_ref().map(Runner::reachable) else { return };
    while reachable.changed().await.is_ok() {
        context.wake_all();
    }
}

/// Follows the compute clusters: whatever changed there, the Installs that it is for are looked at.
pub(crate) async fn follow_clusters(context: Arc<Context>, mut notices: mpsc::UnboundedReceiver<Notice>) {
    while let Some(Notice { place, about }) = notices.recv().await {
        match (about, place) {
            (About::Workspace(cluster), _) => context.wake_cluster(&cluster),
            (About::Host(host), _) => context.wake(context.host_claims.claimants(&host)),
            (About::Everything, PlaceId::Platform) => {
                context.wake_all();
                // Those too that are gone: what was made for them goes when the cluster can be looked at.
                context.sweep_tenants();
            }
            (About::Everything, PlaceId::Environment(at)) => context.wake(context.installs_naming(&at)),
        }
    }
}

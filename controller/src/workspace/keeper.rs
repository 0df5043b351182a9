use std::{fmt::Debug, future::Future};

use annex_apis::MANAGED_LABEL;
use annex_initializer::{Drift, ENVIRONMENT, Kept, NAMESPACE, is_managed};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{DeleteParams, PostParams, Preconditions},
    core::PartialObjectMeta,
    runtime::events::EventType,
};
use kube_kcp::{ClusterName, Index, ObjectKey};
use serde::{Serialize, de::DeserializeOwned};

use crate::{api_writes::WriteError, context::Context, object_writer::ObjectWriter};

/// Keeps the seed of one workspace: makes what is missing, puts right what was changed.
pub(super) struct Keeper<'a> {
    pub(super) context: &'a Context,
    pub(super) cluster: &'a ClusterName,
    pub(super) client: Client,
    /// The workspace has just bound the API. kcp shows an object that was there before only when it has labelled it for
    /// itself, so what cannot be seen yet is not yet taken for the tenant's.
    pub(super) settling: bool,
}

/// What came of creating.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Created {
    /// It is new.
    New,
    /// Somebody was faster. The watch brings it.
    There,
    /// One of that name exists that Annex may not see: it has no label.
    Hidden,
}

/// What came of putting right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repair {
    /// There was nothing to do.
    Fine,
    /// It was written.
    Written,
    /// It changed or went since it was read. It comes again through the watch.
    Lost,
}

impl Keeper<'_> {
    pub(super) fn key(&self, namespace: &str, name: &str) -> ObjectKey {
        ObjectKey { cluster: self.cluster.clone(), namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// Makes the object if it is missing. For kinds of which the seed sets nothing but that they are there.
    pub(super) async fn present<K>(
        &self,
        api: Api<K>,
        index: &Index<PartialObjectMeta<K>>,
        seeded: &K,
    ) -> Result<(), WriteError>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        match index.get(&self.key_of(seeded)) {
            Some(_) => self.mended(seeded),
            None => {
                self.create(&api, "Seed", seeded).await?;
            }
        }
        Ok(())
    }

    /// Makes the object if it is missing, and puts it right if it was changed.
    pub(super) async fn kept<K>(&self, api: Api<K>, index: &Index<K>, seeded: &K) -> Result<(), WriteError>
    where
        K: Kept + Debug + Serialize + DeserializeOwned,
    {
        let Some(current) = index.get(&self.key_of(seeded)) else {
            return self.create(&api, "Seed", seeded).await.map(drop);
        };
        if !is_managed(current.meta()) {
            // Seen all the same: the workspace accepts the claim for all objects.
            self.tell_hidden(seeded).await;
            return Ok(());
        }
        self.mended(seeded);
        self.repair(&api, "SeedRepair", &*current, seeded).await.map(drop)
    }

    /// Puts an object right that was read.
    pub(super) async fn repair<K>(
        &self,
        api: &Api<K>,
        what: &'static str,
        current: &K,
        seeded: &K,
    ) -> Result<Repair, WriteError>
    where
        K: Kept + Debug + Serialize + DeserializeOwned,
    {
        let name = current.name_any();
        let written = match current.drift(seeded) {
            Drift::None => return Ok(Repair::Fine),
            Drift::Update(wanted) => {
                let params = PostParams::default();
                let write = api.replace(&name, &params, &wanted);
                unless_changed(self.context.writes.count(what, write)).await?
            }
            Drift::Recreate(wanted) => {
                let delete =
                    DeleteParams { preconditions: Some(as_read(current)), ..DeleteParams::default() };
                unless_changed(self.context.writes.count(what, api.delete(&name, &delete))).await?
                    && self.create(api, what, &wanted).await? == Created::New
            }
        };
        if !written {
            return Ok(Repair::Lost);
        }
        tracing::info!(cluster = %self.cluster, kind = %K::kind(&()), name, "a seeded object is put right");
        Ok(Repair::Written)
    }

    /// Creates, and tells the tenant if theirs is in the way.
    pub(super) async fn create<K>(
        &self,
        api: &Api<K>,
        what: &'static str,
        object: &K,
    ) -> Result<Created, WriteError>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        match self.context.writes.count(what, api.create(&PostParams::default(), object)).await {
            Ok(_) => return Ok(Created::New),
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error),
        }
        let found = api
            .get_metadata_opt(&object.name_any())
            .await
            .map_err(|error| WriteError::Unread { what, error: Box::new(error) })?;
        if found.is_some() {
            return Ok(Created::There);
        }
        if !self.settling {
            self.tell_hidden(object).await;
        }
        Ok(Created::Hidden)
    }

    /// An Event beside the ManagedEnvironment that stands for the workspace.
    pub(super) async fn tell(&self, type_: EventType, reason: &str, note: String) {
        let key = self.key(NAMESPACE, ENVIRONMENT);
        let Some(environment) = self.context.tenants.environments.get(&key) else { return };
        let writer = ObjectWriter { client: self.client.clone(), writes: &self.context.writes };
        writer.tell(&*environment, type_, reason, note).await;
    }

    async fn tell_hidden<K: Resource<DynamicType = ()>>(&self, object: &K) {
        let (kind, name) = (K::kind(&()), object.name_any());
        if !self.context.seeds.tell(self.cluster, format!("{kind} {name}")) {
            return;
        }
        tracing::info!(cluster = %self.cluster, %kind, name, "an object without the label is in the seed's place and is left alone");
        let namespace = object.namespace().map(|namespace| format!(" -n {namespace}")).unwrap_or_default();
        let resource = K::plural(&());
        self.tell(
            EventType::Warning,
            "NotManaged",
            format!(
                "{kind} {name} has no label {MANAGED_LABEL}=true, so Annex leaves it alone; to have it kept: kubectl label {resource} {name} {MANAGED_LABEL}=true --overwrite{namespace}"
            ),
        )
        .await;
    }

    fn mended<K: Resource<DynamicType = ()>>(&self, object: &K) {
        let what = format!("{} {}", K::kind(&()), object.name_any());
        self.context.seeds.mended(self.cluster, &what);
    }

    fn key_of<K: Resource<DynamicType = ()>>(&self, object: &K) -> ObjectKey {
        self.key(object.meta().namespace.as_deref().unwrap_or_default(), &object.name_any())
    }
}

/// Not if it is another, or was changed since.
pub(super) fn as_read<K: Resource>(object: &K) -> Preconditions {
    Preconditions { uid: object.meta().uid.clone(), resource_version: object.meta().resource_version.clone() }
}

/// Whether it was written: what changed or went since it was read comes again through the watch.
pub(super) async fn unless_changed<T>(
    write: impl Future<Output = Result<T, WriteError>>,
) -> Result<bool, WriteError> {
    match write.await {
        Err(error) if error.is_conflict() || error.is_gone() => Ok(false),
        result => result.map(|_| true),
    }
}

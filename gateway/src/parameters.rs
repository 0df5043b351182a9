//! What an extension is handed that its Install takes out of Secrets.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use annex_answering::{Refusal, Workspaces, questions::answer};
use annex_apis::{Install, KeyReference, PLATFORM_CONFIG, StageStatus, parameters_in};
use annex_core::ContentHash;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube_kcp::ObjectKey;
use moka::future::Cache;
use serde_json::{Map, Value};

use crate::refusals::not_ready;

/// A changed Secret reaches the extension after this at the latest. Until then kcp is not asked again.
const KEPT: Duration = Duration::from_secs(5);
/// Bytes of parameters that are kept.
const AT_MOST: u64 = 32 << 20;

/// Of an Install, and of the flow that is under way: what is accepted depends on both.
type Generations = (Option<i64>, Option<i64>);
type Read = Result<Arc<BTreeMap<String, Value>>, &'static str>;

/// What an Install takes out of Secrets, and what that has to go with.
#[derive(Clone, Debug)]
pub(crate) struct Takes {
    at: ObjectKey,
    install: Arc<str>,
    generations: Generations,
    content: ContentHash,
    from: Vec<KeyReference>,
    own: BTreeMap<String, Value>,
    schema: Option<Value>,
}

impl Takes {
    /// None: it takes nothing.
    pub(crate) fn of(
        key: &ObjectKey,
        install: &Install,
        content: ContentHash,
        schema: Option<&Value>,
    ) -> Option<Self> {
        let from = &install.spec.parameters_from;
        let flow = install.status.as_ref().and_then(|status| status.flow.as_ref());
        (!from.is_empty()).then(|| Self {
            at: key.clone(),
            install: install.metadata.uid.as_deref().unwrap_or_default().into(),
            generations: (install.metadata.generation, flow.and_then(|flow| flow.generation)),
            content,
            from: from.clone(),
            own: accepted(install, content),
            schema: schema.cloned(),
        })
    }
}

/// The parameters of an Install itself that were accepted for this content: what is not accepted yet, or was refused, reaches no extension.
/// A version that a flow is bringing has those that are asked for, which a pass of that flow has found to be what its schema wants, and
/// what answers meanwhile has those that it had.
pub(crate) fn accepted(install: &Install, content: ContentHash) -> BTreeMap<String, Value> {
    let status = install.status.as_ref();
    let content = content.to_string();
    let is_installed = status.and_then(|status| status.content_hash.as_ref()) == Some(&content);
    let comes = status.and_then(|status| status.flow.as_ref()).is_some_and(|flow| {
        flow.finished_at.is_none()
            && flow.status != StageStatus::Failed
            && flow.generation == install.metadata.generation
            && flow.target.as_ref().is_some_and(|target| target.content_hash == content)
    });
    let accepted = status.and_then(|status| status.parameters.as_ref()).filter(|_| is_installed || !comes);
    accepted.unwrap_or(&install.spec.parameters).clone()
}

/// Reads them, and remembers for seconds what was read.
pub struct Parameters {
    workspaces: Workspaces,
    read: Cache<(Arc<str>, Generations, ContentHash), Read>,
}

impl Parameters {
    /// In the tenants' workspaces.
    pub fn new(workspaces: Workspaces) -> Self {
        let weigh = |_: &_, read: &Read| {
            let size =
                read.as_ref().map_or(0, |read| serde_json::to_vec(&**read).map_or(0, |json| json.len()));
            u32::try_from(size).unwrap_or(u32::MAX).saturating_add(256)
        };
        let read = Cache::builder().max_capacity(AT_MOST).weigher(weigh).time_to_live(KEPT).build();
        Self { workspaces, read }
    }

    /// The parameters out of Secrets, the later over the earlier. Together with the Install's own they are what the version's schema wants.
    ///
    /// # Errors
    /// They are not, or there are none, which whoever calls learns by one word alone; or kcp cannot be asked.
    pub(crate) async fn read(&self, takes: &Takes) -> Result<Arc<BTreeMap<String, Value>>, Refusal> {
        let at = (takes.install.clone(), takes.generations, takes.content);
        let read = self.read.try_get_with(at, self.ask(takes)).await.map_err(|_| Refusal::kcp())?;
        read.map_err(not_ready)
    }

    async fn ask(&self, takes: &Takes) -> Result<Read, Refusal> {
        let client = (self.workspaces)(&takes.at.cluster).map_err(|error| {
            tracing::warn!(%error, "a workspace cannot be asked");
            Refusal::kcp()
        })?;
        let secrets: Api<Secret> = Api::namespaced(client, &takes.at.namespace);
        let mut more = BTreeMap::new();
        for from in &takes.from {
            // Without the label it is not there for Annex. What kcp says no to the controller tells the Install's owner.
            let Ok(Some(secret)) = answer("Secret", secrets.get_opt(&from.name)).await? else {
                return Ok(Err("SecretNotFound"));
            };
            match parameters_in(&secret, &from.key) {
                Ok(found) => more.extend(found),
                Err(_) => return Ok(Err("ParametersInvalid")),
            }
        }
        // Of the platform's own nothing can be given in its name.
        more.remove(PLATFORM_CONFIG);
        let (schema, all) = (takes.schema.clone(), takes.own.clone().into_iter().chain(more.clone()));
        let all: Map<String, Value> = all.collect();
        // It may take a while.
        let checked =
            tokio::task::spawn_blocking(move || annex_parameters::check(schema.as_ref(), &all)).await;
        match checked.map_err(|_| Refusal::internal())? {
            Ok(()) => Ok(Ok(Arc::new(more))),
            Err(_) => Ok(Err("ParametersInvalid")),
        }
    }
}

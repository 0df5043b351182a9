use std::{fmt::Debug, time::Duration};

use annex_initializer::{
    KUBECONFIG_SECRET, NAMESPACE, Seed, SeedConfig, SeedObject, Token, TokenName, TokenState,
};
use futures::{
    future::{BoxFuture, try_join_all},
    try_join,
};
use k8s_openapi::{NamespaceResourceScope, api::core::v1::Secret};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::PostParams,
    runtime::wait::{self, await_condition},
};
use kube_kcp::{
    Brief, ClusterName, NoClient,
    kinds::{APIBinding, BindingPhase},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::Instant;

use super::progress::{Progress, Stage};

/// Why a try ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    /// No client could be made.
    #[error(transparent)]
    Connect(#[from] NoClient),
    /// An object could not be written.
    #[error("{kind} {name} cannot be written: {}", Brief(error))]
    Write {
        /// What.
        kind: String,
        /// Which.
        name: String,
        /// Why.
        error: kube::Error,
    },
    /// A wait was interrupted.
    #[error("{what} cannot be watched: {}", Brief(&**error))]
    Watch {
        /// What.
        what: &'static str,
        /// Why.
        error: Box<wait::Error>,
    },
    /// kcp took too long.
    #[error("kcp has not {0} in time")]
    Patience(&'static str),
    /// The initializers could not be changed.
    #[error("the workspace's initializers cannot be changed: {}", Brief(.0))]
    Finish(kube::Error),
    /// They changed at the same time, again and again.
    #[error("the workspace's initializers keep changing")]
    Contended,
}

impl StepError {
    /// For metrics: few values.
    pub(super) fn category(&self) -> &'static str {
        match self {
            Self::Connect(_) => "Connect",
            Self::Write { .. } => "Write",
            Self::Watch { .. } => "Watch",
            Self::Patience(_) => "Patience",
            Self::Finish(_) | Self::Contended => "Finish",
        }
    }
}

/// Writes the seed into one workspace, in the order that [`Seed`] tells. What need not wait does not: binding the API takes kcp
/// the longest, so it is asked for first, and all else happens beside it.
pub(super) struct Seeding<'a> {
    pub(super) client: Client,
    pub(super) cluster: &'a ClusterName,
    pub(super) config: &'a SeedConfig,
    pub(super) seed: &'a Seed,
    pub(super) progress: &'a Progress,
    pub(super) patience: Duration,
}

impl Seeding<'_> {
    /// Returns when the workspace has everything. Needs a client; safe to repeat.
    pub(super) async fn run(&self) -> Result<(), StepError> {
        try_join!(self.bind(), self.objects())?;
        self.environment().await
    }

    /// The kind is served once the API is bound, but not at once: kcp says Bound when it has recorded the binding, and the API
    /// server takes a moment more, seconds where a schema is bound for the first time. There is nothing to watch for that.
    async fn environment(&self) -> Result<(), StepError> {
        const PAUSE: Duration = Duration::from_millis(200);
        let environment = Seed::environment(self.config, self.cluster);
        let deadline = Instant::now() + self.patience;
        loop {
            match self.create(&environment).await {
                Err(StepError::Write { error: kube::Error::Api(status), .. })
                    if status.code == 404 && Instant::now() < deadline =>
                {
                    let _waiting = self.progress.enter(self.cluster, Stage::Binding);
                    tokio::time::sleep(PAUSE).await;
                }
                result => return result,
            }
        }
    }

    async fn bind(&self) -> Result<(), StepError> {
        self.create_global(&self.seed.api_binding).await?;
        let _waiting = self.progress.enter(self.cluster, Stage::Binding);
        let bindings: Api<APIBinding> = Api::all(self.client.clone());
        let bound = |binding: Option<&APIBinding>| {
            binding.and_then(|binding| binding.status.as_ref()?.phase) == Some(BindingPhase::Bound)
        };
        let name = self.seed.api_binding.name_any();
        self.wait("bound the API", "the APIBinding", Box::pin(await_condition(bindings, &name, bound)))
            .await?;
        Ok(())
    }

    async fn objects(&self) -> Result<(), StepError> {
        let name = TokenName::first();
        {
            let _writing = self.progress.enter(self.cluster, Stage::Seed);
            for step in &self.seed.steps {
                try_join_all(step.iter().map(|object| self.create_object(object))).await?;
            }
            self.create(&Seed::token_secret(&name)).await?;
        }
        self.kubeconfig(&name).await
    }

    async fn kubeconfig(&self, name: &TokenName) -> Result<(), StepError> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), NAMESPACE);
        let _waiting = self.progress.enter(self.cluster, Stage::Token);
        let token_of = |secret: &Secret| match Token::of(name, secret) {
            TokenState::Filled(token) => Some(token),
            TokenState::Unfilled | TokenState::Foreign => None,
        };
        let filled = |secret: Option<&Secret>| secret.and_then(token_of).is_some();
        let secret = self
            .wait(
                "filled in the token",
                "the token Secret",
                Box::pin(await_condition(secrets, &name.to_string(), filled)),
            )
            .await?;
        let Some(token) = secret.as_ref().and_then(token_of) else {
            return Err(StepError::Patience("filled in the token"));
        };
        tracing::debug!(cluster = %self.cluster, secret = KUBECONFIG_SECRET, "the token is there");
        self.create(&Seed::kubeconfig_secret(self.config, self.cluster, &token)).await
    }

    async fn create_object(&self, object: &SeedObject) -> Result<(), StepError> {
        match object {
            SeedObject::Namespace(object) => self.create_global(object).await,
            SeedObject::ClusterRole(object) => self.create_global(object).await,
            SeedObject::ClusterRoleBinding(object) => self.create_global(object).await,
            SeedObject::ServiceAccount(object) => self.create(object).await,
            SeedObject::Role(object) => self.create(object).await,
            SeedObject::RoleBinding(object) => self.create(object).await,
        }
    }

    async fn wait<K>(
        &self,
        done: &'static str,
        what: &'static str,
        condition: BoxFuture<'_, Result<Option<K>, wait::Error>>,
    ) -> Result<Option<K>, StepError> {
        tokio::time::timeout(self.patience, condition)
            .await
            .map_err(|_| StepError::Patience(done))?
            .map_err(|error| StepError::Watch { what, error: Box::new(error) })
    }

    async fn create<K>(&self, object: &K) -> Result<(), StepError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        create_missing(Api::namespaced(self.client.clone(), NAMESPACE), object).await
    }

    async fn create_global<K>(&self, object: &K) -> Result<(), StepError>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        create_missing(Api::all(self.client.clone()), object).await
    }
}

/// An object that is there already is left as it is: it is from an earlier try, or another replica wrote it just now.
async fn create_missing<K>(api: Api<K>, object: &K) -> Result<(), StepError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    match api.create(&PostParams::default(), object).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        Err(error) => {
            Err(StepError::Write { kind: K::kind(&()).into_owned(), name: object.name_any(), error })
        }
    }
}

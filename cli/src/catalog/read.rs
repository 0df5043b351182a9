//! Reading the catalog's objects.

use std::fmt::Debug;

use annex_apis::{Extension, ExtensionVersion};
use annex_core::ExtensionName;
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::outcome::Failure;
use crate::server::{Provider, ProviderArguments, ServerError, TIMEOUT};

/// Objects that are read at once: an ExtensionVersion may have some 100 KiB.
const PAGE: u32 = 100;

/// What the catalog is made of.
#[derive(Debug, Default)]
pub(super) struct Objects {
    pub(super) extensions: Vec<Extension>,
    pub(super) versions: Vec<ExtensionVersion>,
}

/// Reads all of it, or what belongs to one extension.
pub(super) async fn read(
    arguments: &ProviderArguments,
    only: Option<&ExtensionName>,
) -> Result<Objects, Failure> {
    let provider = arguments.connect().await?;
    let reading = async {
        let mut objects = Objects { extensions: list(&provider).await?, versions: list(&provider).await? };
        if let Some(only) = only {
            objects.extensions.retain(|extension| extension.name_any() == only.as_str());
            objects.versions.retain(|version| version.spec.extension == only.as_str());
        }
        Ok(objects)
    };
    match timeout(TIMEOUT, reading).await {
        Ok(result) => result,
        Err(_) => Err(ServerError::Timeout { server: provider.server.clone() }.into()),
    }
}

/// Reads all versions of all extensions, those that were yanked included.
pub(crate) async fn versions(arguments: &ProviderArguments) -> Result<Vec<ExtensionVersion>, Failure> {
    let provider = arguments.connect().await?;
    match timeout(TIMEOUT, list(&provider)).await {
        Ok(result) => result,
        Err(_) => Err(ServerError::Timeout { server: provider.server.clone() }.into()),
    }
}

async fn list<K>(provider: &Provider) -> Result<Vec<K>, Failure>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::all(provider.client.clone());
    let mut parameters = ListParams::default().limit(PAGE);
    let mut found = Vec::new();
    loop {
        let page = api.list(&parameters).await.map_err(|error| failure(error, &provider.server))?;
        found.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters.continue_token = Some(token),
            None => return Ok(found),
        }
    }
}

fn failure(error: kube::Error, server: &str) -> Failure {
    match ServerError::of(error, server) {
        ServerError::NotFound { server, .. } => Failure::Unable(format!(
            "{server} has no catalog of Annex; where the provider's workspace has another name, say it with --workspace"
        )),
        other => other.into(),
    }
}

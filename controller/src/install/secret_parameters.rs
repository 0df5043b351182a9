use std::{collections::BTreeMap, fmt};

use annex_apis::{InstallSpec, MANAGED_LABEL, parameters_in};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube_kcp::ObjectKey;
use serde_json::Value;

use crate::{api_writes::WriteError, conditions::Because, context::Context};

/// What an extension is handed. Its `Debug` shows nothing of it: part of it may come out of a Secret.
#[derive(Clone, PartialEq)]
pub(super) struct Parameters(pub(super) BTreeMap<String, Value>);

impl fmt::Debug for Parameters {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Parameters({})", self.0.len())
    }
}

/// The parameters of an Install, with those that it takes out of Secrets: the later over the earlier, and what is in both is replaced as a whole.
/// No Secret's content is kept longer than the pass takes. The inner error is for whoever wrote the Secret.
pub(super) async fn read(
    context: &Context,
    key: &ObjectKey,
    spec: &InstallSpec,
) -> Result<Result<Parameters, Because>, WriteError> {
    let secrets: Api<Secret> = Api::namespaced(context.workspaces.client(&key.cluster)?, &key.namespace);
    let mut parameters = spec.parameters.clone();
    for from in &spec.parameters_from {
        let found = secrets.get_opt(&from.name).await;
        let found = match found.map_err(|error| WriteError::Unread { what: "Secret", error: Box::new(error) })
        {
            Err(error) if error.is_forbidden() => {
                let message =
                    format!("the workspace's APIBinding does not let Annex read the Secret {}", from.name);
                return Ok(Err(Because::new("ClaimsNotAccepted", message)));
            }
            found => found?,
        };
        // Mostly that is found out without reading any.
        let Some(secret) = found else {
            let message = format!("there is no Secret {} with the label {MANAGED_LABEL}=true", from.name);
            return Ok(Err(Because::new("SecretNotFound", message)));
        };
        match parameters_in(&secret, &from.key) {
            Ok(more) => parameters.extend(more),
            Err(why) => {
                let message = format!("the key {} of the Secret {} {why}", from.key, from.name);
                return Ok(Err(Because::new("ParametersInvalid", message)));
            }
        }
    }
    Ok(Ok(Parameters(parameters)))
}

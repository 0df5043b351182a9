use std::time::Duration;

use annex_apis::ManagedEnvironment;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt as _};
use kube_kcp::{ObjectKey, Outcome};

use super::{
    access::{EnvironmentAccess, Fingerprint, Found, Noted},
    api_url::ApiUrl,
    limit::{MOST, TOO_MANY, looked_at},
    status::status,
    validate::validate,
};
use crate::{
    api_writes::WriteError,
    conditions::{Because, turned},
    context::Context,
    install::NOT_LISTED_YET,
    object_writer::ObjectWriter,
};

/// What an environment's server says, and where its name leads, is asked again after this.
const REPROBE: Duration = Duration::from_secs(300);
/// A server that has failed to answer is asked again after this, while its environment is still open.
const MISSED: Duration = Duration::from_secs(10);

/// A look at an environment.
struct Look {
    found: Found,
    /// Nothing that is watched will tell when this has changed: it is the server that has to.
    asked: bool,
}

/// Judges one ManagedEnvironment: spec and Secret → the server itself → the way in for Installs → status.
pub(crate) async fn reconcile(context: &Context, key: &ObjectKey) -> Outcome {
    let environment = context.tenants.environments.get(key);
    let Some(environment) = environment.filter(|object| object.metadata.deletion_timestamp.is_none()) else {
        if context.environments.forget(key) {
            context.environment_turned(key);
        }
        return Outcome::Done;
    };
    if !context.is_synced(&key.cluster) {
        return NOT_LISTED_YET;
    }
    match apply(context, key, &environment).await {
        Ok(outcome) => outcome,
        Err(error) if error.is_gone() && context.tenants.environments.get(key).is_none() => {
            // Looked at again for its own sake: what it opened is to be dropped.
            context.environments.queue.add(key.clone());
            Outcome::Done
        }
        Err(error) => {
            if !error.is_conflict() {
                tracing::warn!(environment = %key, %error, "the ManagedEnvironment is tried again");
            }
            Outcome::Failed
        }
    }
}

async fn apply(
    context: &Context,
    key: &ObjectKey,
    environment: &ManagedEnvironment,
) -> Result<Outcome, WriteError> {
    let client = context.workspaces.client(&key.cluster)?;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &key.namespace);
    let name = &environment.spec.credentials_secret_ref.name;
    let looked = if !looked_at(context, &key.cluster).contains(key) {
        // When one of the others goes, this one comes.
        let message = format!(
            "the {MOST} oldest environments of a workspace are looked at, and this is not one of them"
        );
        Look { found: Found::Refused(Because::new(TOO_MANY, message)), asked: false }
    } else {
        // The index holds the metadata of Secrets only. What is read here is dropped as soon as it is judged.
        match secrets.get_opt(name).await {
            Ok(secret) => look(context, key, environment, secret).await,
            Err(kube::Error::Api(answer)) if answer.code == 403 => Look {
                found: Found::Refused(Because::new(
                    "ClaimsNotAccepted",
                    "the workspace's APIBinding does not let Annex read labelled Secrets; accept the claim on secrets",
                )),
                asked: true,
            },
            // Ours to mend, and no news of the environment.
            Err(error) => {
                return Err(WriteError::Refused { what: "environment's Secret", error: Box::new(error) });
            }
        }
    };
    // It may have been deleted while its server was asked.
    if context.tenants.environments.get(key).is_none() {
        context.environments.queue.add(key.clone());
        return Ok(Outcome::Done);
    }
    let Look { found, asked } = looked;
    let noted = context.environments.note(key, found);
    let again = again(&noted, asked);
    let Noted { news, shown, missed } = noted;
    if missed {
        tracing::info!(environment = %key, "the ManagedEnvironment's server did not answer; it stays open for now");
    }
    let status = status(environment, shown.as_ref().copied(), Timestamp::now());
    if environment.status.as_ref() != Some(&status) {
        let writer = ObjectWriter { client, writes: &context.writes };
        let object = ManagedEnvironment { status: Some(status), ..environment.clone() };
        // Whatever becomes of the status, the Installs act on what is true.
        let written = writer.status("EnvironmentStatus", &object).await;
        if news {
            context.environment_turned(key);
        }
        written?;
        let before = environment.status.as_ref().map_or(&[][..], |status| &status.conditions);
        let after = object.status.as_ref().map_or(&[][..], |status| &status.conditions);
        if let Some(ready) = turned(before, after) {
            tracing::info!(environment = %key, ready = ready.status, reason = ready.reason, "the ManagedEnvironment");
            writer.event(environment, ready).await;
        }
    } else if news {
        context.environment_turned(key);
    }
    Ok(again)
}

async fn look(
    context: &Context,
    key: &ObjectKey,
    environment: &ManagedEnvironment,
    secret: Option<Secret>,
) -> Look {
    let environments = &context.environments;
    let validated = match validate(&environment.spec, secret.as_ref(), environments.allow_insecure_tls) {
        Ok(validated) => validated,
        // Secret and spec are watched.
        Err(because) => return Look { found: Found::Refused(because), asked: false },
    };
    let fingerprint = Fingerprint {
        environment_uid: environment.uid().unwrap_or_default(),
        secret_uid: secret.as_ref().and_then(Secret::uid).unwrap_or_default(),
        secret_version: secret.as_ref().and_then(Secret::resource_version).unwrap_or_default(),
        generation: environment.metadata.generation.unwrap_or_default(),
    };
    drop(secret);
    // The workspace itself, at the platform's own server, is wherever the operator has put that. Exactly this one: with any
    // other path or port the server could be made to speak for somebody else.
    let own = ApiUrl::parse(&context.seed_config.workspace_url(&key.cluster));
    let trusted = own.as_ref() == Ok(validated.credentials.server());
    let found = match environments.prober.probe(&validated.credentials, &validated.namespaces, trusted).await
    {
        Ok(opened) => {
            let knative = opened.knative;
            let cluster_resources = environment.spec.cluster_resources;
            let access = EnvironmentAccess::new(opened, validated.namespaces, cluster_resources, fingerprint);
            Found::Open { access, knative }
        }
        Err(error) if error.is_miss() => Found::Missed(fingerprint, error.into()),
        Err(error) => Found::Refused(error.into()),
    };
    Look { found, asked: true }
}

/// When the environment is looked at again, though nothing that is watched changes.
fn again(noted: &Noted, asked: bool) -> Outcome {
    match &noted.shown {
        Ok(_) if noted.missed => Outcome::Again(MISSED),
        Err(_) if asked => Outcome::Failed,
        Ok(_) | Err(_) => Outcome::Again(REPROBE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::probe::Knative;

    #[test]
    fn what_only_the_server_can_mend_is_asked_again_soon() {
        let because = || Err(Because::new("r", "m"));
        let after = |shown, missed, asked| again(&Noted { news: false, shown, missed }, asked);
        assert_eq!(after(Ok(Knative::Served), true, true), Outcome::Again(MISSED));
        assert_eq!(after(Ok(Knative::Served), false, true), Outcome::Again(REPROBE));
        assert_eq!(after(because(), false, true), Outcome::Failed);
        assert_eq!(after(because(), false, false), Outcome::Again(REPROBE));
    }
}

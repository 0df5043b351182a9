use annex_apis::{KUBECONFIG_KEY, MANAGED_ENVIRONMENT_SECRET_TYPE, MANAGED_LABEL, ManagedEnvironmentSpec};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;

use super::{
    api_url::ApiUrl,
    credentials::Credentials,
    kubeconfig::{Kubeconfig, Wanted},
};
use crate::conditions::Because;

/// An environment whose spec and Secret are sound. Whether its server lets anyone in is the probe's to say.
#[derive(Debug)]
pub(super) struct Validated {
    pub(super) credentials: Credentials,
    pub(super) namespaces: Vec<String>,
}

/// Judges what the tenant wrote, in the order in which it is documented: the first that does not hold is the reason. Pure.
///
/// `secret` is what `spec.credentialsSecretRef` names, if Annex can see it.
pub(super) fn validate(
    spec: &ManagedEnvironmentSpec,
    secret: Option<&Secret>,
    platform_allows_insecure_tls: bool,
) -> Result<Validated, Because> {
    let server = ApiUrl::parse(&spec.api_url)
        .map_err(|error| Because::new("InvalidAPIURL", format!("spec.apiURL {error}")))?;
    let kubeconfig = Kubeconfig::parse(kubeconfig_of(&spec.credentials_secret_ref.name, secret)?)?;
    if spec.allow_insecure_skip_tls_verify && !platform_allows_insecure_tls {
        return Err(Because::new(
            "InsecureTLSRefused",
            "the platform does not allow spec.allowInsecureSkipTLSVerify; give the server's CA in the kubeconfig",
        ));
    }
    let credentials = kubeconfig.credentials(Wanted {
        server: &server,
        context: spec.context_name.as_deref(),
        insecure_tls: spec.allow_insecure_skip_tls_verify,
    })?;
    for namespace in &spec.namespaces {
        let upper = namespace.contains(|c: char| c.is_ascii_uppercase());
        if upper || annex_core::check_label(namespace).is_err() {
            return Err(Because::new(
                "InvalidNamespace",
                format!("spec.namespaces holds {namespace:?}, which is no name of a namespace"),
            ));
        }
    }
    Ok(Validated { credentials, namespaces: spec.namespaces.clone() })
}

fn kubeconfig_of<'a>(name: &str, secret: Option<&'a Secret>) -> Result<&'a [u8], Because> {
    let unseen = |reason, and| {
        Because::new(
            reason,
            format!(
                "{and} in this namespace; Annex sees Secrets with the label {MANAGED_LABEL}=true and no others"
            ),
        )
    };
    let secret = secret.ok_or_else(|| unseen("SecretNotFound", format!("no Secret {name} is to be seen")))?;
    // Seen without the label only where the workspace's binding accepts the claim for every Secret.
    if secret.labels().get(MANAGED_LABEL).map(String::as_str) != Some("true") {
        return Err(unseen("SecretNotLabelled", format!("the Secret {name} has no such label")));
    }
    if secret.type_.as_deref() != Some(MANAGED_ENVIRONMENT_SECRET_TYPE) {
        return Err(Because::new(
            "SecretTypeInvalid",
            format!("the Secret {name} is not of type {MANAGED_ENVIRONMENT_SECRET_TYPE}"),
        ));
    }
    let data = secret.data.as_ref().and_then(|data| data.get(KUBECONFIG_KEY));
    data.map(|data| data.0.as_slice()).filter(|data| !data.is_empty()).ok_or_else(|| {
        Because::new(
            "SecretKeyMissing",
            format!("the Secret {name} has nothing under the key {KUBECONFIG_KEY}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use serde_json::{Value, json};

    use super::*;

    /// An environment in which everything is wrong, and what mends it, in the order in which it is found.
    #[test]
    fn the_first_that_does_not_hold_is_the_reason() {
        let mut spec = ManagedEnvironmentSpec {
            api_url: "https://k.example.com/?a".to_owned(),
            namespaces: vec!["Upper".to_owned()],
            context_name: Some("wrong".to_owned()),
            allow_insecure_skip_tls_verify: true,
            ..ManagedEnvironmentSpec::default()
        };
        spec.credentials_secret_ref.name = "mine".to_owned();
        let mut secret: Option<Secret> = None;
        let mut kubeconfig = json!({
            "clusters": [{ "name": "c", "cluster": { "server": "https://elsewhere.example.com" } }],
            "users": [{ "name": "u", "user": { "exec": {} } }],
            "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
        });
        type Mend = fn(&mut ManagedEnvironmentSpec, &mut Option<Secret>, &mut Value);
        let steps: [(&str, Mend); 12] = [
            ("InvalidAPIURL", |spec, _, _| spec.api_url = "https://k.example.com/".to_owned()),
            ("SecretNotFound", |_, secret, _| *secret = Some(Secret::default())),
            ("SecretNotLabelled", |_, secret, _| {
                let labels = [(MANAGED_LABEL.to_owned(), "true".to_owned())];
                secret.as_mut().unwrap().metadata.labels = Some(labels.into());
            }),
            ("SecretTypeInvalid", |_, secret, _| {
                secret.as_mut().unwrap().type_ = Some(MANAGED_ENVIRONMENT_SECRET_TYPE.to_owned());
            }),
            ("SecretKeyMissing", |_, secret, _| {
                let data = [(KUBECONFIG_KEY.to_owned(), ByteString(b"[".to_vec()))];
                secret.as_mut().unwrap().data = Some(data.into());
            }),
            ("KubeconfigInvalid", |_, _, kubeconfig| kubeconfig["current-context"] = json!("x")),
            ("KubeconfigFieldRefused", |_, _, kubeconfig| kubeconfig["users"][0]["user"] = json!({})),
            ("InsecureTLSRefused", |spec, _, _| spec.allow_insecure_skip_tls_verify = false),
            ("ContextNotFound", |spec, _, _| spec.context_name = None),
            ("ServerMismatch", |_, _, kubeconfig| {
                kubeconfig["clusters"][0]["cluster"]["server"] = json!("https://k.example.com:443");
            }),
            ("CredentialsMissing", |_, _, kubeconfig| {
                kubeconfig["users"][0]["user"]["token"] = json!("t");
            }),
            ("InvalidNamespace", |spec, _, _| spec.namespaces = vec!["lower".to_owned()]),
        ];
        for (reason, mend) in steps {
            assert_eq!(validate(&spec, secret.as_ref(), false).unwrap_err().reason, reason);
            mend(&mut spec, &mut secret, &mut kubeconfig);
            if reason.starts_with("Kubeconfig") || reason.starts_with("Server") || reason.starts_with("Cred")
            {
                let data = [(KUBECONFIG_KEY.to_owned(), ByteString(kubeconfig.to_string().into_bytes()))];
                secret.as_mut().unwrap().data = Some(data.into());
            }
        }
        assert_eq!(validate(&spec, secret.as_ref(), false).unwrap().namespaces, ["lower"]);
        spec.allow_insecure_skip_tls_verify = true;
        assert!(validate(&spec, secret.as_ref(), true).is_ok());
    }
}

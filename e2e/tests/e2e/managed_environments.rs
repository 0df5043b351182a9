//! ManagedEnvironments: the seeded one, and what a tenant may do wrong with one of their own.

use annex_apis::ManagedEnvironment;
use annex_e2e::{Workspace, until, when};
use k8s_openapi::api::{core::v1::Secret, events::v1::Event};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use xtask::Part;

use crate::environment::{alone, shared};

const NAME: &str = "own";

/// A workspace in which `own`, an environment in the namespace `default`, stands for the workspace itself, with a Secret of the same
/// name that is not there yet.
struct Own {
    workspace: Workspace,
    environments: Api<ManagedEnvironment>,
    secrets: Api<Secret>,
    url: String,
    /// What the seeded Secret holds.
    kubeconfig: Value,
}

impl Own {
    async fn new(workspace: Workspace) -> anyhow::Result<Self> {
        let seeded: Api<Secret> = Api::namespaced(workspace.client.clone(), "annex");
        let kubeconfig = seeded.get("annex-kubeconfig").await?.data.expect("data")["kubeconfig"].0.clone();
        let seeded: Api<ManagedEnvironment> = Api::namespaced(workspace.client.clone(), "annex");
        let url = seeded.get("workspace").await?.spec.api_url;
        let own = Self {
            environments: Api::namespaced(workspace.client.clone(), "default"),
            secrets: Api::namespaced(workspace.client.clone(), "default"),
            kubeconfig: serde_json::from_slice(&kubeconfig)?,
            workspace,
            url,
        };
        let environment = json!({ "apiVersion": "annex.sh/v1alpha1", "kind": "ManagedEnvironment",
            "metadata": { "name": NAME }, "spec": { "apiURL": own.url, "credentialsSecretRef": { "name": NAME } } });
        own.environments.create(&PostParams::default(), &serde_json::from_value(environment)?).await?;
        Ok(own)
    }

    async fn secret(&self, type_: &str, labels: Value, kubeconfig: &Value) -> anyhow::Result<()> {
        let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": NAME, "labels": labels },
            "type": type_, "stringData": { "kubeconfig": kubeconfig.to_string() } });
        self.secrets.create(&PostParams::default(), &serde_json::from_value(secret)?).await?;
        Ok(())
    }

    async fn sound_secret(&self) -> anyhow::Result<()> {
        let labels = json!({ "annex.sh/managed": "true" });
        self.secret("annex.sh/managed-environment", labels, &self.kubeconfig).await
    }

    async fn rewrite(&self, change: impl FnOnce(&mut Value)) -> anyhow::Result<()> {
        let mut kubeconfig = self.kubeconfig.clone();
        change(&mut kubeconfig);
        let patch = json!({ "stringData": { "kubeconfig": kubeconfig.to_string() } });
        self.secrets.patch(NAME, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    async fn label(&self, label: Value) -> anyhow::Result<()> {
        let patch = json!({ "metadata": { "labels": { "annex.sh/managed": label } } });
        self.secrets.patch(NAME, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    async fn change(&self, spec: Value) -> anyhow::Result<()> {
        let patch = Patch::Merge(json!({ "spec": spec }));
        self.environments.patch(NAME, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    async fn says(&self, status: &str, reason: &str) -> anyhow::Result<String> {
        says(&self.environments, NAME, status, reason).await
    }
}

/// The message of the environment's Ready, once it says this of the generation that it has now.
async fn says(
    environments: &Api<ManagedEnvironment>,
    name: &str,
    status: &str,
    reason: &str,
) -> anyhow::Result<String> {
    let ready = |environment: &ManagedEnvironment| {
        let conditions = environment.status.iter().flat_map(|status| &status.conditions);
        let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
        ready.next().filter(|ready| ready.observed_generation == environment.metadata.generation).cloned()
    };
    let said = |environment: &ManagedEnvironment| {
        ready(environment).is_some_and(|ready| ready.status == status && ready.reason == reason)
    };
    let environment = when(environments, name, &format!("Ready={status} {reason}"), said).await?;
    Ok(ready(&environment).expect("Ready").message)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seeded_environment_becomes_ready_and_says_so() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let workspace = world.user("alice").await?.tenant("acme-menv-seeded").await?;
    let environments: Api<ManagedEnvironment> = Api::namespaced(workspace.client.clone(), "annex");
    let message = says(&environments, "workspace", "True", "Ready").await?;
    assert!(message.contains(workspace.cluster.as_str()), "{message}");
    let environment = environments.get("workspace").await?;
    let status = environment.status.as_ref().expect("a status");
    assert_eq!(status.observed_generation, environment.metadata.generation);
    let knative = status.conditions.iter().find(|condition| condition.type_ == "KnativeAvailable");
    let knative = knative.expect("KnativeAvailable");
    assert_eq!((knative.status.as_str(), knative.reason.as_str()), ("False", "NotServed"));
    let events: Api<Event> = Api::namespaced(workspace.client.clone(), "annex");
    until("an Event says that the environment is Ready", || async {
        let about = events.list(&ListParams::default()).await?.items.into_iter().any(|event| {
            event.reason.as_deref() == Some("Ready")
                && event.regarding.is_some_and(|regarding| regarding.uid == environment.uid())
        });
        Ok(about.then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_there_labelled_of_the_type_and_free_of_hostile_fields() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let own = Own::new(world.user("alice").await?.tenant("acme-menv-secret").await?).await?;
    let message = own.says("False", "SecretNotFound").await?;
    assert!(message.contains("annex.sh/managed=true"), "{message}");

    let labelled = json!({ "annex.sh/managed": "true" });
    own.secret("Opaque", labelled, &own.kubeconfig).await?;
    own.says("False", "SecretTypeInvalid").await?;
    own.secrets.delete(NAME, &DeleteParams::default()).await?;
    own.says("False", "SecretNotFound").await?;

    // Not labelled, it stays unseen: the label is what makes it known, whatever it holds.
    let mut hostile = own.kubeconfig.clone();
    hostile["users"][0]["user"]["exec"] = json!({ "command": "touch", "args": ["/tmp/annex-was-here"] });
    own.secret("annex.sh/managed-environment", json!({}), &hostile).await?;
    own.label(json!("true")).await?;
    let message = own.says("False", "KubeconfigFieldRefused").await?;
    assert!(message.contains("exec"), "{message}");
    for (list, kind, field) in [
        ("users", "user", "auth-provider"),
        ("users", "user", "tokenFile"),
        ("users", "user", "client-key"),
        ("clusters", "cluster", "certificate-authority"),
        ("clusters", "cluster", "proxy-url"),
        ("clusters", "cluster", "tls-server-name"),
    ] {
        own.rewrite(|kubeconfig| kubeconfig[list][0][kind][field] = json!("/etc/passwd")).await?;
        let told = |environment: &ManagedEnvironment| {
            let conditions = environment.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|condition| condition.message.contains(&format!("the field {field},")))
        };
        when(&own.environments, NAME, &format!("{field} is refused by name"), told).await?;
    }
    own.rewrite(|_| ()).await?;
    own.says("True", "Ready").await?;

    // Who takes the label away takes the Secret away from Annex.
    own.label(Value::Null).await?;
    own.says("False", "SecretNotFound").await?;
    own.label(json!("true")).await?;
    own.says("True", "Ready").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_secret_is_followed() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let own = Own::new(world.user("alice").await?.tenant("acme-menv-rotated").await?).await?;
    own.sound_secret().await?;
    own.says("True", "Ready").await?;
    own.rewrite(|kubeconfig| kubeconfig["users"][0]["user"]["token"] = json!("not-a-t0ken")).await?;
    let message = own.says("False", "CredentialsRejected").await?;
    assert!(!message.contains("t0ken"), "{message}");
    own.rewrite(|_| ()).await?;
    own.says("True", "Ready").await?;
    // Two contexts: the one that is named, or the current one.
    own.rewrite(|kubeconfig| {
        let [user, context] = ["users", "contexts"].map(|list| kubeconfig[list][0].clone());
        let mut other = (user, context);
        (other.0["name"], other.1["name"]) = (json!("other"), json!("other"));
        (other.0["user"]["token"], other.1["context"]["user"]) = (json!("wrong"), json!("other"));
        kubeconfig["users"].as_array_mut().expect("users").push(other.0);
        kubeconfig["contexts"].as_array_mut().expect("contexts").push(other.1);
    })
    .await?;
    own.change(json!({ "contextName": "other" })).await?;
    own.says("False", "CredentialsRejected").await?;
    own.change(json!({ "contextName": "third" })).await?;
    own.says("False", "ContextNotFound").await?;
    own.change(json!({ "contextName": null, "namespaces": ["default"] })).await?;
    own.says("True", "Ready").await?;
    own.change(json!({ "namespaces": ["default", "nowhere"] })).await?;
    let message = own.says("False", "NamespaceNotFound").await?;
    assert!(message.contains("nowhere"), "{message}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_workspace_itself_is_reached_on_an_internal_address() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let alice = world.user("alice").await?;
    let own = Own::new(alice.tenant("acme-menv-address").await?).await?;
    own.sound_secret().await?;
    own.says("True", "Ready").await?;
    let port = world.stack.settings().kcp_port;
    for url in [
        format!("https://127.0.0.1:{port}/clusters/root"),
        format!("https://127.0.0.1:{port}/clusters/{}/../root:annex", own.workspace.cluster),
        format!("{}/x", own.url),
        format!("https://[::ffff:127.0.0.1]:{port}/clusters/{}", own.workspace.cluster),
        format!("https://0x7f000001:{}/", port + 1),
        "https://169.254.169.254/latest/meta-data".to_owned(),
        "https://[fd00:ec2::254]".to_owned(),
        "https://10.0.0.1:6443".to_owned(),
    ] {
        own.change(json!({ "apiURL": url })).await?;
        own.says("False", "ServerMismatch").await?;
        own.rewrite(|kubeconfig| kubeconfig["clusters"][0]["cluster"]["server"] = json!(url)).await?;
        own.says("False", "AddressRefused").await?;
    }
    // Unchecked certificates are the operator's to allow.
    own.change(json!({ "allowInsecureSkipTLSVerify": true })).await?;
    own.says("False", "InsecureTLSRefused").await?;
    own.change(json!({ "apiURL": own.url, "allowInsecureSkipTLSVerify": null })).await?;
    own.rewrite(|_| ()).await?;
    own.says("True", "Ready").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_elsewhere_is_reached_where_the_operator_allows_its_network() -> anyhow::Result<()> {
    let (world, _turn) = alone().await;
    let alice = world.user("alice").await?;
    let mut own = Own::new(alice.tenant("acme-menv-here").await?).await?;
    // Another workspace stands for a cluster: the same protocol at an internal address, with credentials of its own.
    let there = Own::new(alice.tenant("acme-menv-there").await?).await?;
    own.kubeconfig.clone_from(&there.kubeconfig);
    own.sound_secret().await?;
    own.change(json!({ "apiURL": there.url })).await?;
    own.says("False", "AddressRefused").await?;
    let restart = |networks: Option<&str>| {
        let env = networks.map(|networks| ("ANNEX_ENVIRONMENT_ALLOWED_NETWORKS", networks));
        tokio::task::block_in_place(|| {
            world.stack.stop(Part::Controller)?;
            world.stack.configure(Part::Controller, &[], env.as_slice());
            world.stack.start(Part::Controller)
        })
    };
    restart(Some("10.0.0.0/8,127.0.0.1/32"))?;
    let allowed = async {
        let message = own.says("True", "Ready").await?;
        assert!(message.contains(there.workspace.cluster.as_str()), "{message}");
        // The credentials of one cluster are worth nothing at another, wherever it is.
        own.rewrite(|kubeconfig| kubeconfig["clusters"][0]["cluster"]["server"] = json!(own.url)).await?;
        own.change(json!({ "apiURL": own.url })).await?;
        let refused = |environment: &ManagedEnvironment| {
            let conditions = environment.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|condition| {
                ["Forbidden", "CredentialsRejected"].contains(&condition.reason.as_str())
                    && condition.observed_generation == environment.metadata.generation
            })
        };
        when(&own.environments, NAME, "another's credentials are refused", refused).await?;
        own.rewrite(|_| ()).await?;
        own.change(json!({ "apiURL": there.url })).await?;
        own.says("True", "Ready").await?;
        // A name is as good as the address that it has now.
        let named = there.url.replace("127.0.0.1", "localhost");
        own.rewrite(|kubeconfig| kubeconfig["clusters"][0]["cluster"]["server"] = json!(named)).await?;
        own.change(json!({ "apiURL": named })).await?;
        anyhow::Ok(())
    }
    .await;
    // Whatever came of it, the other tests need the environment as it was.
    restart(None)?;
    allowed?;
    own.says("False", "AddressRefused").await?;
    Ok(())
}

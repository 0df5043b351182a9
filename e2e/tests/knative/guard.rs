//! Whoever has the controller's token on the compute cluster is held to what is Annex's there. Everything is asked for as a dry run,
//! which admission judges the same: where the policy failed, a test must not take the cluster apart.

use annex_e2e::{Cluster, Kind};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::environment::{hello, namespace, shared};

/// What an API server said to one request.
type Answer = Result<(), kube::Error>;

/// `body` is everything but kind and name.
async fn make(cluster: &Cluster, kind: Kind, namespace: &str, name: &str, body: Value) -> Answer {
    let (api_version, kind_name) = match kind {
        Kind::Namespace => ("v1", "Namespace"),
        Kind::Secret => ("v1", "Secret"),
        Kind::ResourceQuota => ("v1", "ResourceQuota"),
        Kind::Service => ("serving.knative.dev/v1", "Service"),
        Kind::DomainMapping => ("serving.knative.dev/v1beta1", "DomainMapping"),
        Kind::ClusterDomainClaim => ("networking.internal.knative.dev/v1alpha1", "ClusterDomainClaim"),
        other => panic!("the controller makes no {other:?}"),
    };
    let mut object = json!({ "metadata": {} });
    if let (Some(object), Value::Object(body)) = (object.as_object_mut(), body) {
        object.extend(body);
    }
    object["apiVersion"] = json!(api_version);
    object["kind"] = json!(kind_name);
    object["metadata"]["name"] = json!(name);
    let object = serde_json::from_value(object).expect("an object");
    let params = PostParams { dry_run: true, ..PostParams::default() };
    cluster.api(kind, namespace).create(&params, &object).await.map(drop)
}

async fn change(cluster: &Cluster, kind: Kind, namespace: &str, name: &str, patch: Value) -> Answer {
    let params = PatchParams { dry_run: true, ..PatchParams::default() };
    cluster.api(kind, namespace).patch(name, &params, &Patch::Merge(patch)).await.map(drop)
}

async fn remove(cluster: &Cluster, kind: Kind, namespace: &str, name: &str) -> Answer {
    let params = DeleteParams { dry_run: true, ..DeleteParams::default() };
    cluster.api(kind, namespace).delete(name, &params).await.map(drop)
}

/// The policy refused it, and not somebody else: RBAC and Knative refuse things, too.
fn assert_refused(what: &str, answer: Answer, allowed: &str) {
    match answer {
        Err(kube::Error::Api(status)) => {
            assert_eq!(status.code, 403, "{what}: {}", status.message);
            for part in ["ValidatingAdmissionPolicy 'annex-controller-guard'", allowed] {
                assert!(status.message.contains(part), "{what}: {part:?} is not in {:?}", status.message);
            }
        }
        other => panic!("{what}: {other:?}"),
    }
}

fn assert_allowed(what: &str, answer: Answer) {
    answer.unwrap_or_else(|error| panic!("{what}: {error:?}"));
}

/// Answers that are looked at only when what a test made is gone again: other tests need the names.
#[derive(Default)]
struct Answers {
    refused: Vec<(String, Answer, &'static str)>,
    allowed: Vec<(String, Answer)>,
}

impl Answers {
    fn refused(&mut self, what: impl Into<String>, answer: Answer, allowed: &'static str) {
        self.refused.push((what.into(), answer, allowed));
    }

    fn allowed(&mut self, what: impl Into<String>, answer: Answer) {
        self.allowed.push((what.into(), answer));
    }

    fn check(self) {
        for (what, answer, allowed) in self.refused {
            assert_refused(&what, answer, allowed);
        }
        for (what, answer) in self.allowed {
            assert_allowed(&what, answer);
        }
    }
}

/// What the messages of the policy say.
const NAMESPACES: &str = "only the namespaces of workspaces";
const RESTRICTED: &str = "pod-security.kubernetes.io/enforce=restricted";
const WITHIN: &str = "only in the namespaces of workspaces";
const SECRETS: &str = "only Secrets called annex-domain-tls of the type kubernetes.io/tls";
const SERVICES: &str = "only Knative Services that run as the account default";
const CLAIMS: &str = "only ClusterDomainClaims that have the label annex.sh/managed=true";
const CLAIMED_FOR: &str = "may claim domains only for namespaces called annex-<workspace>";

fn managed() -> Value {
    json!({ "metadata": { "labels": { "annex.sh/managed": "true" } } })
}

/// The namespace of a workspace as the controller makes it, but for `enforce`.
fn labelled(enforce: &str) -> Value {
    json!({ "metadata": { "labels": {
        "annex.sh/managed": "true", "pod-security.kubernetes.io/enforce": enforce,
    } } })
}

fn token_of(account: &str) -> Value {
    json!({
        "metadata": { "annotations": { "kubernetes.io/service-account.name": account } },
        "type": "kubernetes.io/service-account-token",
    })
}

fn certificate() -> Value {
    json!({ "type": "kubernetes.io/tls", "data": { "tls.crt": "", "tls.key": "" } })
}

fn mapping() -> Value {
    let runner = json!({ "apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "runner" });
    json!({ "spec": { "ref": runner } })
}

fn claim(managed: bool, namespace: &str) -> Value {
    let labels = if managed { json!({ "annex.sh/managed": "true" }) } else { json!({}) };
    json!({ "metadata": { "labels": labels }, "spec": { "namespace": namespace } })
}

/// A Knative Service with `more` in its pods.
fn service(more: &Value) -> Value {
    // As the namespace's standard wants it: Knative asks for the pods in a dry run of its own.
    let restricted = json!({ "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] }, "runAsNonRoot": true,
        "seccompProfile": { "type": "RuntimeDefault" } });
    let container = json!({ "name": "runner", "image": "registry.example.com/annex-runner:1", "securityContext": restricted });
    let mut pods = json!({ "containers": [container] });
    for (key, value) in more.as_object().into_iter().flatten() {
        pods[key] = value.clone();
    }
    json!({ "spec": { "template": { "spec": pods } } })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_controllers_account_writes_no_namespace_but_those_of_workspaces() -> anyhow::Result<()> {
    let (world, cluster, _turn) = shared().await?;
    let controller = world.cluster_of_the_controller().await?;
    let (workspace, _) = hello(world, "alice", "kn-guard").await?;
    let (kind, ours, mut answers) = (Kind::Namespace, namespace(&workspace), Answers::default());
    // The second begins like a workspace's, and somebody else made it.
    let foreign = ["kn-guard-foreign", "annex-kn-guard-foreign"];
    for name in foreign {
        cluster.create(kind, "", name, json!({})).await?;
    }

    for name in foreign.into_iter().chain(["knative-serving", "annex-system"]) {
        answers.refused(format!("deleting {name}"), remove(&controller, kind, "", name).await, NAMESPACES);
    }
    for name in foreign.into_iter().chain(["kube-system", "default", "annex-system"]) {
        let answer = change(&controller, kind, "", name, labelled("restricted")).await;
        answers.refused(format!("taking {name}"), answer, NAMESPACES);
    }
    let answer = make(&controller, kind, "", "kn-guard-made", labelled("restricted")).await;
    answers.refused("a namespace of another name", answer, NAMESPACES);
    let answer = make(&controller, kind, "", "annex-kn-guard-made", json!({})).await;
    answers.refused("a namespace without the label", answer, NAMESPACES);
    let answer = make(&controller, kind, "", "annex-kn-guard-made", managed()).await;
    answers.refused("a namespace without a standard", answer, RESTRICTED);
    let answer = make(&controller, kind, "", "annex-kn-guard-made", labelled("restricted")).await;
    answers.allowed("a namespace of a workspace", answer);

    let answer = change(&controller, kind, "", &ours, labelled("privileged")).await;
    answers.refused("lowering the standard", answer, RESTRICTED);
    let without = json!({ "metadata": { "labels": { "annex.sh/managed": null } } });
    let answer = change(&controller, kind, "", &ours, without).await;
    answers.refused("letting go of a namespace", answer, NAMESPACES);
    answers.allowed("deleting its own", remove(&controller, kind, "", &ours).await);

    for name in foreign {
        cluster.delete(kind, "", name).await?;
    }
    answers.check();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_controllers_account_gets_no_other_accounts_token() -> anyhow::Result<()> {
    let (world, _, _turn) = shared().await?;
    let controller = world.cluster_of_the_controller().await?;
    let (workspace, _) = hello(world, "alice", "kn-guard-token").await?;
    let ours = namespace(&workspace);

    // Of this name it may read every Secret: with one such it would be whom it likes.
    let name = "annex-domain-tls";
    let answer = make(&controller, Kind::Secret, "kube-system", name, token_of("namespace-controller")).await;
    assert_refused("a token of kube-system", answer, WITHIN);
    let answer = make(&controller, Kind::Secret, "annex-system", name, token_of("annex-controller")).await;
    assert_refused("a token of annex-system", answer, WITHIN);
    let answer = make(&controller, Kind::Secret, "default", name, certificate()).await;
    assert_refused("a certificate elsewhere", answer, WITHIN);
    let answer = make(&controller, Kind::Secret, &ours, name, token_of("default")).await;
    assert_refused("a token in a workspace's namespace", answer, SECRETS);
    let answer = make(&controller, Kind::Secret, &ours, "kn-guard", certificate()).await;
    assert_refused("a certificate of another name", answer, SECRETS);
    assert_allowed("the certificate", make(&controller, Kind::Secret, &ours, name, certificate()).await);

    let safe = json!({ "automountServiceAccountToken": false });
    for namespace in ["default", "kube-system", "knative-serving", "annex-system"] {
        let answer = make(&controller, Kind::Service, namespace, "kn-guard", service(&safe)).await;
        assert_refused(&format!("a Knative Service in {namespace}"), answer, WITHIN);
    }
    for (what, pods) in [
        ("a token in the pod", json!({ "automountServiceAccountToken": true })),
        ("a token unless it is refused", json!({})),
        ("another account", json!({ "automountServiceAccountToken": false, "serviceAccountName": "other" })),
    ] {
        let answer = make(&controller, Kind::Service, &ours, "kn-guard", service(&pods)).await;
        assert_refused(what, answer, SERVICES);
    }
    // Nor is it a way around to change one that is there.
    for pods in [json!({ "automountServiceAccountToken": null }), json!({ "serviceAccountName": "other" })] {
        let patch = json!({ "spec": { "template": { "spec": pods } } });
        let answer = change(&controller, Kind::Service, &ours, "runner", patch).await;
        assert_refused("changing the runner", answer, SERVICES);
    }
    let answer = make(&controller, Kind::Service, &ours, "kn-guard", service(&safe)).await;
    assert_allowed("a Knative Service without a token", answer);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_controllers_account_leaves_others_domains_alone() -> anyhow::Result<()> {
    let (world, cluster, _turn) = shared().await?;
    let controller = world.cluster_of_the_controller().await?;
    let (workspace, host) = hello(world, "alice", "kn-guard-domain").await?;
    let (ours, mut answers) = (namespace(&workspace), Answers::default());
    let (foreign, another) = ("kn-guard-foreign.example.com", "kn-guard.example.com");
    // With a shared runner the mappings are beside it, in a namespace of the operator's: they are, and nothing else is.
    cluster.gone(Kind::Namespace, "", "annex-runner").await?;
    cluster.create(Kind::Namespace, "", "annex-runner", json!({})).await?;
    cluster.create(Kind::ClusterDomainClaim, "", foreign, claim(false, "default")).await?;

    let kind = Kind::ClusterDomainClaim;
    answers.refused("deleting a foreign claim", remove(&controller, kind, "", foreign).await, CLAIMS);
    answers.refused("taking it", change(&controller, kind, "", foreign, managed()).await, CLAIMS);
    let answer = make(&controller, kind, "", another, claim(false, &ours)).await;
    answers.refused("a claim without the label", answer, CLAIMS);
    for namespace in ["default", "annex-system"] {
        let answer = make(&controller, kind, "", another, claim(true, namespace)).await;
        answers.refused(format!("a claim for {namespace}"), answer, CLAIMED_FOR);
    }
    answers.allowed("a claim", make(&controller, kind, "", another, claim(true, &ours)).await);
    answers.allowed("deleting its own", remove(&controller, kind, "", &host).await);

    let kind = Kind::DomainMapping;
    let answer = make(&controller, kind, "default", another, mapping()).await;
    answers.refused("a mapping elsewhere", answer, WITHIN);
    answers.allowed("deleting its mapping", remove(&controller, kind, &ours, &host).await);
    let answer = make(&controller, kind, "annex-runner", another, mapping()).await;
    answers.allowed("a mapping beside the shared runner", answer);

    let bound = json!({ "spec": { "hard": { "pods": "0" } } });
    let answer = make(&controller, Kind::ResourceQuota, "default", "kn-guard", bound).await;
    answers.refused("a quota elsewhere", answer, WITHIN);
    let pods = json!({ "automountServiceAccountToken": false });
    let answer = make(&controller, Kind::Service, "annex-runner", "runner", service(&pods)).await;
    answers.refused("a Knative Service beside the shared runner", answer, WITHIN);
    let answer = remove(&controller, Kind::Namespace, "", "annex-runner").await;
    answers.refused("deleting its namespace", answer, NAMESPACES);

    cluster.delete(Kind::Namespace, "", "annex-runner").await?;
    cluster.delete(Kind::ClusterDomainClaim, "", foreign).await?;
    answers.check();
    Ok(())
}

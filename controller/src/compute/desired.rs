//! What is to be on a cluster. Pure: names and options in, objects out.

use annex_apis::MANAGED_LABEL;
use annex_bundle_client::Policy;
use annex_core::HostName;
use jiff::Timestamp;
use kube_kcp::ClusterName;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    calls::audience,
    kind::{Kind, SERVING},
    options::{Options, RUNNER_CREDENTIALS},
    quantity::canonical,
};
use crate::store::Name;

/// On everything that Annex made on a cluster: the workspace that it is for.
pub(super) const CLUSTER_LABEL: &str = "annex.sh/cluster";
/// On everything that Annex made on a cluster: through which place. Two environments may open one cluster, and what was made through
/// one must not go when the other is left.
pub(super) const PLACE_LABEL: &str = "annex.sh/place";
/// On mappings and claims: the uid of the Install that they are for.
pub(super) const INSTALL_LABEL: &str = "annex.sh/install";
/// A digest of what was asked for. A field that a newer Annex no longer sets makes a difference nowhere else.
pub(super) const DESIRED_ANNOTATION: &str = "annex.sh/desired";
/// On a revision: how often Annex has had Knative try once more what had failed, and when that was last.
pub(super) const ATTEMPTS_ANNOTATION: &str = "annex.sh/attempts";
pub(super) const ATTEMPTED_AT_ANNOTATION: &str = "annex.sh/attempted-at";
/// The certificate of the domains, in each namespace that has mappings.
pub(super) const TLS_SECRET: &str = "annex-domain-tls";
/// The port on which a runner answers for domains.
const PUBLIC_PORT: u16 = 8080;
/// Where a runner has a disk to write to.
const CACHE_MOUNT: &str = "/var/cache/annex";
/// Folders below it: who can write to the mount itself is for Kubernetes to say, and a runner takes no folder that others may write to.
const CACHE_DIR: &str = "/var/cache/annex/bundles";
const CODE_CACHE_DIR: &str = "/var/cache/annex/code";
/// The port on which a runner executes, and answers about itself. No domain leads to it.
const INTERNAL_PORT: u16 = 8081;

/// For whom something is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner<'a> {
    /// The workspace.
    pub(super) cluster: &'a ClusterName,
    /// The place's own label.
    pub(super) place: &'a str,
}

/// An object as it is to be.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Desired {
    pub(super) kind: Kind,
    pub(super) name: Name,
    /// Labels, annotations and everything that is set; without status.
    pub(super) body: Value,
}

impl Desired {
    /// `body` holds what the kind has besides metadata.
    fn new(kind: Kind, name: Name, owner: Owner<'_>, body: Value) -> Self {
        let mut whole = json!({
            "kind": kind.name(),
            "metadata": {
                "name": name.name,
                "labels": { MANAGED_LABEL: "true", CLUSTER_LABEL: owner.cluster.as_str(), PLACE_LABEL: owner.place },
                "annotations": {},
            },
        });
        if !name.namespace.is_empty() {
            set(&mut whole, "/metadata", "namespace", json!(name.namespace));
        }
        if let (Some(whole), Value::Object(body)) = (whole.as_object_mut(), body) {
            whole.extend(body);
        }
        Self { kind, name, body: whole }
    }

    fn labelled(mut self, label: &str, value: &str) -> Self {
        set(&mut self.body, "/metadata/labels", label, json!(value));
        self
    }

    fn annotated(mut self, annotation: &str, value: &str) -> Self {
        set(&mut self.body, "/metadata/annotations", annotation, json!(value));
        self
    }

    /// Another revision of the same, as the so many-th attempt.
    pub(super) fn attempted(mut self, attempts: u32, at: Timestamp) -> Self {
        let annotations = "/spec/template/metadata/annotations";
        set(&mut self.body, annotations, ATTEMPTS_ANNOTATION, json!(attempts.to_string()));
        set(&mut self.body, annotations, ATTEMPTED_AT_ANNOTATION, json!(at.to_string()));
        self
    }

    fn sealed(mut self) -> Self {
        let digest: String =
            Sha256::digest(self.body.to_string()).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        set(&mut self.body, "/metadata/annotations", DESIRED_ANNOTATION, json!(digest));
        self
    }
}

fn set(value: &mut Value, at: &str, key: &str, to: Value) {
    if let Some(Value::Object(map)) = value.pointer_mut(at) {
        map.insert(key.to_owned(), to);
    }
}

/// The namespace of a workspace's runners. What runs in it is held to the restricted Pod Security Standard.
pub(super) fn namespace(owner: Owner<'_>, name: &str) -> Desired {
    Desired::new(Kind::Namespace, Name::global(name), owner, json!({}))
        .labelled("pod-security.kubernetes.io/enforce", "restricted")
        .sealed()
}

/// Bounds what a workspace can take of the cluster. By pods: Knative's sidecar asks for no memory, and a quota of memory refuses
/// whoever asks for none.
pub(super) fn quota(owner: Owner<'_>, namespace: &str, options: &Options) -> Desired {
    let pods = options.namespace_pods.to_string();
    let pods = canonical(&pods).unwrap_or(pods);
    let hard = json!({
        "pods": pods,
        "count/persistentvolumeclaims": "0",
        "services.loadbalancers": "0",
        "services.nodeports": "0",
    });
    let name = Name::within(namespace, "annex");
    Desired::new(Kind::ResourceQuota, name, owner, json!({ "spec": { "hard": hard } })).sealed()
}

/// Who reaches the runners, and whom they reach.
pub(super) fn network_policy(owner: Owner<'_>, namespace: &str, options: &Options) -> Desired {
    let from = json!([{ "namespaceSelector": { "matchExpressions": [
        { "key": "kubernetes.io/metadata.name", "operator": "In", "values": options.ingress_namespaces }
    ] } }]);
    let blocked = |v6: bool| -> Vec<&String> {
        options.egress_blocked.iter().filter(|network| network.contains(':') == v6).collect()
    };
    let everywhere = |cidr: &str, except: Vec<&String>| {
        let mut block = json!({ "cidr": cidr });
        // The API server leaves an empty list out, and what it left out would look like drift.
        if !except.is_empty() {
            set(&mut block, "", "except", json!(except));
        }
        json!({ "ipBlock": block })
    };
    let to = [everywhere("0.0.0.0/0", blocked(false)), everywhere("::/0", blocked(true))];
    let dns = json!([{ "port": 53, "protocol": "UDP" }, { "port": 53, "protocol": "TCP" }]);
    let spec = json!({
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{ "from": from }],
        "egress": [
            { "to": [{ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "kube-system" } } }], "ports": dns },
            // Knative's activator and autoscaler ask the sidecar; nothing asks them.
            { "to": to },
        ],
    });
    let name = Name::within(namespace, "annex");
    Desired::new(Kind::NetworkPolicy, name, owner, json!({ "spec": spec })).sealed()
}

/// What a workspace's Knative Services are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Services {
    pub(super) namespace: String,
    /// Answers for the domains.
    pub(super) runner: String,
    /// Executes; no domain leads to it.
    pub(super) exec: String,
}

/// The Knative Service that answers for the domains.
pub(super) fn runner(owner: Owner<'_>, services: &Services, options: &Options) -> Desired {
    let mut env = verifying(options);
    env.extend(options.calls.gateway.iter().map(|url| variable("EXT_GATEWAY_URL", url)));
    let pod = Pod { port: PUBLIC_PORT, probe: "/healthz", env, memory: &options.memory };
    service(owner, &services.namespace, &services.runner, pod, options)
}

/// What a runner has bundles by, and where it keeps them.
fn verifying(options: &Options) -> Vec<Value> {
    let Some(policy) = &options.policy else { return Vec::new() };
    // As text: nothing of the platform's is mounted into a tenant's namespace. A change makes a new revision, and with it new pods.
    let mut env = policy_env(policy);
    env.push(variable("EXT_CACHE_DIR", CACHE_DIR));
    env
}

/// What a runner judges bundles by. Where variables cannot hold it the runner shows no pages and still starts (`verify::notes`).
fn policy_env(policy: &Policy) -> Vec<Value> {
    let texts = policy.now().environment().unwrap_or_default();
    texts.iter().map(|(name, text)| variable(name, text)).collect()
}

fn variable(name: &str, value: &str) -> Value {
    json!({ "name": name, "value": value })
}

/// The Knative Service that executes. One of its own, because Knative serves one port of a pod, and what executes must not be
/// reachable through a domain.
pub(super) fn exec(owner: Owner<'_>, services: &Services, options: &Options) -> Desired {
    let mut env = verifying(options);
    env.push(variable("EXT_CODE_CACHE_DIR", CODE_CACHE_DIR));
    let keys = audience(&services.namespace).and_then(|own| Some((options.calls.keys_for(&own)?, own)));
    if let Some((keys, own)) = keys {
        // Readable to whoever can read the pods: they are good for this workspace's calls and no others.
        env.push(variable("EXT_GRANT_KEYS", &keys));
        env.push(variable("RUNNER_AUDIENCE", own.as_str()));
        env.extend(options.calls.broker.iter().map(|url| variable("EXT_BROKER_URL", url)));
        // Beside the NetworkPolicy, which a cluster need not enforce.
        env.push(variable("EXT_EGRESS_BLOCKED", &options.egress_blocked.join(",")));
    }
    let pod = Pod { port: INTERNAL_PORT, probe: "/readyz", env, memory: &options.exec_memory };
    service(owner, &services.namespace, &services.exec, pod, options)
}

/// In what the two differ.
struct Pod<'a> {
    port: u16,
    probe: &'static str,
    env: Vec<Value>,
    /// What it asks for, and what it may have.
    memory: &'a (String, String),
}

fn service(owner: Owner<'_>, namespace: &str, name: &str, pod: Pod<'_>, options: &Options) -> Desired {
    let listen = |port: u16| format!("0.0.0.0:{port}");
    let mut env = vec![
        variable("RUNNER_LISTEN", &listen(PUBLIC_PORT)),
        variable("RUNNER_INTERNAL_LISTEN", &listen(INTERNAL_PORT)),
        variable("REGISTRY_BASE_URL", &options.registry_url),
        variable("ANNEX_LOG_FORMAT", "json"),
    ];
    env.extend(pod.env);
    let tokens = options.runner_tokens.as_ref().map(|tokens| tokens.get());
    if let Some(token) = tokens.and_then(|tokens| tokens.of_workspace(owner.cluster.as_str())) {
        // Readable to whoever can read the runners' pods: it is good for this workspace's own hosts and no others.
        env.push(variable("REGISTRY_TOKEN", &token));
    }
    env.extend(options.settings.iter().map(|(name, value)| variable(name, value)));
    if let Some(secret) = &options.credentials {
        // Not optional: a runner without them would start, and fail at the first who asks for something.
        env.extend(RUNNER_CREDENTIALS.iter().map(
            |name| json!({ "name": name, "valueFrom": { "secretKeyRef": { "name": secret, "key": name } } }),
        ));
    }
    let container = json!({
        "name": "runner",
        "image": options.image,
        "env": env,
        "ports": [{ "containerPort": pod.port }],
        "readinessProbe": { "httpGet": { "path": pod.probe } },
        "resources": {
            "requests": { "cpu": options.cpu.0, "memory": pod.memory.0 },
            "limits": { "cpu": options.cpu.1, "memory": pod.memory.1 },
        },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "volumeMounts": [{ "name": "cache", "mountPath": CACHE_MOUNT }],
    });
    // All of it to the latest: a revision that was pinned by hand would outlive every upgrade.
    let traffic = json!([{ "latestRevision": true, "percent": 100 }]);
    let spec = json!({ "traffic": traffic, "template": {
        "metadata": { "annotations": {
            "autoscaling.knative.dev/min-scale": options.min_scale.to_string(),
            "autoscaling.knative.dev/max-scale": options.max_scale.to_string(),
            "serving.knative.dev/progress-deadline": format!("{}s", options.progress_deadline_seconds),
            // The activator holds requests only while no runner is there. Kept in the way of every request, it fails those of a
            // revision whose endpoints it saw before the revision itself, for as long as they stay the same: so after each outage of
            // the API server (seen with Knative Serving 1.21).
            "autoscaling.knative.dev/target-burst-capacity": "0",
        } },
        "spec": {
            // A guest in the pod finds no token of the cluster.
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "timeoutSeconds": options.timeout_seconds,
            "containers": [container],
            // The runner itself bounds what it keeps there (EXT_CACHE_MAX_BYTES, EXT_CODE_CACHE_MAX_BYTES), and whoever passes a limit of
            // the volume is evicted.
            "volumes": [{ "name": "cache", "emptyDir": {} }],
        },
    } });
    Desired::new(Kind::Service, Name::within(namespace, name), owner, json!({ "spec": spec }))
        // Neither has an address of its own outside: the domains lead to the runner, and nothing leads to the other.
        .labelled("networking.knative.dev/visibility", "cluster-local")
        .sealed()
}

/// A copy of the domains' certificate: a mapping names a Secret of its own namespace.
pub(super) fn certificate(owner: Owner<'_>, namespace: &str, source: &Value) -> Desired {
    let of =
        |key: &str| source.pointer(&format!("/data/{}", key.replace('/', "~1"))).cloned().unwrap_or_default();
    let data = json!({ "tls.crt": of("tls.crt"), "tls.key": of("tls.key") });
    let name = Name::within(namespace, TLS_SECRET);
    Desired::new(Kind::Secret, name, owner, json!({ "type": "kubernetes.io/tls", "data": data })).sealed()
}

/// Says to Knative that only `namespace` may map `host`.
pub(super) fn claim(owner: Owner<'_>, host: &HostName, namespace: &str, install: &str) -> Desired {
    let name = Name::global(host.as_str());
    Desired::new(Kind::ClusterDomainClaim, name, owner, json!({ "spec": { "namespace": namespace } }))
        .labelled(INSTALL_LABEL, install)
        .sealed()
}

/// The claim as a person would apply it, on one line.
pub(super) fn claim_to_apply(host: &HostName, namespace: &str) -> String {
    json!({
        "apiVersion": "networking.internal.knative.dev/v1alpha1",
        "kind": "ClusterDomainClaim",
        "metadata": { "name": host.as_str() },
        "spec": { "namespace": namespace },
    })
    .to_string()
}

/// Leads `host` to the Knative Service. `tls`: the Secret with the certificate.
pub(super) fn mapping(
    owner: Owner<'_>,
    host: &HostName,
    namespace: &str,
    kservice: &str,
    install: &str,
    tls: Option<&str>,
) -> Desired {
    // With a certificate, what is asked for in the clear is sent where it is not. Without one there is nothing to send it to.
    let protocol = if tls.is_some() { "redirected" } else { "enabled" };
    let mut spec = Map::new();
    let reference = json!({ "apiVersion": format!("{SERVING}/v1"), "kind": "Service", "name": kservice });
    spec.insert("ref".to_owned(), reference);
    if let Some(secret) = tls {
        spec.insert("tls".to_owned(), json!({ "secretName": secret }));
    }
    let name = Name::within(namespace, host.as_str());
    Desired::new(Kind::DomainMapping, name, owner, json!({ "spec": spec }))
        .labelled(INSTALL_LABEL, install)
        .annotated("networking.knative.dev/http-protocol", protocol)
        .sealed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::calls::Calls;

    fn options() -> Options {
        Options {
            image: "registry.example.com/annex-runner:1".into(),
            registry_url: "http://registry.annex-system:8091".into(),
            runner_tokens: None,
            policy: None,
            settings: vec![("EXT_EGRESS_ALLOWLIST".into(), "api.example.com".into())],
            credentials: None,
            calls: Calls::default(),
            min_scale: 0,
            max_scale: 5,
            cpu: ("10m".into(), "1".into()),
            memory: ("32Mi".into(), "256Mi".into()),
            exec_memory: ("32Mi".into(), "1Gi".into()),
            timeout_seconds: 30,
            progress_deadline_seconds: 120,
            namespace_pods: 20,
            ingress_namespaces: vec!["knative-serving".into()],
            egress_blocked: vec!["169.254.0.0/16".into()],
        }
    }

    fn owner() -> Owner<'static> {
        static CLUSTER: std::sync::LazyLock<ClusterName> =
            std::sync::LazyLock::new(|| "1s8uv2zt5c3nc1hy".parse().unwrap());
        Owner { cluster: &CLUSTER, place: "platform" }
    }

    fn services() -> Services {
        Services { namespace: "annex-1s8uv2zt5c3nc1hy".into(), runner: "runner".into(), exec: "exec".into() }
    }

    #[test]
    fn what_executes_listens_on_another_port_than_what_a_domain_leads_to() {
        let (runner, exec) =
            (runner(owner(), &services(), &options()), exec(owner(), &services(), &options()));
        let port = |desired: &Desired| {
            desired.body.pointer("/spec/template/spec/containers/0/ports/0/containerPort").cloned()
        };
        assert_eq!((port(&runner), port(&exec)), (Some(json!(8080)), Some(json!(8081))));
        for desired in [&runner, &exec] {
            let labels = &desired.body["metadata"]["labels"];
            assert_eq!(labels["networking.knative.dev/visibility"], "cluster-local");
            assert_eq!(labels[CLUSTER_LABEL], "1s8uv2zt5c3nc1hy");
            assert_eq!(desired.body["spec"]["template"]["spec"]["automountServiceAccountToken"], false);
        }
    }

    #[test]
    fn a_thousand_pods_are_asked_for_as_they_will_be_stored() {
        let quota = quota(owner(), "n", &Options { namespace_pods: 1000, ..options() });
        assert_eq!(quota.body["spec"]["hard"]["pods"], "1k");
    }

    #[test]
    fn the_seal_changes_with_what_is_asked_for() {
        let seal = |options: &Options| {
            runner(owner(), &services(), options).body["metadata"]["annotations"][DESIRED_ANNOTATION].clone()
        };
        let without = Options { settings: Vec::new(), ..options() };
        assert_ne!(seal(&options()), seal(&without));
        assert_eq!(seal(&options()), seal(&options()));
    }

    #[test]
    fn a_runner_has_settings_in_the_open_and_credentials_out_of_a_secret() {
        let options = Options { credentials: Some("annex-runner-credentials".into()), ..options() };
        for desired in [runner(owner(), &services(), &options), exec(owner(), &services(), &options)] {
            let env =
                desired.body.pointer("/spec/template/spec/containers/0/env").unwrap().as_array().unwrap();
            let of = |name: &str| env.iter().find(|variable| variable["name"] == name).unwrap();
            assert_eq!(of("EXT_EGRESS_ALLOWLIST")["value"], "api.example.com");
            for name in ["S3_ACCESS_KEY", "S3_SECRET_KEY"] {
                let source = json!({ "secretKeyRef": { "name": "annex-runner-credentials", "key": name } });
                assert_eq!(of(name), &json!({ "name": name, "valueFrom": source }));
            }
        }
    }

    /// The policy of somebody who trusts a key.
    fn policy(trust: &str) -> Policy {
        #[derive(clap::Parser)]
        struct Args {
            #[command(flatten)]
            policy: annex_bundle_client::PolicyArgs,
        }
        let key = annex_bundle::SigningKey::generate(annex_bundle::KeyType::Ed25519).unwrap();
        let pem = format!("# annex-publisher: {trust}\n{}", key.public_key().to_pem());
        let given = ["x", "--trust-bundle-text", &pem, "--registry-keys-text", r#"{"keys":[]}"#];
        let args = <Args as clap::Parser>::try_parse_from(given).ok().unwrap();
        args.policy.load(annex_bundle::Limits::default()).unwrap()
    }

    #[test]
    fn what_answers_for_the_domains_and_what_executes_can_verify_and_have_a_disk_for_it() {
        let options = Options { policy: Some(policy("example.com")), ..options() };
        let of =
            |desired: &Desired, at: &str| desired.body.pointer(&format!("/spec/template/spec{at}")).cloned();
        let names = |desired: &Desired| -> Vec<String> {
            let env = of(desired, "/containers/0/env").unwrap();
            env.as_array()
                .unwrap()
                .iter()
                .map(|variable| variable["name"].as_str().unwrap().to_owned())
                .collect()
        };
        let given = ["SIGNING_TRUST_BUNDLE_TEXT", "REGISTRY_KEYS_TEXT", "EXT_CACHE_DIR"];
        for desired in [runner(owner(), &services(), &options), exec(owner(), &services(), &options)] {
            for name in given {
                assert!(names(&desired).iter().any(|is| is == name), "{name}");
            }
            let mounts = json!([{ "name": "cache", "mountPath": CACHE_MOUNT }]);
            assert_eq!(of(&desired, "/containers/0/volumeMounts"), Some(mounts));
            assert_eq!(of(&desired, "/volumes"), Some(json!([{ "name": "cache", "emptyDir": {} }])));
        }
        for folder in [CACHE_DIR, CODE_CACHE_DIR] {
            assert!(folder.strip_prefix(CACHE_MOUNT).is_some_and(|below| below.len() > 1));
        }
    }

    #[test]
    fn only_what_executes_verifies_grants_and_only_pages_call_the_gateway() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("k1"), "a secret of the tests that is long enough").unwrap();
        #[derive(clap::Parser)]
        struct Args {
            #[command(flatten)]
            calls: crate::compute::calls::CallArgs,
        }
        let folder = folder.path().to_str().unwrap();
        let gateway = "http://gateway.annex-system.svc:8096";
        let broker = "http://broker.annex-system.svc:8098";
        let given =
            ["x", "--grant-keys", folder, "--runner-gateway-url", gateway, "--runner-broker-url", broker];
        let calls = <Args as clap::Parser>::try_parse_from(given).ok().unwrap().calls.calls().unwrap();
        let options = Options { calls, ..options() };
        let value = |desired: &Desired, name: &str| -> Option<String> {
            let env =
                desired.body.pointer("/spec/template/spec/containers/0/env").unwrap().as_array().unwrap();
            let variable = env.iter().find(|variable| variable["name"] == name)?;
            variable["value"].as_str().map(str::to_owned)
        };
        let (runner, exec) = (runner(owner(), &services(), &options), exec(owner(), &services(), &options));
        assert_eq!(
            value(&runner, "EXT_GATEWAY_URL").as_deref(),
            Some("http://gateway.annex-system.svc:8096/")
        );
        assert_eq!(value(&exec, "EXT_BROKER_URL").as_deref(), Some("http://broker.annex-system.svc:8098/"));
        let audience = "annex-1s8uv2zt5c3nc1hy/exec";
        assert_eq!(value(&exec, "RUNNER_AUDIENCE").as_deref(), Some(audience));
        assert!(value(&exec, "EXT_GRANT_KEYS").unwrap().starts_with(&format!("k1=aud.{audience}.")));
        for name in ["EXT_GRANT_KEYS", "RUNNER_AUDIENCE", "EXT_BROKER_URL"] {
            assert_eq!(value(&runner, name), None, "{name}");
        }
        assert_eq!(value(&exec, "EXT_GATEWAY_URL"), None);
        // Whoever owns another cluster reads everything of a pod.
        let elsewhere = super::exec(owner(), &services(), &options.elsewhere());
        for name in ["EXT_GRANT_KEYS", "RUNNER_AUDIENCE", "EXT_BROKER_URL"] {
            assert_eq!(value(&elsewhere, name), None, "{name}");
        }
    }

    #[test]
    fn a_change_of_the_policy_makes_new_pods() {
        let with = |policy: Policy| {
            let options = Options { policy: Some(policy), ..options() };
            runner(owner(), &services(), &options).body["metadata"]["annotations"][DESIRED_ANNOTATION].clone()
        };
        let one = policy("example.com");
        assert_eq!(with(one.clone()), with(one.clone()));
        assert_ne!(with(one), with(policy("example.org")));
    }

    #[test]
    fn the_manifest_that_a_person_is_given_is_the_claim() {
        let host: HostName = "a--b.apps.example.com".parse().unwrap();
        let shown: Value = serde_json::from_str(&claim_to_apply(&host, "ns")).unwrap();
        let made = claim(owner(), &host, "ns", "uid").body;
        assert_eq!((&shown["metadata"]["name"], &shown["spec"]), (&made["metadata"]["name"], &made["spec"]));
    }

    #[test]
    fn a_block_without_exceptions_has_no_empty_list() {
        let policy = network_policy(owner(), "ns", &options());
        let to = &policy.body["spec"]["egress"][1]["to"];
        assert_eq!(to[0]["ipBlock"]["except"], json!(["169.254.0.0/16"]));
        assert!(to[1]["ipBlock"].get("except").is_none());
    }
}

//! The services as an operator runs them: pods of the cluster, made of `manifests/compute`.

use std::{collections::BTreeMap, fs, time::Duration};

use annex_e2e::{Cluster, Kind, World, until};
use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use kube::{
    ResourceExt as _,
    api::{DeleteParams, ListParams},
    core::DynamicObject,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tokio::task::block_in_place;
use xtask::Part;

use crate::{
    environment::{alone, hello, namespace, tenant_on, uninstall_everything},
    overlay::{Overlay, apply, manifests},
};

const SYSTEM: &str = "annex-system";
const OURS: &str = "app.kubernetes.io/part-of=annex";
/// What an overlay makes that this machine's services have no use for. Rights and identities stay.
const MADE: &str = "deployments,services,poddisruptionbudgets,networkpolicies,configmaps";
/// Where the runner of direct mode is reached from this machine: it has no ingress here.
const NODE_PORT: u16 = 30_081;

/// The services run as pods, and not on this machine, as long as this lives.
struct Deployed(&'static World);

impl Deployed {
    /// Gives the pods what an operator gives them beside the overlay, and stops the services of this machine.
    fn begin(world: &'static World) -> anyhow::Result<Self> {
        let (stack, kubectl) = (&world.stack, world.stack.compute_admin());
        let deployed = Self(world);
        block_in_place(|| {
            stack.stop(Part::Controller)?;
            stack.stop(Part::Initializer)?;
            stack.stop(Part::Gateway)?;
            stack.stop(Part::Registry)?;
            let file = |key: &str, path: std::path::PathBuf| format!("--from-file={key}={}", path.display());
            for part in [Part::Controller, Part::Gateway, Part::Initializer, Part::Registry] {
                let (name, file) =
                    (format!("annex-{part}-kcp"), file("kubeconfig", stack.paths().service_kubeconfig(part)));
                kubectl.run(&["-n", SYSTEM, "create", "secret", "generic", &name, &file])?;
            }
            let paths = stack.paths();
            let signing = [
                file("trust.pem", paths.trust_bundle()),
                file("denylist", paths.denylist()),
                file("registry-keys.json", paths.registry_keys()),
            ];
            for (name, files) in [
                ("annex-signing", &signing[..]),
                ("annex-registry-key", &[file("registry.key", paths.registry_key())]),
                ("annex-runner-tokens", &[file("tokens", paths.runner_tokens())]),
                ("annex-grant-keys", &[file("dev", paths.grant_keys().join("dev"))]),
            ] {
                let files = files.iter().map(String::as_str);
                let args: Vec<&str> =
                    ["-n", SYSTEM, "create", "secret", "generic", name].into_iter().chain(files).collect();
                kubectl.run(&args)?;
            }
            let file = file("ca.crt", stack.paths().kcp_ca());
            kubectl.run(&["-n", SYSTEM, "create", "configmap", "annex-tenant-ca", &file])?;
            anyhow::Ok(())
        })?;
        Ok(deployed)
    }

    /// Applies an overlay and returns once all that it deploys is there.
    fn roll_out(&self, rendered: &str, deployments: &[&str]) -> anyhow::Result<()> {
        let kubectl = self.0.stack.compute_admin();
        block_in_place(|| {
            apply(&kubectl, rendered, false)?;
            deployments.iter().try_for_each(|name| {
                let name = format!("deployment/annex-{name}");
                let status = ["-n", SYSTEM, "rollout", "status", &name, "--timeout=180s"];
                kubectl.run(&status).map(drop).with_context(|| self.logs(&name))
            })
        })
    }

    fn logs(&self, deployment: &str) -> String {
        let kubectl = self.0.stack.compute_admin();
        let told = ["-n", SYSTEM, "logs", deployment, "--all-pods", "--tail=20"];
        let pods = ["-n", SYSTEM, "describe", "pods", "-l", OURS];
        let said = [&told[..], &pods].map(|args| kubectl.run(args).unwrap_or_else(|error| error.to_string()));
        said.join("\n")
    }
}

impl Drop for Deployed {
    fn drop(&mut self) {
        let (stack, kubectl) = (&self.0.stack, self.0.stack.compute_admin());
        let given_back = block_in_place(|| {
            kubectl.run(&["-n", SYSTEM, "delete", MADE, "-l", OURS])?;
            // Two controllers would each decide alone who holds a host.
            kubectl.run(&["-n", SYSTEM, "wait", "pods", "-l", OURS, "--for=delete", "--timeout=180s"])?;
            let secrets = [
                "controller-kcp",
                "gateway-kcp",
                "grant-keys",
                "initializer-kcp",
                "registry-kcp",
                "signing",
                "registry-key",
                "runner-tokens",
                "controller-tls",
                "initializer-tls",
                "registry-tls",
                "runner-tls",
            ];
            let secrets = secrets.map(|name| format!("secret/annex-{name}"));
            let mut delete = vec!["-n", SYSTEM, "delete", "--ignore-not-found", "configmap/annex-tenant-ca"];
            delete.extend(secrets.iter().map(String::as_str));
            kubectl.run(&delete)?;
            stack.start(Part::Registry)?;
            stack.start(Part::Gateway)?;
            stack.start(Part::Controller)?;
            stack.start(Part::Initializer)
        });
        assert!(given_back.is_ok() || std::thread::panicking(), "{given_back:?}");
    }
}

/// What an operator has to say in every mode.
fn settings(world: &World) -> Vec<(&'static str, String)> {
    vec![
        ("ANNEX_TENANT_SERVER", world.stack.ops_url(Part::Kcp)),
        ("ANNEX_TENANT_CA_FILE", "/etc/annex/tenant-ca/ca.crt".to_owned()),
        ("EXT_DOMAIN_ROOT", world.stack.settings().domain_root.clone()),
        // Nothing is published here: each replica may have a store of its own.
        ("BUNDLE_STORE_BASE", "/var/lib/annex/bundles".to_owned()),
        // The sample extension has no publisher who could sign it.
        ("ANNEX_ALLOW_UNSIGNED", "true".to_owned()),
    ]
}

fn knative(world: &World) -> anyhow::Result<Vec<(&'static str, String)>> {
    let image = world.stack.runner_image().context("an image of the runner")?;
    let more = [
        ("EXT_DOMAIN_PORT", world.stack.settings().runner_port.to_string()),
        ("RUNNER_IMAGE", image.to_owned()),
        ("KNATIVE_AUTO_CREATE_CDC", "true".to_owned()),
        ("RUNNER_BASE_URL", "http://kourier.kourier-system.svc".to_owned()),
        ("RUNNER_TIMEOUT_SECONDS", "5".to_owned()),
    ];
    Ok([settings(world), more.to_vec()].concat())
}

/// The pods of one of the services.
async fn pods(cluster: &Cluster, service: &str) -> anyhow::Result<Vec<DynamicObject>> {
    let selector = ListParams::default().labels(&format!("app.kubernetes.io/name=annex-{service}"));
    let pods = cluster.api(Kind::Pod, SYSTEM).list(&selector).await?.items;
    Ok(pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect())
}

/// Whether a pod's probes all say that it is well, and have never said otherwise.
fn is_well(pod: &DynamicObject) -> bool {
    let containers = pod.data.pointer("/status/containerStatuses").and_then(Value::as_array);
    containers.is_some_and(|all| {
        all.iter().all(|one| one["ready"] == true && one["started"] == true && one["restartCount"] == 0)
    })
}

/// As many pods as are asked for, all well, under the account that the manifests give them and with its token only where they say.
async fn assert_pods(
    cluster: &Cluster,
    service: &str,
    count: usize,
    account: &str,
    token: bool,
) -> anyhow::Result<()> {
    let found = pods(cluster, service).await?;
    assert_eq!(found.len(), count, "{service}");
    for pod in found {
        let (name, spec) = (pod.name_any(), &pod.data["spec"]);
        assert!(is_well(&pod), "{name}: {}", pod.data["status"]);
        assert_eq!(spec["serviceAccountName"], account, "{name}");
        let mounted = spec["volumes"]
            .as_array()
            .expect("volumes")
            .iter()
            .any(|volume| volume.pointer("/projected/sources/0/serviceAccountToken").is_some());
        assert_eq!(mounted, token, "{name}");
    }
    Ok(())
}

/// The budget lets `allowed` pods go, and as many run as it wants.
async fn assert_budget(cluster: &Cluster, service: &str, allowed: u64) -> anyhow::Result<()> {
    let name = format!("annex-{service}");
    cluster
        .when(Kind::PodDisruptionBudget, SYSTEM, &name, "is met", |budget| {
            let status = |field: &str| budget.data["status"][field].as_u64();
            status("disruptionsAllowed") == Some(allowed)
                && status("currentHealthy") >= status("desiredHealthy")
        })
        .await?;
    Ok(())
}

/// Each policy selects pods that are there: one that is misspelt would leave a listener open.
async fn assert_policies(cluster: &Cluster, expected: &[&str]) -> anyhow::Result<()> {
    let policies = cluster.api(Kind::NetworkPolicy, SYSTEM).list(&ListParams::default().labels(OURS)).await?;
    let names: Vec<String> = policies.iter().map(|policy| policy.name_any()).collect();
    assert_eq!(names, expected);
    for policy in policies {
        let labels = policy.data.pointer("/spec/podSelector/matchLabels").and_then(Value::as_object);
        let labels = labels.into_iter().flatten();
        let selector: Vec<String> =
            labels.map(|(key, value)| format!("{key}={}", value.as_str().expect("a label"))).collect();
        let selector = ListParams::default().labels(&selector.join(","));
        let pods = cluster.api(Kind::Pod, SYSTEM).list(&selector).await?.items;
        assert!(!pods.is_empty(), "{} selects no pod", policy.name_any());
        for rule in policy.data["spec"]["ingress"].as_array().into_iter().flatten() {
            for port in rule["ports"].as_array().into_iter().flatten() {
                let has = |pod: &DynamicObject| {
                    let ports = pod.data.pointer("/spec/containers/0/ports").and_then(Value::as_array);
                    ports.is_some_and(|ports| ports.iter().any(|open| open["name"] == port["port"]))
                };
                assert!(pods.iter().all(has), "{}: no port {}", policy.name_any(), port["port"]);
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_install_gets_ready_where_the_services_are_pods_under_their_own_identities() -> anyhow::Result<()>
{
    let (world, cluster, _turn) = alone().await?;
    uninstall_everything(world).await?;
    let images = block_in_place(|| world.stack.provide_images())?;
    let kubectl = world.stack.compute_admin();
    let deployed = Deployed::begin(world)?;
    let rendered =
        block_in_place(|| Overlay::new(&["gateway"], &images, &knative(world)?)?.render(&kubectl))?;
    deployed.roll_out(&rendered, &["registry", "controller", "initializer", "gateway"])?;

    let level = cluster.get(Kind::Namespace, "", SYSTEM).await?.context("the namespace")?;
    assert_eq!(level.labels()["pod-security.kubernetes.io/enforce"], "restricted");
    assert_pods(&cluster, "controller", 2, "annex-controller", true).await?;
    assert_pods(&cluster, "initializer", 2, "default", false).await?;
    assert_pods(&cluster, "gateway", 2, "annex-gateway", false).await?;
    assert_policies(&cluster, &["annex-gateway", "annex-nobody-else", "annex-operations", "annex-registry"])
        .await?;
    assert_budget(&cluster, "controller", 1).await?;
    assert_budget(&cluster, "initializer", 1).await?;

    let (workspace, host) = hello(world, "alice", "kn-pods").await?;
    assert_eq!(tenant_on(world, &host).await?, workspace.cluster.to_string());
    let runner = cluster.get(Kind::Service, &namespace(&workspace), "runner").await?.context("a runner")?;
    let author = runner.annotations().get("serving.knative.dev/creator").cloned();
    assert_eq!(author.as_deref(), Some("system:serviceaccount:annex-system:annex-controller"));
    let env = &runner.data["spec"]["template"]["spec"]["containers"][0]["env"];
    let registry =
        json!({ "name": "REGISTRY_BASE_URL", "value": "http://annex-registry.annex-system.svc:8091" });
    assert!(env.as_array().is_some_and(|env| env.contains(&registry)), "{env}");
    let exec = cluster.get(Kind::Service, &namespace(&workspace), "exec").await?.context("what executes")?;
    let env =
        exec.data["spec"]["template"]["spec"]["containers"][0]["env"].as_array().context("variables")?;
    let has = |name: &str| env.iter().any(|variable| variable["name"] == name);
    assert!(has("EXT_GRANT_KEYS") && has("EXT_BROKER_URL"), "it takes the gateway's calls");
    let controller = pods(&cluster, "controller").await?[0].name_any();
    let ready = format!("/api/v1/namespaces/{SYSTEM}/pods/{controller}:8090/proxy/readyz");
    let ready = block_in_place(|| kubectl.run(&["get", "--raw", &ready]))?;
    assert!(ready.starts_with("ok\n") && ready.contains("compute cluster: answers"), "{ready}");

    // Of two initializers one may go, and then no other until it is back.
    let initializers = pods(&cluster, "initializer").await?;
    let evict = |pod: &DynamicObject| {
        let name = pod.name_any();
        let eviction = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": name, "namespace": SYSTEM } });
        let path = format!("/api/v1/namespaces/{SYSTEM}/pods/{name}/eviction");
        block_in_place(|| {
            kubectl.run_with_input(&["create", "--raw", &path, "-f", "-"], &eviction.to_string())
        })
    };
    evict(&initializers[0])?;
    let refused = evict(&initializers[1]).expect_err("the last one stays").to_string();
    assert!(refused.contains("disruption budget"), "{refused}");
    assert_budget(&cluster, "initializer", 1).await?;

    // Who is uninstalled leaves as little behind as ever.
    workspace.installs().delete("hello", &DeleteParams::default()).await?;
    cluster.gone(Kind::Namespace, "", &namespace(&workspace)).await?;
    drop(deployed);
    let (again, host) = hello(world, "alice", "kn-pods-after").await?;
    assert_eq!(tenant_on(world, &host).await?, again.cluster.to_string());
    Ok(())
}

/// `tls.crt`, `tls.key` and `ca.crt` in a Secret for each service, as cert-manager writes them. Returns the authority.
async fn certificates(cluster: &Cluster, root: &str) -> anyhow::Result<String> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    for (service, more) in [
        ("controller", None),
        ("initializer", None),
        ("registry", None),
        ("runner", Some(format!("*.{root}"))),
    ] {
        let names: Vec<String> = more.into_iter().chain([format!("annex-{service}.{SYSTEM}.svc")]).collect();
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(names)?.signed_by(&key, &authority)?;
        let data =
            [("tls.crt", certificate.pem()), ("tls.key", key.serialize_pem()), ("ca.crt", authority.pem())];
        let data: BTreeMap<_, _> = data.into_iter().map(|(name, pem)| (name, STANDARD.encode(pem))).collect();
        let secret = json!({ "type": "kubernetes.io/tls", "data": data });
        cluster.create(Kind::Secret, SYSTEM, &format!("annex-{service}-tls"), secret).await?;
    }
    Ok(authority.pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_install_gets_ready_where_everything_is_pods_in_direct_mode_under_tls() -> anyhow::Result<()> {
    let (world, cluster, _turn) = alone().await?;
    uninstall_everything(world).await?;
    let images = block_in_place(|| world.stack.provide_images())?;
    let kubectl = world.stack.compute_admin();
    let root = world.stack.settings().domain_root.clone();
    let deployed = Deployed::begin(world)?;
    let authority = certificates(&cluster, &root).await?;
    let more = [("EXT_DOMAIN_SCHEME", "https".to_owned()), ("EXT_DOMAIN_PORT", NODE_PORT.to_string())];
    let overlay =
        Overlay::new(&["direct", "tls", "direct-tls"], &images, &[settings(world), more.to_vec()].concat())?;
    let rendered = block_in_place(|| overlay.render(&kubectl))?;
    deployed.roll_out(&rendered, &["registry", "controller", "initializer", "runner"])?;
    // In place of an ingress of the operator's.
    let exposed =
        json!({ "spec": { "type": "NodePort", "ports": [{ "port": 443, "nodePort": NODE_PORT }] } });
    block_in_place(|| {
        kubectl.run(&["-n", SYSTEM, "patch", "service", "annex-runner", "--patch", &exposed.to_string()])
    })?;

    assert_pods(&cluster, "controller", 2, "annex-controller", false).await?;
    assert_pods(&cluster, "initializer", 2, "default", false).await?;
    assert_pods(&cluster, "runner", 2, "default", false).await?;
    let policies = ["annex-nobody-else", "annex-operations", "annex-registry", "annex-runner-public"];
    assert_policies(&cluster, &policies).await?;
    assert_budget(&cluster, "runner", 1).await?;

    let (workspace, host) = hello(world, "bob", "kn-pods-direct").await?;
    let url = workspace.installs().get("hello").await?.status.expect("a status").url.expect("a URL");
    assert_eq!(url, format!("https://{host}:{NODE_PORT}/"));
    let (node, _) = world.stack.compute()?.ingress_http();
    let browser = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([reqwest::Certificate::from_pem(authority.as_bytes())?])
        .resolve(&host, (node.parse::<std::net::Ipv4Addr>()?, 0).into())
        .timeout(Duration::from_secs(10))
        .build()?;
    let answer = until(&format!("{url} answers"), || async {
        let Ok(answer) = browser.get(&url).send().await else { return Ok(None) };
        let status = answer.status().as_u16();
        Ok((status == 200).then_some(answer.json::<Value>().await?))
    })
    .await?;
    assert_eq!(answer["tenant_id"], json!(workspace.cluster.to_string()));
    let nothing = cluster.made_for(Kind::DomainMapping, workspace.cluster.as_str()).await?;
    assert!(nothing.is_empty(), "nothing of Knative: {nothing:?}");

    workspace.installs().delete("hello", &DeleteParams::default()).await?;
    workspace.gone("hello").await?;
    drop(deployed);
    let (again, host) = hello(world, "bob", "kn-pods-direct-after").await?;
    assert_eq!(tenant_on(world, &host).await?, again.cluster.to_string());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_takes_every_variant_of_the_manifests() -> anyhow::Result<()> {
    let (world, cluster, _turn) = alone().await?;
    let kubectl = world.stack.compute_admin();
    let names = ["annex-controller", "annex-gateway", "annex-initializer", "annex-registry", "annex-runner"];
    let images = names.map(|name| (name, format!("registry.example.com/annex/{name}:0.1.0"))).into();
    // A dry run makes nothing, and what has a namespace needs it.
    cluster.gone(Kind::Namespace, "", "annex-runner").await?;
    cluster.create(Kind::Namespace, "", "annex-runner", json!({})).await?;
    let outcome = block_in_place(|| {
        for components in [
            &[][..],
            &["shared-mode"],
            &["direct"],
            &["gateway"],
            &["direct", "gateway", "gateway-direct"],
            &["tls"],
            &["shared-mode", "tls"],
            &["direct", "tls", "direct-tls"],
        ] {
            let rendered = Overlay::new(components, &images, &knative(world)?)?.render(&kubectl)?;
            apply(&kubectl, &rendered, true).with_context(|| format!("{components:?}"))?;
        }
        for optional in ["domain-claims.yaml", "domain-tls.yaml"] {
            apply(&kubectl, &fs::read_to_string(manifests().join("rbac").join(optional))?, true)?;
        }
        anyhow::Ok(())
    });
    cluster.delete(Kind::Namespace, "", "annex-runner").await?;
    outcome
}

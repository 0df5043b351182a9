//! What is applied to a new cluster: the manifests that Knative's modules ship, made to fit one small node.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use super::command::finish;
use super::config::{HTTP_NODE_PORT, HTTPS_NODE_PORT, INTERNAL_NODE_PORT};
use super::node_images;
use crate::checkout::Checkout;
use crate::tools::{self, Tool};

/// Changes whenever the same modules come out differently here.
const LAYOUT: &str = "1";

/// The namespaces whose Deployments make the cluster usable.
pub(super) const NAMESPACES: [&str; 3] = ["kube-system", KNATIVE, "kourier-system"];

/// Knative's namespace, and what in it works only once it has become the leader.
pub(super) const KNATIVE: &str = "knative-serving";
pub(super) const LEADERS: [&str; 4] = ["autoscaler", "controller", "net-kourier-controller", "webhook"];

/// A module's name, the folder of `hack/tools` that pins it, and what of it is applied.
const SOURCES: [(&str, &str, &[&str]); 4] = [
    (
        "knative.dev/serving",
        "knative",
        &[
            "config/core/100-namespace.yaml",
            "config/core/200-serviceaccount.yaml",
            "config/core/200-roles",
            "config/core/300-resources",
            "config/core/configmaps",
            "config/core/webhooks",
            "config/core/deployments/activator.yaml",
            "config/core/deployments/autoscaler.yaml",
            "config/core/deployments/controller.yaml",
            "config/core/deployments/webhook.yaml",
        ],
    ),
    ("knative.dev/networking", "knative", &["config"]),
    ("knative.dev/caching", "knative", &["config"]),
    ("knative.dev/net-kourier", "kourier", &["config"]),
];

/// Everything, in an order in which it can be applied. From the cache: finding the modules takes Go some seconds.
pub(super) fn load(checkout: &Checkout) -> Result<Vec<Value>> {
    let key = [Tool::KnativeController.pin(checkout)?, Tool::Kourier.pin(checkout)?].join("-");
    let path = tools::cache()?.join("manifests").join(format!("knative-{key}-{LAYOUT}.json"));
    let mut objects: Vec<Value> = match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .with_context(|| format!("{} is damaged: remove it", path.display()))?,
        Err(_) => {
            let objects = read_modules(checkout)?;
            let text = serde_json::to_vec(&objects).context("cannot render JSON")?;
            crate::private_file::write(&path, &text)?;
            objects
        }
    };
    let coredns = checkout.join("hack/dev/compute/coredns.yaml");
    objects.extend(read_file(&coredns)?);
    let images = node_images::references(checkout)?;
    for object in &mut objects {
        adapt(object, &images);
    }
    objects.sort_by_key(rank);
    Ok(objects)
}

fn read_modules(checkout: &Checkout) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for (module, pinned_by, paths) in SOURCES {
        let folder = module_folder(&checkout.join("hack/tools").join(pinned_by), module)?;
        for path in paths {
            for file in yaml_files(&folder.join(path))? {
                objects.extend(read_file(&file)?);
            }
        }
    }
    // Needs a metrics server, and one gateway is enough here.
    objects.retain(|object| kind(object) != "HorizontalPodAutoscaler");
    Ok(objects)
}

fn module_folder(pinned_by: &Path, module: &str) -> Result<PathBuf> {
    let go = |args: &[&str]| {
        let mut command = Command::new("go");
        command.args(args).current_dir(pinned_by).env("GOWORK", "off");
        finish(&mut command, &format!("go {}", args.join(" ")))
    };
    let list = ["list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module];
    let mut folder = go(&list)?;
    if folder.trim().is_empty() {
        go(&["mod", "download", module])?;
        folder = go(&list)?;
    }
    Ok(PathBuf::from(folder.trim()))
}

/// The file itself, or the YAML files of the folder in the order of their names.
fn yaml_files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let entries = fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|file| file.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    Ok(files)
}

fn read_file(path: &Path) -> Result<Vec<Value>> {
    let failed = || format!("cannot read {}", path.display());
    let text = fs::read_to_string(path).with_context(failed)?;
    parse(&text).with_context(failed)
}

fn parse(text: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).context("this is not YAML")?;
    // A file that begins with its licence has an empty document first.
    Ok(documents.into_iter().filter(Value::is_object).collect())
}

/// What has to be there before what: namespaces, kinds and rights; settings before what reads them; what refuses changes
/// while it does not run (Knative's webhooks) after what it would refuse.
fn rank(object: &Value) -> u8 {
    match kind(object) {
        "Namespace" => 0,
        "CustomResourceDefinition" => 1,
        "ServiceAccount" | "ClusterRole" | "Role" => 2,
        "ClusterRoleBinding" | "RoleBinding" => 3,
        "ConfigMap" => 4,
        "Deployment" => 6,
        "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration" => 7,
        _ => 5,
    }
}

pub(super) fn kind(object: &Value) -> &str {
    object.get("kind").and_then(Value::as_str).unwrap_or_default()
}

fn name(object: &Value) -> &str {
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}

fn adapt(object: &mut Value, images: &[(&'static str, String)]) {
    replace_images(object, images);
    match (kind(object), name(object)) {
        ("Deployment", _) => lower_requests(object),
        ("ConfigMap", "config-network") => {
            set_data(object, "ingress-class", "kourier.ingress.networking.knative.dev");
        }
        // Nobody's registry: what is not on the node cannot be asked for its digest.
        ("ConfigMap", "config-deployment") => {
            set_data(object, "registries-skipping-tag-resolving", "dev.local")
        }
        // A third of the time for which a controller that crashed keeps its successor from working.
        ("ConfigMap", "config-leader-election") => {
            set_data(object, "lease-duration", "15s");
            set_data(object, "renew-deadline", "10s");
            set_data(object, "retry-period", "2s");
        }
        // Apart from every name that an install may get.
        ("ConfigMap", "config-domain") => set_data(object, "apps.svc.localtest", ""),
        ("Service", "kourier") => set_node_ports(
            object,
            json!([
                {"name": "http2", "port": 80, "targetPort": 8080, "nodePort": HTTP_NODE_PORT, "protocol": "TCP"},
                {"name": "https", "port": 443, "targetPort": 8443, "nodePort": HTTPS_NODE_PORT, "protocol": "TCP"},
            ]),
        ),
        ("Service", "kourier-internal") => set_node_ports(
            object,
            json!([
                {"name": "http2", "port": 80, "targetPort": 8081, "nodePort": INTERNAL_NODE_PORT, "protocol": "TCP"},
            ]),
        ),
        _ => {}
    }
}

fn set_node_ports(service: &mut Value, ports: Value) {
    if let Some(Value::Object(spec)) = service.get_mut("spec") {
        spec.insert("type".to_owned(), "NodePort".into());
        spec.insert("ports".to_owned(), ports);
    }
}

fn set_data(object: &mut Value, key: &str, value: &str) {
    let Some(map) = object.as_object_mut() else { return };
    if let Some(data) = map.entry("data").or_insert_with(|| Value::Object(Map::new())).as_object_mut() {
        data.insert(key.to_owned(), value.into());
    }
}

/// What the modules ask for fills a machine of two cores before the first install has come.
fn lower_requests(deployment: &mut Value) {
    let containers = deployment.pointer_mut("/spec/template/spec/containers").and_then(Value::as_array_mut);
    for container in containers.into_iter().flatten() {
        if let Some(requests) = container.pointer_mut("/resources/requests").and_then(Value::as_object_mut) {
            requests.insert("cpu".to_owned(), "10m".into());
            requests.insert("memory".to_owned(), "32Mi".into());
        }
    }
}

fn replace_images(value: &mut Value, images: &[(&'static str, String)]) {
    match value {
        Value::String(text) => {
            if let Some((_, reference)) = images.iter().find(|(shipped, _)| names_image(text, shipped)) {
                reference.clone_into(text);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| replace_images(item, images)),
        Value::Object(fields) => {
            // A field of the name `image` alone holds a bare name; anywhere else that could be any word.
            for (field, item) in fields {
                let bare = item.as_str().is_some_and(|text| !text.contains('/'));
                if field == "image" || !bare {
                    replace_images(item, images);
                }
            }
        }
        _ => {}
    }
}

/// Whatever the registry and the tag: `registry.example.com/envoyproxy/envoy:v1` is the shipped `envoyproxy/envoy`.
fn names_image(text: &str, shipped: &str) -> bool {
    let without_registry = || text.split_once('/').and_then(|(_, path)| path.strip_prefix(shipped));
    text.strip_prefix(shipped)
        .or_else(without_registry)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = "\
# a licence
---
apiVersion: v1
kind: ConfigMap
metadata: {name: config-deployment}
data:
  _example: |
    x: y
  queue-sidecar-image: ko://knative.dev/serving/cmd/queue
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: g}
spec: {template: {spec: {containers: [{name: queue, image: 'registry.example.com/envoyproxy/envoy:v1.36-latest', resources: {requests: {cpu: 200m}}}]}}}
---
apiVersion: v1
kind: Namespace
metadata: {name: n}
";

    fn adapted() -> Vec<Value> {
        let images = [
            ("ko://knative.dev/serving/cmd/queue", "dev.local/queue:1".to_owned()),
            ("envoyproxy/envoy", "dev.local/envoy:2".to_owned()),
        ];
        let mut objects = parse(SHIPPED).unwrap();
        objects.iter_mut().for_each(|object| adapt(object, &images));
        objects.sort_by_key(rank);
        objects
    }

    #[test]
    fn images_come_from_the_node_and_requests_are_small() {
        let objects = adapted();
        assert_eq!(objects.iter().map(kind).collect::<Vec<_>>(), ["Namespace", "ConfigMap", "Deployment"]);
        let data = objects[1].get("data").unwrap();
        assert_eq!(data.get("queue-sidecar-image").unwrap(), "dev.local/queue:1");
        assert_eq!(data.get("registries-skipping-tag-resolving").unwrap(), "dev.local");
        let container = objects[2].pointer("/spec/template/spec/containers/0").unwrap();
        assert_eq!(container.get("image").unwrap(), "dev.local/envoy:2");
        assert_eq!(container.get("name").unwrap(), "queue");
        assert_eq!(container.pointer("/resources/requests/cpu").unwrap(), "10m");
    }

    #[test]
    fn the_ingress_has_ports_of_the_nodes() {
        let mut service = json!({
            "kind": "Service",
            "metadata": {"name": "kourier"},
            "spec": {"type": "LoadBalancer", "selector": {"app": "g"}, "ports": []},
        });
        adapt(&mut service, &[]);
        assert_eq!(service.pointer("/spec/type").unwrap(), "NodePort");
        assert_eq!(service.pointer("/spec/ports/1/nodePort").unwrap(), HTTPS_NODE_PORT);
        assert_eq!(service.pointer("/spec/selector/app").unwrap(), "g");
    }

    #[test]
    fn only_whole_image_names_are_replaced() {
        assert!(names_image("registry.example.com/a/e:v1", "a/e"));
        assert!(names_image("a/e", "a/e"));
        assert!(!names_image("registry.example.com/a/envoy:v1", "a/e"));
    }
}

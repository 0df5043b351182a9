//! An Install that is not applied yet, and what admission makes of it.

use std::io::Read as _;
use std::path::Path;

use annex_apis::Install;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use serde_json::Value;

use crate::explain::{Kind, Target};
use crate::files;
use crate::flow::merge::merged;
use crate::flow::workspace::{Workspace, install};
use crate::outcome::Failure;

/// The most bytes of a manifest: what an API server takes is not more than that by far.
const MAX_MANIFEST: usize = 1 << 20;

/// Where kubectl keeps the manifest that was last applied.
const LAST_APPLIED: &str = "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration";

/// The manifest of one Install.
#[derive(Debug, PartialEq)]
pub(super) struct Manifest {
    object: Value,
    target: Target,
}

/// Reads it from a file, or from standard input where that is `-`.
pub(super) fn read(path: &Path) -> Result<Manifest, Failure> {
    let bytes = if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin()
            .take(MAX_MANIFEST as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| Failure::file("reading", Path::new("standard input"), &error))?;
        bytes
    } else {
        files::read(path, MAX_MANIFEST)?
    };
    Manifest::of(&bytes).map_err(|reason| Failure::Usage(format!("{}: {reason}", path.display())))
}

impl Manifest {
    fn of(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > MAX_MANIFEST {
            return Err(format!("it has more than {MAX_MANIFEST} bytes"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(text).map_err(|error| format!("it is no YAML: {error}"))?;
        let mut documents = documents.into_iter().filter(|document| !document.is_null());
        let (Some(object), None) = (documents.next(), documents.next()) else {
            return Err("it must have one Install, and nothing else".to_owned());
        };
        let text = |path: &str| object.pointer(path).and_then(Value::as_str);
        let api = Kind::Install.api_resource();
        if text("/apiVersion") != Some(&api.api_version) || text("/kind") != Some(&api.kind) {
            return Err(format!("it must be an Install of {}", api.api_version));
        }
        let name = text("/metadata/name").ok_or("it has no metadata.name")?;
        let target = install(&format!("install/{name}"))?;
        // It becomes part of an address, and what is given to somebody to try must not ask for something else.
        if text("/metadata/namespace").is_some_and(|namespace| annex_core::check_label(namespace).is_err()) {
            return Err("its metadata.namespace is no name of a namespace".to_owned());
        }
        Ok(Self { object, target })
    }

    /// Where it goes to: kubectl, too, refuses two answers to that. None: to the context's namespace.
    pub(super) fn namespace<'a>(&'a self, asked: Option<&'a str>) -> Result<Option<&'a str>, Failure> {
        let own = self.object.pointer("/metadata/namespace").and_then(Value::as_str);
        match (own, asked) {
            (Some(own), Some(asked)) if own != asked => {
                Err(Failure::Usage(format!("the manifest is for namespace {own}, and -n says {asked}")))
            }
            _ => Ok(own.or(asked)),
        }
    }

    /// As it would be if it were applied, or why the server would not take it.
    pub(super) async fn dry_run(&self, workspace: &Workspace) -> Result<Install, Failure> {
        let failed = |error| workspace.failure(error, &self.target);
        let api: Api<DynamicObject> = Api::namespaced_with(
            workspace.client.clone(),
            &workspace.namespace,
            &Kind::Install.api_resource(),
        );
        let found = workspace.in_time(api.get_opt(self.target.name())).await?.map_err(failed)?;
        let answer = if let Some(found) = found {
            let found = serde_json::to_value(&found).map_err(unreadable)?;
            let patch = applied(&self.object, &found);
            let parameters = PatchParams { dry_run: true, ..PatchParams::default() };
            workspace.in_time(api.patch(self.target.name(), &parameters, &Patch::Merge(&patch))).await?
        } else {
            let object: DynamicObject = serde_json::from_value(self.object.clone()).map_err(unreadable)?;
            let parameters = PostParams { dry_run: true, ..PostParams::default() };
            workspace.in_time(api.create(&parameters, &object)).await?
        };
        let answer = serde_json::to_value(answer.map_err(failed)?).map_err(unreadable)?;
        serde_json::from_value(answer).map_err(unreadable)
    }
}

fn unreadable(error: serde_json::Error) -> Failure {
    Failure::Unable(format!("the Install cannot be read: {error}"))
}

/// What `kubectl apply` changes in what was `found`: all that the manifest has is set, and what the one applied last had beyond it goes. What
/// others have set stays.
fn applied(manifest: &Value, found: &Value) -> Value {
    let last = found.pointer(LAST_APPLIED).and_then(Value::as_str);
    let last: Value = last.and_then(|last| serde_json::from_str(last).ok()).unwrap_or_default();
    let mut patch = merged(&last, manifest);
    if let Some(fields) = patch.as_object_mut() {
        // A status is not taken here, and what the manifest says of one may be of another time.
        fields.remove("status");
    }
    patch
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const INSTALL: &str = "\
apiVersion: annex.sh/v1alpha1
kind: Install
metadata: {name: hello, namespace: team}
spec: {extension: com.example.hello, version: ^2}
";

    #[test]
    fn one_install_is_read_as_yaml_and_json() {
        let yaml = Manifest::of(INSTALL.as_bytes()).unwrap();
        let json = serde_json::to_vec(&yaml.object).unwrap();
        assert_eq!(Manifest::of(&json).unwrap(), yaml);
        assert_eq!(yaml.target.name(), "hello");
        assert_eq!(Manifest::of(format!("---\n{INSTALL}---\n").as_bytes()).unwrap(), yaml);
    }

    #[test]
    fn anything_else_is_refused() {
        let says = |text: &str| Manifest::of(text.as_bytes()).unwrap_err();
        assert!(says("").contains("one Install"));
        assert!(says(&format!("{INSTALL}---\n{INSTALL}")).contains("one Install"));
        assert!(says("a: [").contains("no YAML"));
        assert!(says(&INSTALL.replace("kind: Install", "kind: Pod")).contains("must be an Install"));
        assert!(says(&INSTALL.replace("v1alpha1", "v9")).contains("must be an Install"));
        assert!(says(&INSTALL.replace("name: hello, ", "")).contains("no metadata.name"));
        assert!(says(&INSTALL.replace("name: hello", "name: ../x")).contains("must be letters"));
        assert!(
            says(&INSTALL.replace("namespace: team", "namespace: ../x")).contains("no name of a namespace")
        );
        assert!(says(&"#".repeat(MAX_MANIFEST + 1)).contains("more than"));
        assert_eq!(Manifest::of(b"\xff").unwrap_err(), "it is not UTF-8");
    }

    #[test]
    fn two_namespaces_are_one_too_many() {
        let manifest = Manifest::of(INSTALL.as_bytes()).unwrap();
        assert_eq!(manifest.namespace(None), Ok(Some("team")));
        assert_eq!(manifest.namespace(Some("team")), Ok(Some("team")));
        assert!(matches!(manifest.namespace(Some("other")), Err(Failure::Usage(_))));
        let nowhere = Manifest::of(INSTALL.replace(", namespace: team", "").as_bytes()).unwrap();
        assert_eq!(nowhere.namespace(Some("other")), Ok(Some("other")));
        assert_eq!(nowhere.namespace(None), Ok(None));
    }

    #[test]
    fn what_was_applied_before_and_is_not_now_goes_and_what_others_set_stays() {
        let last = json!({"spec": {"extension": "e", "environmentRef": {"name": "mine"}, "parameters": {"a": 1, "b": 2}}});
        let found = json!({
            "metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": last.to_string()}},
            "spec": {"extension": "e", "suspend": true},
        });
        let manifest = json!({"spec": {"extension": "e", "parameters": {"b": 3}}, "status": {"host": "h"}});
        assert_eq!(
            applied(&manifest, &found),
            json!({"spec": {"extension": "e", "environmentRef": null, "parameters": {"a": null, "b": 3}}})
        );
        assert_eq!(applied(&json!({"spec": {}}), &json!({})), json!({"spec": {}}), "never applied");
        let broken =
            json!({"metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{"}}});
        assert_eq!(applied(&json!({"spec": {}}), &broken), json!({"spec": {}}));
    }
}

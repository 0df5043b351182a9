//! An operator's overlay of `manifests/compute`, rendered by the kubectl that the project builds.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use serde_json::json;
use tempfile::TempDir;
use xtask::Kubectl;

pub(crate) fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/compute")
}

/// The overlay of docs/operations.md, beside a copy of what it is laid over.
pub(crate) struct Overlay {
    folder: TempDir,
}

impl Overlay {
    /// With these components, in this order. Images are given by the names that the manifests have for them.
    pub(crate) fn new(
        components: &[&str],
        images: &BTreeMap<&'static str, String>,
        settings: &[(&str, String)],
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        copy(&manifests(), &folder.path().join("compute"))?;
        let images = images
            .iter()
            .map(|(name, image)| {
                let (new_name, new_tag) = image.rsplit_once(':').context("an image has a tag")?;
                Ok(json!({ "name": name, "newName": new_name, "newTag": new_tag }))
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let literals: Vec<String> = settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let kustomization = json!({
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": ["../compute"],
            "components": components.iter().map(|name| format!("../compute/{name}")).collect::<Vec<_>>(),
            "images": images,
            "configMapGenerator": [{
                "name": "annex-settings", "namespace": "annex-system", "behavior": "merge", "literals": literals,
            }],
        });
        let overlay = folder.path().join("overlay");
        fs::create_dir(&overlay)?;
        // JSON is YAML.
        fs::write(overlay.join("kustomization.yaml"), kustomization.to_string())?;
        Ok(Self { folder })
    }

    /// What is to be applied.
    pub(crate) fn render(&self, kubectl: &Kubectl) -> anyhow::Result<String> {
        let overlay = self.folder.path().join("overlay");
        kubectl.run(&["kustomize", overlay.to_str().context("the path is Unicode")?])
    }
}

/// Applies what is rendered, for good or as a dry run that the API server judges. A warning is a failure: of the standard for pods
/// it is the only word about a Deployment.
pub(crate) fn apply(kubectl: &Kubectl, rendered: &str, dry_run: bool) -> anyhow::Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), rendered)?;
    let file = file.path().to_str().context("the path is Unicode")?;
    let mut args = vec!["apply", "--server-side", "--filename", file];
    args.extend(dry_run.then_some("--dry-run=server"));
    let output = kubectl.command(&args).output()?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || complaints.contains("Warning") {
        bail!("kubectl apply: {complaints}");
    }
    Ok(())
}

fn copy(source: &Path, target: &Path) -> anyhow::Result<()> {
    fs::create_dir(target)?;
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        let target = target.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

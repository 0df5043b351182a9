//! The images that the node itself needs, from the programs in the cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::command::finish;
use super::config::PAUSE;
use super::images::{self, Image};
use crate::binaries;
use crate::checkout::Checkout;
use crate::tools::{self, Tool};

/// What Annex's own programs and the pod's namespace holder are built for: static, for images without a system.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-musl";

/// Programs of pinned modules, each with the name by which manifests ask for its image.
const PROGRAMS: [(Tool, &str); 8] = [
    (Tool::Coredns, "coredns"),
    (Tool::KnativeController, "ko://knative.dev/serving/cmd/controller"),
    (Tool::KnativeWebhook, "ko://knative.dev/serving/cmd/webhook"),
    (Tool::KnativeAutoscaler, "ko://knative.dev/serving/cmd/autoscaler"),
    (Tool::KnativeActivator, "ko://knative.dev/serving/cmd/activator"),
    (Tool::KnativeQueue, "ko://knative.dev/serving/cmd/queue"),
    (Tool::Kourier, "ko://knative.dev/net-kourier/cmd/kourier"),
    (Tool::Envoy, "envoyproxy/envoy"),
];

/// What manifests ask for, and what the node has instead.
pub(super) fn references(checkout: &Checkout) -> Result<Vec<(&'static str, String)>> {
    PROGRAMS.into_iter().map(|(tool, shipped)| Ok((shipped, reference(checkout, tool)?))).collect()
}

/// All of them.
pub(super) fn all(checkout: &Checkout) -> Result<Vec<Image>> {
    let mut images = vec![Image::of(PAUSE.to_owned(), &pause(checkout)?, "/pause")];
    for (tool, _) in PROGRAMS {
        let (program, reference) = (tool.cached(checkout)?, reference(checkout, tool)?);
        let entrypoint = match tool {
            Tool::Envoy => "/usr/local/bin/envoy".to_owned(),
            Tool::Coredns => "/coredns".to_owned(),
            _ => format!("/ko-app/{}", tool.name()),
        };
        let mut image = Image::of(reference, &program, &entrypoint);
        if tool == Tool::Envoy {
            // The one that is not static: it brings the system's libraries along.
            image.files.extend(images::libraries(&program)?);
        }
        images.push(image);
    }
    Ok(images)
}

fn reference(checkout: &Checkout, tool: Tool) -> Result<String> {
    let pin: String = tool.pin(checkout)?.chars().take(12).collect();
    Ok(format!("dev.local/{}:{pin}", tool.name()))
}

fn pause(checkout: &Checkout) -> Result<PathBuf> {
    let source = checkout.join("hack/images/pause.rs");
    let folder = tools::cache()?.join("tools").join(format!("pause-{}", images::short_digest(&source)?));
    let program = folder.join("pause");
    if !program.is_file() {
        compile(checkout, &source, &folder, &program)?;
    }
    Ok(program)
}

fn compile(checkout: &Checkout, source: &Path, folder: &Path, program: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    // The first that needs it, before any image of Annex's own.
    binaries::add_static_target(checkout)?;
    let draft = program.with_added_extension(format!("{}.tmp", std::process::id()));
    let mut command = Command::new("rustc");
    command
        .args(["--edition=2024", "--crate-name=pause", "-Copt-level=z", "-Cpanic=abort", "-Cstrip=symbols"])
        .args(["--target", TARGET, "-o"])
        .arg(&draft)
        .arg(source)
        .current_dir(checkout.root());
    finish(&mut command, "rustc of pause")?;
    std::fs::rename(&draft, program).with_context(|| format!("cannot write {}", program.display()))
}

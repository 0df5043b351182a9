use std::{ffi::OsString, path::Path, process::Command};

use annex_e2e::{World, publish_sample, until};
use anyhow::Context as _;
use serde_json::json;

use crate::environment::alone;

/// Every block marked `sh` of the tenant guide, in its order, as a tenant would type it.
#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_tenant_guide_works() -> anyhow::Result<()> {
    let (world, _turn) = alone().await;
    // The guide makes the workspace itself.
    world.admin().await?.without("acme").await?;
    // As `cargo xtask demo` has done where a person reads it.
    let administrator = world.stack.paths().kcp_kubeconfig();
    for sample in ["samples/notes", "samples/steps/1.0.0", "samples/steps/1.1.0", "samples/steps/1.2.0"] {
        tokio::task::block_in_place(|| publish_sample(&world.stack, &administrator, sample))?;
    }
    Guide::new(world, "tenant-guide.md")?.follow(&[]).await
}

/// From an empty folder to a version in the catalog, as a publisher and an operator would type it; and what a tenant has of it.
#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_publisher_guide_works_and_a_tenant_installs_what_it_publishes()
-> anyhow::Result<()> {
    let (world, _turn) = alone().await;
    let paths = world.stack.paths();
    let trust = std::fs::read(paths.trust_bundle())?;
    let guide = Guide::new(world, "publisher-guide.md")?;
    let variables = [
        ("ANNEX_REGISTRY_URL", world.stack.registry_url()?),
        ("ANNEX_ADMIN", paths.kcp_kubeconfig().display().to_string()),
        ("SIGNING_TRUST_BUNDLE", paths.trust_bundle().display().to_string()),
    ];
    let followed = async {
        guide.follow(&variables).await?;
        let workspace = world.user("bob").await?.tenant("globex-notes").await?;
        workspace.install("notes", "com.example.notes", json!({ "version": "^0.2" })).await?;
        let status = workspace.installed("notes").await?.status.context("a status")?;
        assert_eq!(status.installed_version.as_deref(), Some("0.2.0"));

        // What nobody has signed is refused where its author sees it, with the reason.
        let unsigned = "cp notes.tar.zst unsigned.tar.zst; cp notes.tar.zst.sig unsigned.tar.zst.sig; \
            sed -i 's/\"sig\": *\"[^\"]*\"/\"sig\":\"AAAA\"/' unsigned.tar.zst.sig; kubectl annex publish unsigned.tar.zst";
        let (code, said) = guide.type_in(unsigned, &variables)?;
        assert!(code == Some(1) && said.contains("SignatureInvalid"), "{code:?} {said}");
        let (code, said) =
            guide.type_in("rm unsigned.tar.zst.sig; kubectl annex publish unsigned.tar.zst", &variables)?;
        assert!(code != Some(0) && said.contains("unsigned.tar.zst.sig"), "{code:?} {said}");
        workspace.installs().delete("notes", &Default::default()).await?;
        anyhow::Ok(())
    }
    .await;
    std::fs::write(paths.trust_bundle(), trust)?;
    followed
}

/// What is said until the registry has read a changed trust bundle again, kcp a new role, and the gateway what says Ready: seconds, in which
/// a person reads on.
const TOO_EARLY: [&str; 4] =
    ["error: UntrustedSigner", "error: Forbidden", "\"WorkspaceUnknown\"", "\"RunnerUnknown\""];

/// A guide, and somebody who types its commands.
struct Guide {
    name: &'static str,
    text: String,
    /// Where they work. The kubeconfig there is a copy, because a guide may change it.
    folder: tempfile::TempDir,
    path: OsString,
}

impl Guide {
    fn new(world: &World, name: &'static str) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name))?;
        let plugin = world.stack.plugin_folder().context("the plugin is built")?;
        let kubectl = world.stack.kubectl_path().parent().context("kubectl is in a folder")?;
        let path = std::env::join_paths(
            [kubectl, plugin]
                .into_iter()
                .map(Path::to_path_buf)
                .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
        )?;
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        std::fs::copy(world.stack.paths().user_kubeconfig("alice"), folder.path().join("kubeconfig"))?;
        Ok(Self { name, text, folder, path })
    }

    /// Every block marked `sh`, in its order.
    async fn follow(&self, variables: &[(&str, String)]) -> anyhow::Result<()> {
        let blocks = blocks(&self.text);
        assert!(blocks.len() > 5, "{} has commands", self.name);
        for (line, block) in blocks {
            let (code, said) = until(&format!("docs/{}:{line} is not too early", self.name), || async {
                let (code, said) = self.type_in(&block, variables)?;
                Ok((!TOO_EARLY.iter().any(|early| said.contains(early))).then_some((code, said)))
            })
            .await?;
            assert_eq!(code, Some(0), "docs/{}:{line}\n{block}\n{said}", self.name);
        }
        Ok(())
    }

    fn type_in(&self, block: &str, variables: &[(&str, String)]) -> anyhow::Result<(Option<i32>, String)> {
        let output = tokio::task::block_in_place(|| {
            Command::new("bash")
                .args(["-euo", "pipefail", "-c", block])
                .env("PATH", &self.path)
                .env("KUBECONFIG", self.folder.path().join("kubeconfig"))
                .envs(variables.iter().map(|(name, value)| (name, value)))
                .current_dir(self.folder.path())
                .output()
        })?;
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        Ok((output.status.code(), said))
    }
}

/// The blocks marked `sh`, each with its line.
fn blocks(text: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in text.lines().enumerate() {
        match &mut open {
            None if line.trim() == "```sh" => open = Some((number + 2, String::new())),
            Some(_) if line.trim() == "```" => blocks.extend(open.take()),
            Some((_, block)) => {
                block.push_str(line);
                block.push('\n');
            }
            None => {}
        }
    }
    blocks
}

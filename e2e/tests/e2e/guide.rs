use std::{path::Path, process::Command};

use anyhow::Context as _;

use crate::environment::alone;

/// Every block marked `sh` of the tenant guide, in its order, as a tenant would type it.
#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_tenant_guide_works() -> anyhow::Result<()> {
    let (world, _turn) = alone().await;
    let guide =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/tenant-guide.md"))?;
    let blocks = blocks(&guide);
    assert!(blocks.len() > 5, "the guide has commands");
    // The guide makes the workspace itself.
    world.admin().await?.without("acme").await?;
    let plugin = world.stack.plugin_folder().context("the plugin is built")?;
    let kubectl = world.stack.kubectl_path().parent().context("kubectl is in a folder")?;
    let path = std::env::join_paths(
        [kubectl, plugin]
            .into_iter()
            .map(Path::to_path_buf)
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    )?;
    // A copy, because the guide adds a context to it.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guide");
    std::fs::create_dir_all(&folder)?;
    let kubeconfig = folder.join("kubeconfig");
    std::fs::copy(world.stack.paths().user_kubeconfig("alice"), &kubeconfig)?;
    for (line, block) in blocks {
        let output = tokio::task::block_in_place(|| {
            Command::new("bash")
                .args(["-euo", "pipefail", "-c", &block])
                .env("PATH", &path)
                .env("KUBECONFIG", &kubeconfig)
                .current_dir(&folder)
                .output()
        })?;
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "docs/tenant-guide.md:{line}\n{block}\n{said}");
    }
    Ok(())
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

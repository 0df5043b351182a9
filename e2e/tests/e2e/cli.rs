use std::process::Command;

use annex_e2e::World;
use anyhow::Context as _;
use serde_json::json;

use crate::environment::shared;

fn annex(world: &World, args: &[&str]) -> anyhow::Result<(i32, String)> {
    let folder = world.stack.plugin_folder().context("the plugin is built")?;
    let output = Command::new(folder.join("kubectl-annex"))
        .args(args)
        .arg("--kubeconfig")
        .arg(world.stack.paths().user_kubeconfig("alice"))
        .output()?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Ok((output.status.code().unwrap_or(-1), text))
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_says_what_is_wrong_and_what_to_do_next() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    // The workspace that alice's kubeconfig has a context for.
    world.admin().await?.without("acme").await?;
    let workspace = world.user("alice").await?.tenant("acme").await?;
    workspace.install("explained", "com.example.nowhere", json!({})).await?;
    workspace.refused("explained", "ExtensionNotFound").await?;
    let (code, text) = annex(world, &["explain", "install/explained", "-n", "default", "--context", "acme"])?;
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("ExtensionNotFound") && text.contains("Next:") && text.contains("kubectl"),
        "{text}"
    );
    let (code, text) = annex(world, &["explain", "install/absent", "-n", "default", "--context", "acme"])?;
    assert_eq!(code, 3, "{text}");

    workspace.install("fine", "com.example.hello", json!({})).await?;
    let host = workspace.installed("fine").await?.status.expect("a status").host.expect("a host");
    let (code, text) = annex(world, &["explain", "install/fine", "-n", "default", "--context", "acme"])?;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(&host), "{text}");

    // The same host by the same rule, without a cluster.
    let folder = world.stack.plugin_folder().context("the plugin is built")?;
    let output = Command::new(folder.join("kubectl-annex"))
        .args(["domain", workspace.cluster.as_str(), "hello", &world.stack.settings().domain_root])
        .output()?;
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), host);
    for name in ["explained", "fine"] {
        workspace.installs().delete(name, &Default::default()).await?;
    }
    Ok(())
}

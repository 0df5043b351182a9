//! What `cargo xtask demo --tls` shows is so, and the environment it was shown in goes back to what it was.

use kube::api::DeleteParams;
use serde_json::json;
use tokio::task::block_in_place;
use xtask::{Settings, Stack};

use crate::environment::{alone, publish};

/// Those that the demo makes.
const WORKSPACES: [&str; 2] = ["acme", "globex"];

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_shows_two_domains_under_tls() -> anyhow::Result<()> {
    let (world, _turn) = alone().await;
    let settings = world.stack.settings();
    let admin = world.admin().await?;
    for name in WORKSPACES {
        admin.without(name).await?;
    }
    // It looks at each domain with curl, by the authority that it has made, and fails where one does not answer with its own tenant.
    let shown = block_in_place(|| xtask::demo(&Settings { tls: true, ..settings.clone() }));
    // Whatever came of it, the tests that follow find the environment as they know it.
    block_in_place(|| Stack::up(settings))?;
    shown?;

    for name in WORKSPACES {
        admin.delete(name).await?;
    }
    publish(world, "com.example.demo", &["1.0.0"]).await?;
    let workspace = world.user("alice").await?.tenant("acme-demo").await?;
    workspace.install("demo", "com.example.demo", json!({})).await?;
    let status = workspace.installed("demo").await?.status.expect("a status");
    let (host, url) = (status.host.expect("a host"), status.url.expect("a URL"));
    assert!(url.starts_with("http://"), "{url}");
    let (code, body) = world.runner()?.get(&host).await?;
    assert_eq!((code.as_u16(), &body["tenant_id"]), (200, &json!(workspace.cluster.to_string())));
    workspace.installs().delete("demo", &DeleteParams::default()).await?;
    Ok(())
}

use annex_apis::{Extension, ExtensionVersion};
use annex_e2e::{Workspace, World};
use anyhow::ensure;
use kube::{Api, api::PostParams};
use serde_json::json;

use crate::{
    counted::{Counted, resident_mib},
    figures::{milliseconds, percentile, rounded},
    many::{self, name},
};

const WORKSPACES: usize = 50;
const INSTALLS_EACH: usize = 4;
/// What an Install may cost, of which so many are statuses.
const MOST_WRITES: f64 = 8.0;
const MOST_STATUSES: f64 = 2.0;

/// Measures how fast Installs become Ready with a runner that answers at once, and what the controller writes for each.
pub(crate) async fn run() -> anyhow::Result<()> {
    let world = tokio::task::block_in_place(|| World::up(true))?;
    let admin = world.admin().await?;
    let catalog = admin.at("root:annex")?;
    for number in 0..INSTALLS_EACH {
        publish(&catalog, number).await?;
    }
    let workspaces = many::tenants(&admin, WORKSPACES).await?;

    let before = Counted::settled(&world).await?;
    let order = async |workspace: &Workspace, number: usize| {
        workspace.install(&name(number), &extension(number), json!({})).await.map(drop)
    };
    let took = many::reach(&workspaces, INSTALLS_EACH, order, many::is_ready).await?;
    let counted = Counted::settled(&world).await?.since(&before);

    let installs = f64::from(u32::try_from(took.each.len())?);
    let (writes, statuses) = (counted.writes() / installs, counted.statuses() / installs);
    println!(
        "{}",
        json!({
            "bench": "install",
            "installs": took.each.len(),
            "installs_per_s": rounded(installs / took.all.as_secs_f64()),
            "writes_per_install": rounded(writes),
            "status_writes_per_install": rounded(statuses),
            "p50_ms": milliseconds(percentile(&took.each, 0.5)),
            "p99_ms": milliseconds(percentile(&took.each, 0.99)),
            "rss_mib": rounded(resident_mib(&world)?),
        })
    );
    ensure!(writes <= MOST_WRITES, "{writes} writes for each Install, and not {MOST_WRITES}");
    ensure!(statuses <= MOST_STATUSES, "{statuses} statuses for each Install, and not {MOST_STATUSES}");
    Ok(())
}

fn extension(number: usize) -> String {
    format!("com.example.bench{number}")
}

async fn publish(catalog: &kube::Client, number: usize) -> anyhow::Result<()> {
    let name = extension(number);
    let entry = json!({ "apiVersion": "annex.sh/v1alpha1", "kind": "Extension", "metadata": { "name": name },
        "spec": { "displayName": name, "publisher": "example.com" } });
    let version = json!({ "apiVersion": "annex.sh/v1alpha1", "kind": "ExtensionVersion",
        "metadata": { "name": format!("{name}-1.0.0") },
        "spec": { "extension": name, "version": "1.0.0", "publisher": "example.com",
            "contentHash": format!("sha256:{number:064}") } });
    let extensions: Api<Extension> = Api::all(catalog.clone());
    let versions: Api<ExtensionVersion> = Api::all(catalog.clone());
    extensions.create(&PostParams::default(), &serde_json::from_value(entry)?).await?;
    versions.create(&PostParams::default(), &serde_json::from_value(version)?).await?;
    Ok(())
}

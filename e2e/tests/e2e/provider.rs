use std::{collections::BTreeMap, path::Path};

use serde_json::Value;

use crate::environment::shared;

fn manifests() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/provider").display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn applying_the_provider_twice_changes_nothing() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let kubectl = world.stack.admin().context("annex");
    let versions = || -> anyhow::Result<BTreeMap<String, String>> {
        let list = kubectl.json(&["get", "-f", &manifests()])?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        Ok(items
            .iter()
            .map(|item| {
                let text = |pointer: &str| {
                    item.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
                };
                (format!("{}/{}", text("/kind"), text("/metadata/name")), text("/metadata/resourceVersion"))
            })
            .collect())
    };
    let before = versions()?;
    assert!(
        before
            .keys()
            .any(|name| name.starts_with("APIResourceSchema/v") && name.ends_with(".installs.annex.sh"))
    );
    // As `cargo xtask up` applies it: another field manager would be recorded as another owner.
    kubectl.run(&[
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager=annex-dev",
        "-f",
        &manifests(),
    ])?;
    assert_eq!(versions()?, before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_explains_every_kind() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    world.user("alice").await?.tenant("acme-explains").await?;
    let server = format!("https://127.0.0.1:{}/clusters/root:acme-explains", world.stack.settings().kcp_port);
    let tenant = world.stack.user("alice");
    for (path, said) in [
        ("installs.spec.version", "semver requirement"),
        ("installs.status.installedVersion", "is installed"),
        ("managedenvironments.spec.credentialsSecretRef", "annex.sh/managed-environment"),
        ("executionquotas.spec.limits", "limits"),
    ] {
        let text = tenant.run(&["--server", &server, "explain", path])?;
        assert!(text.contains(said), "{path}: {text}");
    }
    let catalog = world.stack.admin().context("annex");
    for (path, said) in [
        ("extensions.spec.slug", "host names"),
        ("extensionversions.spec.yanked", "no new install"),
        ("tenants.spec.suspended", "answers"),
    ] {
        let text = catalog.run(&["explain", path])?;
        assert!(text.contains(said), "{path}: {text}");
    }
    // The columns that people see.
    let table = tenant.run(&["--server", &server, "get", "executionquotas"])?;
    assert!(table.contains("NAME") || table.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_authenticated_user_reads_the_catalog_and_nobody_but_the_provider_writes_it()
-> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let server = format!("https://127.0.0.1:{}/clusters/root:annex", world.stack.settings().kcp_port);
    let mallory = world.stack.user("mallory");
    assert!(
        mallory
            .run(&["--server", &server, "get", "extensions,extensionversions"])?
            .contains("com.example.hello")
    );
    for verb in ["create", "update", "patch", "delete"] {
        let answer = mallory.run(&["--server", &server, "auth", "can-i", verb, "extensionversions.annex.sh"]);
        assert!(answer.is_err() || answer.is_ok_and(|text| text.starts_with("no")), "{verb}");
    }
    Ok(())
}

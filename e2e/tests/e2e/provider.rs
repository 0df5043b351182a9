use std::{collections::BTreeMap, path::Path};

use annex_apis::{ExecutionQuota, Tenant};
use annex_e2e::when;
use kube::Api;
use serde_json::{Value, json};

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
    let said = kubectl.run(&["apply", "-f", &manifests()])?;
    assert!(said.lines().all(|line| line.ends_with("unchanged")), "{said}");
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
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_get_shows_what_people_look_for() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let workspace = world.user("alice").await?.tenant("acme-columns").await?;
    workspace.install("hello", "com.example.hello", json!({})).await?;
    let host = workspace.installed("hello").await?.status.expect("a status").host.expect("a host");
    let name = workspace.cluster.as_str();
    let tenants: Api<Tenant> = Api::all(world.admin().await?.at("root:annex")?);
    when(&tenants, name, "the Tenant is there", |_| true).await?;
    let quotas: Api<ExecutionQuota> = Api::all(workspace.client.clone());
    when(&quotas, "default", "the quota is there", |_| true).await?;

    let server = format!("https://127.0.0.1:{}/clusters/{}", world.stack.settings().kcp_port, workspace.path);
    let url = format!("https://127.0.0.1:{}/clusters/{name}", world.stack.settings().kcp_port);
    let tenant = world.stack.user("alice");
    let of_tenant = |args: &[&str]| tenant.run(&[&["--server", &server, "get"], args].concat());
    let catalog = world.stack.admin().context("annex");
    let of_catalog = |args: &[&str]| catalog.run(&[&["get"], args].concat());
    let (headers, values) = table(&of_tenant(&["installs"])?);
    assert_eq!(headers, "NAME EXTENSION VERSION READY REASON HOST AGE");
    assert_eq!(without_age(&values), format!("hello com.example.hello 1.0.0 True Ready {host}"));
    let (headers, values) = table(&of_tenant(&["managedenvironments", "-n", "annex"])?);
    assert_eq!(headers, "NAME API URL READY REASON AGE");
    assert!(values.starts_with(&format!("workspace {url} ")), "{values}");
    let (headers, values) = table(&of_tenant(&["executionquotas"])?);
    assert_eq!(headers, "NAME INSTALLS REQUESTS PER MINUTE CONCURRENCY AGE");
    assert!(values.starts_with("default "), "{values}");
    let (headers, values) = table(&of_catalog(&["extensions", "com.example.hello"])?);
    assert_eq!(headers, "NAME DISPLAY NAME PUBLISHER DEPRECATED AGE");
    assert!(values.starts_with("com.example.hello "), "{values}");
    let (headers, values) = table(&of_catalog(&["extensionversions", "com.example.hello-1.0.0"])?);
    assert_eq!(headers, "NAME EXTENSION VERSION VERIFIED YANKED AGE");
    assert!(values.starts_with("com.example.hello-1.0.0 com.example.hello 1.0.0 "), "{values}");
    let (headers, values) = table(&of_catalog(&["tenants", name])?);
    assert_eq!(headers, "NAME ID SLUG SUSPENDED AGE");
    assert!(values.starts_with(&format!("{name} ")), "{values}");
    Ok(())
}

/// The headers and the only row of what kubectl prints, with one space between the words.
fn table(text: &str) -> (String, String) {
    let lines: Vec<String> =
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let [headers, values] = lines.as_slice() else { panic!("not a header and a row: {text}") };
    (headers.clone(), values.clone())
}

/// A row without its last column, which says how old the object is.
fn without_age(row: &str) -> &str {
    let (rest, age) = row.rsplit_once(' ').expect("columns");
    assert!(age.starts_with(|first: char| first.is_ascii_digit()), "no age: {row}");
    rest
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

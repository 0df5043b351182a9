//! What a runner is set up with, as the app-domains paper names it, given to the controller.

use std::fs;

use annex_apis::{Install, REPROVISION_ANNOTATION};
use annex_e2e::{Kind, condition, until, when};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::task::block_in_place;
use xtask::Part;

use crate::environment::{Reconfigured, alone, namespace, tenant_on, uninstall_everything};

const SECRET: &str = "annex-runner-credentials";

/// Whether a runner on this machine's cluster has these in its environment, as the kernel shows it.
fn a_runner_has(variables: &[(&str, &str)]) -> bool {
    let wanted = |environment: &[u8]| {
        variables.iter().all(|(name, value)| {
            let line = format!("{name}={value}");
            environment.split(|byte| *byte == 0).any(|variable| variable == line.as_bytes())
        })
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut runners = processes.filter(|process| {
        fs::read(process.join("cmdline")).is_ok_and(|line| line.starts_with(b"/annex-runner\0"))
    });
    runners.any(|process| fs::read(process.join("environ")).is_ok_and(|environment| wanted(&environment)))
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_reach_the_runners_in_the_open_and_credentials_out_of_a_secret() -> anyhow::Result<()> {
    let (world, cluster, _turn) = alone().await?;
    uninstall_everything(world).await?;

    // What is secret has no business in the controller, and is not left out without a word.
    let mut refused = world.stack.command(Part::Controller, &[])?;
    let refused = block_in_place(|| refused.env("S3_SECRET_KEY", "h1dden").env("NO_COLOR", "1").output())?;
    let said = [refused.stdout, refused.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(!refused.status.success() && said.contains("RUNNER_CREDENTIALS_SECRET"), "{said}");
    assert!(!said.contains("h1dden"), "{said}");

    let settings = [
        ("BUNDLE_STORE_BASE", "http://minio.example.com:9000/bundles/"),
        ("EXT_CACHE_MAX_BYTES", "1048576"),
        ("EXT_EGRESS_ALLOWLIST", "api.example.com"),
        ("EXT_STATIC_STRICT_VALIDATION", "true"),
        ("S3_BUCKET", "bundles"),
        ("S3_ENDPOINT", "http://minio.example.com:9000"),
    ];
    // Knative says why a pod does not start once it has given up waiting for it.
    let options = ["--runner-credentials-secret", SECRET, "--runner-progress-deadline-seconds", "10"];
    let _with = Reconfigured::start(world, &options, &settings)?;
    let workspace = world.user("alice").await?.tenant("kn-settings").await?;
    let namespace = namespace(&workspace);
    workspace.install("hello", "com.example.hello", json!({})).await?;
    // Before the operator has put it there no runner starts, and who asks why is told.
    let told = |install: &Install| {
        condition(install, "RunnerReady")
            .is_some_and(|ready| ready.status == "False" && ready.message.contains(SECRET))
    };
    when(&workspace.installs(), "hello", "the Secret is named", told).await?;
    let is_set_up = async |service: &str| -> anyhow::Result<()> {
        let service = cluster.when(Kind::Service, &namespace, service, "is there", |_| true).await?;
        let env = service.data["spec"]["template"]["spec"]["containers"][0]["env"].as_array().cloned();
        let env = env.expect("variables");
        for (name, value) in settings {
            assert!(env.contains(&json!({ "name": name, "value": value })), "{name}: {env:?}");
        }
        for name in ["S3_ACCESS_KEY", "S3_SECRET_KEY"] {
            let variable = env.iter().find(|variable| variable["name"] == name).expect("a variable");
            assert_eq!(variable["valueFrom"]["secretKeyRef"]["name"], SECRET);
            assert_eq!(variable.get("value"), None::<&Value>, "{variable}");
        }
        Ok(())
    };
    is_set_up("runner").await?;

    until("Knative has given it up", || async {
        Ok(cluster.list(Kind::Pod, &namespace).await?.is_empty().then_some(()))
    })
    .await?;
    let credentials = [("S3_ACCESS_KEY", "kn-access"), ("S3_SECRET_KEY", "kn-secret")];
    let data: serde_json::Map<String, Value> =
        credentials.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    cluster.create(Kind::Secret, &namespace, SECRET, json!({ "stringData": data })).await?;
    // Knative has given it up, and does not try that again: another flow has it tried once more.
    let again = json!({ "metadata": { "annotations": { REPROVISION_ANNOTATION: "the Secret is there" } } });
    workspace.installs().patch("hello", &PatchParams::default(), &Patch::Merge(again)).await?;
    let ready = |install: &Install| condition(install, "Ready").is_some_and(|ready| ready.status == "True");
    let installed = when(&workspace.installs(), "hello", "Ready", ready).await?;
    let host = installed.status.expect("a status").host.expect("a host");
    assert_eq!(tenant_on(world, &host).await?, workspace.cluster.to_string());
    is_set_up("exec").await?;
    assert!(a_runner_has(&[credentials.as_slice(), &settings].concat()), "no runner has them");

    workspace.installs().delete("hello", &DeleteParams::default()).await?;
    cluster.gone(Kind::Namespace, "", &namespace).await?;
    Ok(())
}

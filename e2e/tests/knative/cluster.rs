use std::path::PathBuf;

use serde_json::{Value, json};
use xtask::{Component, Settings, Stack, get};

/// The cluster alone: what is tested here needs no kcp.
fn cluster() -> anyhow::Result<Stack> {
    let state = std::env::var_os("ANNEX_E2E_STATE")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.annex/knative"), PathBuf::from);
    xtask::down(&state, true)?;
    let stack = Stack::up_compute_only(&Settings::with_free_ports_and_knative(&state)?)?;
    stack.start(xtask::Part::Ingress)?;
    Ok(stack)
}

/// The runner as Annex would run it; who it asks for its hosts is nobody here, and it says so.
fn runner(image: &str) -> Value {
    json!({
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": "runner", "namespace": "default"},
        "spec": {"template": {"spec": {"containers": [{
            "image": image,
            "ports": [{"containerPort": 8080}],
            "env": [
                {"name": "RUNNER_LISTEN", "value": "0.0.0.0:8080"},
                {"name": "REGISTRY_BASE_URL", "value": "http://127.0.0.1:1"},
            ],
        }]}}},
    })
}

#[test]
fn the_runners_image_becomes_a_service_that_answers_and_outlives_the_api_server() -> anyhow::Result<()> {
    let stack = cluster()?;
    let (admin, compute) = (stack.compute_admin(), stack.compute()?);
    compute.check_ready()?;

    let service = runner(stack.runner_image().expect("an image was built"));
    admin.run_with_input(&["apply", "--server-side", "--filename=-"], &service.to_string())?;
    admin.run(&["wait", "ksvc/runner", "--for=condition=Ready", "--timeout=180s"])?;
    let url = admin.run(&["get", "ksvc", "runner", "--output=jsonpath={.status.url}"])?;
    let host = url.strip_prefix("http://").expect("an address").to_owned();

    // Through both Envoys to the runner, which knows no such host and cannot ask: its own answer, not an ingress's.
    let answer = || get(stack.settings().runner_port, &host, "/");
    let first = answer()?;
    let code = serde_json::from_str::<Value>(&first.body)?["code"].clone();
    assert!(first.status >= 500 && code.is_string(), "{first:?}");

    compute.kill(Component::ApiServer)?;
    assert!(compute.check(Component::ApiServer).is_err());
    assert_eq!(answer()?.status, first.status, "what runs goes on without the API");
    compute.start(Component::ApiServer)?;
    compute.check_ready()?;
    admin.run(&["delete", "ksvc", "runner", "--timeout=60s"])?;
    Ok(())
}

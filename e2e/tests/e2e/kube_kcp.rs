//! kube-kcp's examples, as its readers run them.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use annex_e2e::{Workspace, World, until, when};
use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use kube_kcp::kinds::{
    APIBinding, APIBindingSpec, APIExport, APIExportSpec, AcceptablePermissionClaim, BindingPhase,
    BindingReference, ClaimSelector, ClaimState, ExportReference, PermissionClaim,
};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::environment::shared;

/// The controller of the README, which tests/readme.rs holds equal to the example.
#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_controller_greets_where_its_claim_is_accepted() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let admin = world.admin().await?;
    for name in ["greetings-provider", "greetings-tenant"] {
        admin.order(name, "root", "universal").await?;
    }
    let (provider, tenant) =
        tokio::try_join!(admin.ready("greetings-provider"), admin.ready("greetings-tenant"))?;
    offer_and_bind_greetings(&provider, &tenant).await?;

    let mut greetings = Example::start(world, "greetings", &[], &provider.path)?;
    let config_maps: Api<ConfigMap> = Api::namespaced(tenant.client.clone(), "default");
    let config_map = |name: &str, labels: Value| {
        serde_json::from_value(json!({ "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": name, "labels": labels }, "data": { "name": "kcp" } }))
    };
    // First the one that is none of its business. When the other one was greeted twice, this one would have been greeted, too.
    let hidden = config_maps.create(&PostParams::default(), &config_map("hidden", json!({}))?).await?;
    config_maps.create(&PostParams::default(), &config_map("shown", json!({ "greet": "yes" }))?).await?;
    let greeted = |wanted: &'static str| {
        move |config_map: &ConfigMap| {
            let greeting = config_map.data.as_ref().and_then(|data| data.get("greeting"));
            greeting.is_some_and(|greeting| greeting == wanted)
        }
    };
    let both = async {
        when(&config_maps, "shown", "kcp is greeted", greeted("Hello, kcp!")).await?;
        let name = Patch::Merge(json!({ "data": { "name": "tenant" } }));
        config_maps.patch("shown", &PatchParams::default(), &name).await?;
        when(&config_maps, "shown", "the tenant is greeted", greeted("Hello, tenant!")).await
    }
    .await;
    let said = greetings.said()?;
    both.context(said)?;
    assert_eq!(config_maps.get("hidden").await?.data, hidden.data);
    Ok(())
}

/// `greetings.example.com` has no resource of its own, only a claim, which the tenant accepts for what is labelled.
async fn offer_and_bind_greetings(provider: &Workspace, tenant: &Workspace) -> anyhow::Result<()> {
    let claim = PermissionClaim {
        resource: "configmaps".to_owned(),
        verbs: ["get", "list", "watch", "update"].map(str::to_owned).into(),
        ..PermissionClaim::default()
    };
    let name = "greetings.example.com";
    let spec = APIExportSpec { permission_claims: vec![claim.clone()], ..APIExportSpec::default() };
    let exports: Api<APIExport> = Api::all(provider.client.clone());
    exports.create(&PostParams::default(), &APIExport::new(name, spec)).await?;

    let labelled = [("greet".to_owned(), "yes".to_owned())].into();
    let accepted = AcceptablePermissionClaim {
        claim,
        selector: ClaimSelector { match_labels: labelled, ..ClaimSelector::default() },
        state: ClaimState::Accepted,
    };
    let export = ExportReference { path: Some(provider.path.clone()), name: name.to_owned() };
    let binding = APIBinding::new(
        name,
        APIBindingSpec {
            reference: BindingReference { export: Some(export) },
            permission_claims: vec![accepted],
        },
    );
    let bindings: Api<APIBinding> = Api::all(tenant.client.clone());
    // kcp's authorizer hears of a workspace that is new, and of its administrators, a moment later.
    let bind = || async {
        match bindings.create(&PostParams::default(), &binding).await {
            Err(kube::Error::Api(refused)) if refused.message.contains("no permission to bind") => Ok(None),
            bound => Ok(Some(bound?)),
        }
    };
    until("the provider's export may be bound", bind).await?;
    let bound = |binding: &APIBinding| {
        binding.status.as_ref().and_then(|status| status.phase) == Some(BindingPhase::Bound)
    };
    when(&bindings, name, "it is bound", bound).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn all_workspaces_names_a_bound_workspace() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let workspace = world.user("alice").await?.tenant("acme-listed").await?;
    let mut example = Example::start(world, "all_workspaces", &["annex.sh"], "root:annex")?;
    let line = format!("{} ({}): annex.sh is Some(Bound)", workspace.cluster, workspace.path);
    until(&format!("it prints {line:?}"), || {
        let said = example.said();
        let printed = said.map(|said| said.lines().any(|said| said == line).then_some(()));
        async { printed }
    })
    .await
}

/// A running example of kube-kcp, which ends with this value.
struct Example {
    process: Child,
    log: PathBuf,
}

impl Example {
    /// Runs it as the administrator in the workspace at `path`.
    fn start(world: &World, name: &str, args: &[&str], path: &str) -> anyhow::Result<Self> {
        let program = block_in_place(|| xtask::example("kube-kcp", name))?;
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let kubeconfig = folder.join(format!("{name}.kubeconfig"));
        std::fs::write(&kubeconfig, serde_json::to_vec(&kubeconfig_at(world, path)?)?)?;
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log)?;
        let mut command = Command::new(program);
        command.args(args).env("KUBECONFIG", kubeconfig);
        let process = command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).spawn()?;
        Ok(Self { process, log })
    }

    /// What it has printed. An error if it has ended: it should not.
    fn said(&mut self) -> anyhow::Result<String> {
        let said = std::fs::read_to_string(&self.log)?;
        if let Some(status) = self.process.try_wait()? {
            bail!("it ended with {status}: {said}");
        }
        Ok(said)
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The administrator's kubeconfig, all of whose contexts are the workspace at `path`.
fn kubeconfig_at(world: &World, path: &str) -> anyhow::Result<Value> {
    let mut kubeconfig: Value =
        serde_json::from_slice(&std::fs::read(world.stack.paths().kcp_kubeconfig())?)?;
    let server = format!("https://127.0.0.1:{}/clusters/{path}", world.stack.settings().kcp_port);
    for cluster in kubeconfig["clusters"].as_array_mut().context("a kubeconfig has clusters")? {
        cluster["cluster"]["server"] = server.clone().into();
    }
    Ok(kubeconfig)
}

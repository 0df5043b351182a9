//! An environment whose kcp and whose cluster run elsewhere, each known by the kubeconfig of its administrator alone.

use annex_e2e::World;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use tokio::task::block_in_place;
use xtask::{ComputeMode, Part, Settings, Stack, get};

use crate::environment::{alone, hello, namespace, tenant_on, uninstall_everything};

/// The services of another environment run in place of this one's, as long as this lives.
struct Other {
    world: &'static World,
    stack: Option<Stack>,
}

impl Other {
    fn begin(world: &'static World) -> anyhow::Result<Self> {
        let mut other = Self { world, stack: None };
        block_in_place(|| {
            world.stack.stop(Part::Controller)?;
            world.stack.stop(Part::Initializer)?;
            let (host, port) = world.stack.compute()?.ingress_http();
            let state = world.stack.paths().state().join("elsewhere");
            xtask::down(&state, true)?;
            let settings = Settings {
                kcp_kubeconfig: Some(world.stack.paths().kcp_kubeconfig()),
                compute: ComputeMode::Knative,
                compute_kubeconfig: Some(world.stack.paths().compute_kubeconfig()),
                runner_image: world.stack.runner_image().map(str::to_owned),
                ingress_http: Some(format!("{host}:{port}")),
                ..Settings::with_free_ports(&state)?
            };
            other.stack = Some(Stack::up(&settings)?);
            Ok(other)
        })
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let given_back = block_in_place(|| {
            if let Some(stack) = &self.stack {
                stack.down(true)?;
            }
            self.world.stack.start(Part::Controller)?;
            self.world.stack.start(Part::Initializer)
        });
        assert!(given_back.is_ok() || std::thread::panicking(), "{given_back:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kcp_and_a_cluster_that_run_elsewhere_are_used_and_left_as_they_are() -> anyhow::Result<()> {
    let (world, cluster, _turn) = alone().await?;
    uninstall_everything(world).await?;
    let other = Other::begin(world)?;
    let stack = other.stack.as_ref().expect("it is up");
    assert!(stack.compute().is_err() && stack.pid(Part::Kcp)?.is_none(), "neither runs here");

    let (workspace, host) = hello(world, "alice", "kn-elsewhere").await?;
    let port = stack.settings().runner_port;
    let answer = block_in_place(|| get(port, &host, "/"))?;
    let answer: Value = serde_json::from_str(&answer.body)?;
    assert_eq!(answer["tenant_id"], json!(workspace.cluster.to_string()));
    workspace.installs().delete("hello", &DeleteParams::default()).await?;
    cluster.gone(annex_e2e::Kind::Namespace, "", &namespace(&workspace)).await?;

    drop(other);
    let (again, host) = hello(world, "alice", "kn-elsewhere-after").await?;
    assert_eq!(tenant_on(world, &host).await?, again.cluster.to_string());
    Ok(())
}

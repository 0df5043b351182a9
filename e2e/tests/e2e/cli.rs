//! What tenants type, against a real kcp.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use annex_apis::{RETRY_ANNOTATION, StageStatus};
use annex_e2e::{GUEST_ENDPOINTS, Workspace, World, guest_says, when};
use anyhow::Context as _;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::{
    environment::shared,
    flows::{caller, flow, has, published, status},
};

fn annex(world: &World, args: &[&str]) -> anyhow::Result<(i32, String)> {
    let said = annex_as(world, &world.stack.paths().user_kubeconfig("alice"), args)?;
    Ok((said.code, format!("{}{}", said.out, said.err)))
}

/// What a command said, and how it ended.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

fn annex_as(world: &World, kubeconfig: &Path, args: &[&str]) -> anyhow::Result<Said> {
    let folder = world.stack.plugin_folder().context("the plugin is built")?;
    let output =
        Command::new(folder.join("kubectl-annex")).args(args).arg("--kubeconfig").arg(kubeconfig).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().context("the command ends by itself")?;
    Ok(Said { code, out: text(&output.stdout), err: text(&output.stderr) })
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

const NAME: &str = "com.example.commanded";

/// Somebody at a terminal, in a workspace of type `annex-tenant`. Other tests may be in others.
struct Terminal {
    world: &'static World,
    workspace: Workspace,
    folder: tempfile::TempDir,
}

impl Terminal {
    async fn open(world: &'static World, name: &str) -> anyhow::Result<Self> {
        let workspace = world.user("alice").await?.tenant(name).await?;
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let terminal = Self { world, workspace, folder };
        for user in ["alice", "mallory"] {
            let kubeconfig = std::fs::read_to_string(world.stack.paths().user_kubeconfig(user))?;
            // The first context of anybody is the root.
            let there = kubeconfig.replacen("/clusters/root", &format!("/clusters/root:{name}"), 1);
            assert_ne!(there, kubeconfig, "a kubeconfig has servers");
            std::fs::write(terminal.kubeconfig(user), there)?;
        }
        Ok(terminal)
    }

    fn kubeconfig(&self, user: &str) -> PathBuf {
        self.folder.path().join(user)
    }

    /// What a command says, and its exit code.
    fn says(&self, args: &[&str]) -> anyhow::Result<Said> {
        annex_as(self.world, &self.kubeconfig("alice"), &[args, &["-n", "default"]].concat())
    }

    /// The standard output of a command that gets to its end.
    fn done(&self, args: &[&str]) -> anyhow::Result<String> {
        let said = self.says(args)?;
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{args:?} {said:?}");
        Ok(said.out)
    }

    /// What of a command that does not is one line on standard error, and nothing else anywhere.
    fn refused(&self, code: i32, args: &[&str]) -> anyhow::Result<String> {
        let said = self.says(args)?;
        let message = said.err.strip_prefix("error: ").and_then(|line| line.strip_suffix('\n'));
        let message = message.filter(|message| !message.contains('\n'));
        let message = message.with_context(|| format!("{args:?} {said:?}"))?;
        assert_eq!((said.code, said.out.as_str()), (code, ""), "{args:?} {said:?}");
        Ok(message.to_owned())
    }

    /// The manifest of an Install with this in its spec.
    fn manifest(&self, spec: &Value) -> anyhow::Result<String> {
        let path = self.folder.path().join("install.yaml");
        let (kind, metadata) = ("Install", json!({ "name": "it" }));
        let object =
            json!({ "apiVersion": "annex.sh/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec });
        std::fs::write(&path, object.to_string())?;
        Ok(path.display().to_string())
    }

    async fn version_asked_for(&self) -> anyhow::Result<String> {
        Ok(self.workspace.installs().get("it").await?.spec.version)
    }
}

async fn gone(workspace: &Workspace, name: &str) -> anyhow::Result<()> {
    workspace.installs().delete(name, &Default::default()).await?;
    workspace.gone(name).await
}

fn asks(version: &str) -> Value {
    let (public, policy) = (GUEST_ENDPOINTS, "Purge");
    json!({ "extension": NAME, "version": version, "public": public, "retries": 20, "deletionPolicy": policy })
}

/// Three that can be gone between, one whose handler refuses for good, and one whose handler is called again and again.
async fn publish_all(world: &World) -> anyhow::Result<()> {
    for (version, store, search, upgrade) in [
        ("1.0.0", "1.0.0", "1.0.0", "note"),
        ("1.1.0", "1.0.0", "1.1.0", "note"),
        ("1.2.0", "1.2.0", "1.1.0", "refuse"),
        ("1.3.0", "1.3.0", "1.1.0", "fail"),
    ] {
        published(world, NAME, version, &[("store", store), ("search", search)], upgrade).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plan_says_is_what_the_flow_then_does() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let terminal = Terminal::open(world, "acme-plans").await?;
    publish_all(world).await?;
    let workspace = &terminal.workspace;

    // Of what is not there yet. Admission speaks, and nothing is made.
    let absent = terminal.refused(3, &["plan", "install/it"])?;
    assert!(absent.starts_with("install/it is not there in namespace default of "), "{absent}");
    let manifest = terminal.manifest(&asks("=1.0.0"))?;
    let plan = terminal.done(&["plan", "-f", &manifest])?;
    assert!(plan.contains(&format!("\n  Install of {NAME}, none → 1.0.0\n")), "{plan}");
    assert!(plan.contains("calls the install handler note of the module search (new in 1.0.0)\n"), "{plan}");
    let planned: Value = serde_json::from_str(&terminal.done(&["plan", "-f", &manifest, "-o", "json"])?)?;
    assert_eq!(workspace.installs().get_opt("it").await?, None, "a plan makes nothing");
    let manifest = terminal.manifest(&asks("^7"))?;
    let none = terminal.refused(1, &["plan", "-f", &manifest])?;
    assert!(none.contains("satisfies ^7; the newest are 1.3.0, 1.2.0, 1.1.0, 1.0.0"), "{none}");
    let mut nonsense = asks("=1.0.0");
    nonsense["retries"] = json!(1000);
    let manifest = terminal.manifest(&nonsense)?;
    let invalid = terminal.refused(1, &["plan", "-f", &manifest])?;
    assert!(invalid.contains("spec.retries"), "{invalid}");

    workspace.install("it", NAME, asks("=1.0.0")).await?;
    has(workspace, "it", "1.0.0").await?;
    went_as_planned(&terminal, &planned, &[("store", "Install"), ("search", "Install")]).await?;
    let plan = terminal.done(&["plan", "install/it"])?;
    assert!(plan.ends_with(&format!("\n  nothing to do: {NAME}, 1.0.0\n")), "{plan}");

    // Of an upgrade: who is told is who has changed.
    let manifest = terminal.manifest(&asks("=1.1.0"))?;
    let plan = terminal.done(&["plan", "-f", &manifest])?;
    assert!(plan.contains(&format!("\n  Upgrade of {NAME}, 1.0.0 → 1.1.0\n")), "{plan}");
    assert!(plan.contains("calls the upgrade handler note of the module search (1.0.0 → 1.1.0)\n"), "{plan}");
    let planned: Value = serde_json::from_str(&terminal.done(&["plan", "-f", &manifest, "-o", "json"])?)?;
    assert_eq!(terminal.version_asked_for().await?, "=1.0.0", "a plan changes nothing");
    workspace.change("it", json!({ "version": "=1.1.0" })).await?;
    has(workspace, "it", "1.1.0").await?;
    went_as_planned(&terminal, &planned, &[("search", "Upgrade")]).await?;

    // There is one of an extension in a workspace.
    workspace.install("second", NAME, asks("=1.0.0")).await?;
    workspace.refused("second", "AlreadyInstalled").await?;
    let blocked = terminal.says(&["plan", "install/second"])?;
    assert_eq!(blocked.code, 1, "{blocked:?}");
    assert!(
        blocked.out.ends_with("\nBlocked:\n  install/it in namespace default has this extension\n"),
        "{blocked:?}"
    );
    gone(workspace, "second").await?;

    let plan = terminal.done(&["plan", "install/it", "--delete"])?;
    assert!(plan.contains(&format!("\n  Revoke of {NAME}, 1.1.0 → none\n")), "{plan}");
    assert!(plan.contains("removes all that the extension stored\n"), "{plan}");
    let usage = terminal.says(&["plan", "-f", &manifest, "--delete"])?;
    assert_eq!(usage.code, 2, "{usage:?}");
    gone(workspace, "it").await
}

/// The last flow had these stages, which called these modules, and each got to its end.
async fn went_as_planned(terminal: &Terminal, planned: &Value, told: &[(&str, &str)]) -> anyhow::Result<()> {
    let install = terminal.workspace.installs().get("it").await?;
    let went: Vec<&str> = flow(&install).stages.iter().map(|stage| stage.name.as_str()).collect();
    let stages = planned["stages"].as_array().context("stages")?;
    let stages: Vec<&str> = stages.iter().filter_map(|stage| stage["name"].as_str()).collect();
    assert_eq!(stages, went);
    let calls: Vec<&str> = went.into_iter().filter_map(|stage| stage.strip_prefix("Lifecycle/")).collect();
    assert_eq!(calls, told.iter().map(|(module, _)| *module).collect::<Vec<_>>());
    assert!(told.iter().all(|(_, action)| planned["action"] == *action), "{planned}");

    let history = terminal.done(&["history", "install/it"])?;
    let (now, ended) = history.split_once("\nEnded, the newest first:\n").context("ended flows")?;
    for stage in stages {
        let line = now.lines().find(|line| line.split_whitespace().next() == Some(stage));
        let line = line.with_context(|| format!("{stage} {history}"))?;
        assert_eq!(line.split_whitespace().nth(1), Some("FINISHED"), "{history}");
    }
    let first = ended.lines().next().unwrap_or_default();
    assert!(first.contains(" ago ") && first.contains("FINISHED"), "{history}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_looked_back_on_tried_again_and_taken_back() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let terminal = Terminal::open(world, "acme-commands").await?;
    publish_all(world).await?;
    let workspace = &terminal.workspace;
    for command in ["history", "retry", "rollback"] {
        let absent = terminal.refused(3, &[command, "install/it"])?;
        assert!(absent.starts_with("install/it is not there in namespace default of "), "{absent}");
        let usage = terminal.says(&[command, "managedenvironment/it"])?;
        assert_eq!(usage.code, 2, "{usage:?}");
    }
    workspace.install("it", NAME, asks("=1.0.0")).await?;
    let before = has(workspace, "it", "1.0.0").await?;

    // Nothing has failed, and there is nothing to go back to.
    let fine = "install/it: nothing has failed, so nothing is begun again\n";
    assert_eq!(terminal.done(&["retry", "install/it"])?, fine);
    let none = terminal.refused(1, &["rollback", "install/it"])?;
    assert_eq!(none, "install/it: its history has no upgrade that got to its end; name a version with --to");
    let same = terminal.refused(1, &["rollback", "install/it", "--to", "1.0.0"])?;
    assert_eq!(same, "install/it: 1.0.0 is what is installed; name another version with --to");
    let usage = terminal.says(&["rollback", "install/it", "--to", "^1"])?;
    assert_eq!(usage.code, 2, "{usage:?}");
    let history = terminal.done(&["history", "install/it"])?;
    assert!(history.contains("\nInstall none → 1.0.0: FINISHED, "), "{history}");
    let now = workspace.installs().get("it").await?;
    assert_eq!((now.spec, now.metadata.annotations), (before.spec, before.metadata.annotations));
    workspace.change("it", json!({ "version": "=1.1.0" })).await?;
    has(workspace, "it", "1.1.0").await?;

    // One that fails is undone, and says so wherever one asks.
    workspace.change("it", json!({ "version": "=1.2.0" })).await?;
    let install = workspace.install_with("it", "Remediated", "True", "RolledBack").await?;
    let explained = terminal.says(&["explain", "install/it"])?;
    assert_eq!(explained.code, 1, "{explained:?}");
    for said in ["LifecycleFailed", "this cannot be migrated", "kubectl annex history install/it"] {
        assert!(explained.out.contains(said), "{said:?} in {}", explained.out);
    }
    let history = terminal.done(&["history", "install/it"])?;
    assert!(history.contains("\nUpgrade 1.1.0 → 1.2.0: CANCELLED, "), "{history}");
    let stage = history.lines().find(|line| line.contains("Lifecycle/store")).context("a stage")?;
    assert!(stage.contains("FAILED") && stage.contains("LifecycleFailed"), "{history}");
    let json: Value = serde_json::from_str(&terminal.done(&["history", "install/it", "-o", "json"])?)?;
    assert_eq!((&json["flow"]["status"], &json["flow"]["rollingBack"]), (&json!("CANCELLED"), &json!(false)));
    let last = &json["history"][0];
    assert_eq!((&last["to"], &last["reason"]), (&json!("1.2.0"), &json!("LifecycleFailed")));
    assert!(
        last["message"].as_str().is_some_and(|message| message.contains("this cannot be migrated")),
        "{last}"
    );
    let plan = terminal.done(&["plan", "install/it"])?;
    assert!(plan.contains("\nNote: the last flow to this version did not get to its end"), "{plan}");

    // It is begun again for who asks, once, and fails again.
    let failed = flow(&install).id.clone();
    let again = terminal.done(&["retry", "install/it"])?;
    assert!(
        again.starts_with("install/it: Upgrade 1.1.0 → 1.2.0, which is CANCELLED, is begun again\n"),
        "{again}"
    );
    assert!(again.contains("\n  kubectl annex history install/it -n default --kubeconfig "), "{again}");
    when(&workspace.installs(), "it", "the flow that was begun again has failed", |install| {
        let flow = flow(install);
        flow.id != failed && flow.status == StageStatus::Cancelled && flow.finished_at.is_some()
    })
    .await?;
    assert_eq!(guest_says(&caller(&install)?, NAME, "/version").await?, "1.1.0");

    // Back to what is installed: there is nothing to do, and nothing left that could be begun again.
    let tried = terminal.done(&["rollback", "install/it", "--dry-run=server"])?;
    assert_eq!(tried, "install/it: spec.version would be =1.1.0 (server dry run)\n");
    assert_eq!(terminal.version_asked_for().await?, "=1.2.0");
    let back = terminal.done(&["rollback", "install/it"])?;
    assert!(back.starts_with("install/it: spec.version is now =1.1.0\n"), "{back}");
    let install = has(workspace, "it", "1.1.0").await?;
    let retried = install.annotations().get(RETRY_ANNOTATION).cloned();
    assert!(retried.is_some());
    assert_eq!(terminal.done(&["retry", "install/it"])?, fine);
    let same = terminal.refused(1, &["rollback", "install/it", "--to", "1.1.0"])?;
    assert!(same.contains("1.1.0 is what is installed"), "{same}");
    assert_eq!(workspace.installs().get("it").await?.annotations().get(RETRY_ANNOTATION), retried.as_ref());

    // Back to what was there before the last upgrade that got to its end, and from there forth again.
    for (to, version) in [("=1.0.0", "1.0.0"), ("=1.1.0", "1.1.0")] {
        let back = terminal.done(&["rollback", "install/it"])?;
        assert!(back.starts_with(&format!("install/it: spec.version is now {to}\n")), "{back}");
        let install = has(workspace, "it", version).await?;
        assert_eq!(status(&install).history[0].to.as_deref(), Some(version));
    }

    // What is called again and again is called at once, and can be taken back meanwhile.
    workspace.change("it", json!({ "version": "=1.3.0" })).await?;
    when(&workspace.installs(), "it", "a handler waits to be called again", |install| {
        let flow = flow(install);
        flow.to.as_deref() == Some("1.3.0") && flow.stages.iter().any(|stage| stage.retries > 1)
    })
    .await?;
    let history = terminal.done(&["history", "install/it"])?;
    let stage = history.lines().find(|line| line.contains("Lifecycle/store")).context("a stage")?;
    assert!(stage.contains("IN_PROGRESS") && stage.contains("retries"), "{history}");
    let again = terminal.done(&["retry", "install/it"])?;
    assert!(again.contains("Upgrade 1.1.0 → 1.3.0, which is IN_PROGRESS, is begun again\n"), "{again}");
    let asked = workspace.installs().get("it").await?.annotations().get(RETRY_ANNOTATION).cloned();
    assert_ne!(asked, retried);
    when(&workspace.installs(), "it", "the flow knows of it", |install| flow(install).retry == asked).await?;
    let back = terminal.done(&["rollback", "install/it"])?;
    assert!(back.starts_with("install/it: spec.version is now =1.1.0\n"), "{back}");
    has(workspace, "it", "1.1.0").await?;
    assert_eq!(terminal.done(&["retry", "install/it"])?, fine);

    // So is what cannot be.
    workspace.change("it", json!({ "version": "^7" })).await?;
    workspace.refused("it", "NoMatchingVersion").await?;
    let back = terminal.done(&["rollback", "install/it"])?;
    assert!(back.starts_with("install/it: spec.version is now =1.1.0\n"), "{back}");
    has(workspace, "it", "1.1.0").await?;

    // Whose workspace it is not learns nothing.
    for command in ["history", "retry", "rollback", "plan"] {
        let said =
            annex_as(world, &terminal.kubeconfig("mallory"), &[command, "install/it", "-n", "default"])?;
        assert_eq!((said.code, said.out.as_str()), (3, ""), "{command} {said:?}");
        assert!(said.err.starts_with("error: ") && !said.err.contains(NAME), "{command} {said:?}");
    }
    gone(workspace, "it").await
}

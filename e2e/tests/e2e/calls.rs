//! Calls of extensions' code, through gateway and runner: who may, and what the code has.

use std::{cell::RefCell, sync::OnceLock};

use annex_e2e::{Caller, Workspace, World, component, packed_with, until};
use anyhow::Context as _;
use k8s_openapi::api::{
    authentication::v1::TokenRequest,
    core::v1::{Secret, ServiceAccount},
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::task::block_in_place;
use xtask::Part;

use crate::{
    environment::{alone, shared},
    registry::alice,
};

const NAME: &str = "com.example.calls";
/// Never in a log.
const PASSWORD: &str = "correct-horse-battery-staple";

/// The engine's guest, which does what the path says, published once.
async fn published(world: &World) -> anyhow::Result<()> {
    static COMPONENT: OnceLock<Vec<u8>> = OnceLock::new();
    let build = || component("engine/tests/guests", "annex_engine_guests").expect("the guest");
    let component = block_in_place(|| COMPONENT.get_or_init(build));
    let endpoint = |path: &str| json!({ "method": "GET", "path": path, "handler": "answer" });
    let endpoints = ["/hello", "/context", "/secret", "/kv-get", "/set-cookie", "/spin"].map(endpoint);
    let manifest = json!({
        "name": NAME, "publisher": "example.com", "version": "1.0.0",
        "capabilities": ["context", "http.fetch", "log", "metrics", "secrets", "storage.kv"],
        "endpoints": endpoints,
        "limits": { "timeoutMs": 5000, "memoryMiB": 32 },
    });
    let publisher = alice(world).await?;
    let (archive, unpacked) = packed_with(&manifest, component)?;
    let (status, body) = publisher.upload(&archive, Some(&publisher.signature(&unpacked)?)).await?;
    assert!(status.is_success(), "{body}");
    Ok(())
}

/// Installed in a new workspace of alice's, and whoever calls it there.
async fn installed(world: &World, name: &str, more: Value) -> anyhow::Result<(Workspace, Caller)> {
    published(world).await?;
    let workspace = world.user("alice").await?.tenant(name).await?;
    workspace.install("calls", NAME, more).await?;
    let url = workspace.installed("calls").await?.status.context("a status")?.url.context("a URL")?;
    Ok((workspace, Caller::of(&url)?))
}

/// Waits until a call comes to this status and code.
async fn comes_to(caller: &Caller, path: &str, status: u16, code: &str) -> anyhow::Result<()> {
    let last = RefCell::new(None);
    let what = format!("{path} is answered {status} {code}");
    let asked = until(&what, || async {
        let outcome = caller.outcome(NAME, path).await?;
        let there = outcome == (status, code.to_owned());
        last.replace(Some(outcome));
        Ok(there.then_some(()))
    });
    asked.await.with_context(|| format!("the last answer was {:?}", last.borrow()))
}

fn yaml(account: &Value) -> String {
    json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
          "metadata": { "name": "call", "namespace": "default" },
          "rules": [{ "apiGroups": ["annex.sh"], "resources": ["installs/invoke"], "resourceNames": ["calls"], "verbs": ["create"] }] },
        { "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
          "metadata": { "name": "call", "namespace": "default" },
          "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "call" },
          "subjects": [account] },
    ] })
    .to_string()
}

/// Lets somebody into the workspace itself, as kcp asks of whoever does anything there.
fn let_in(subject: &Value) -> String {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": { "name": "call-access" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:kcp:workspace:access" },
        "subjects": [subject],
    })
    .to_string()
}

/// What alice types, in one of her workspaces.
fn kubectl(world: &World, workspace: &Workspace, args: &[&str], input: &str) -> anyhow::Result<()> {
    let server = format!("{}/clusters/{}", world.stack.ops_url(Part::Kcp), workspace.path);
    let args = [&["--server", server.as_str()], args].concat();
    block_in_place(|| world.stack.user("alice").run_with_input(&args, input)).map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_call_is_said_with_kubectl_and_taken_back_with_it() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let (workspace, nobody) = installed(world, "acme-calls", json!({})).await?;
    let mallory = nobody.with_kubeconfig(&world.stack.paths().user_kubeconfig("mallory"))?;
    let owner = nobody.with_kubeconfig(&world.stack.paths().user_kubeconfig("alice"))?;

    comes_to(&owner, "/hello", 200, "").await?;
    assert_eq!(nobody.outcome(NAME, "/hello").await?, (401, "Unauthenticated".to_owned()));
    assert_eq!(nobody.with_token("rubbish").outcome(NAME, "/hello").await?.0, 401);
    assert_eq!(mallory.outcome(NAME, "/hello").await?, (403, "Forbidden".to_owned()));
    // Whether there is such an endpoint, or extension, is not for those who may not call.
    assert_eq!(mallory.outcome(NAME, "/nothing").await?.0, 403);
    assert_eq!(owner.outcome(NAME, "/nothing").await?, (404, "NoSuchEndpoint".to_owned()));

    let user = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "mallory" });
    kubectl(world, &workspace, &["apply", "-f", "-"], &let_in(&user))?;
    assert_eq!(mallory.outcome(NAME, "/hello").await?.0, 403, "access to the workspace is no right to call");
    kubectl(world, &workspace, &["apply", "-f", "-"], &yaml(&user))?;
    comes_to(&mallory, "/hello", 200, "").await?;
    kubectl(world, &workspace, &["delete", "rolebinding", "call", "--namespace", "default"], "")?;
    comes_to(&mallory, "/hello", 403, "Forbidden").await?;
    assert_eq!(owner.outcome(NAME, "/hello").await?.0, 200);
    workspace.installs().delete("calls", &DeleteParams::default()).await?;
    Ok(())
}

/// The token of a ServiceAccount `caller` in the namespace `default`.
async fn account(workspace: &Workspace) -> anyhow::Result<String> {
    let accounts: Api<ServiceAccount> = Api::namespaced(workspace.client.clone(), "default");
    let object = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "caller" } });
    accounts.patch("caller", &PatchParams::apply("test").force(), &Patch::Apply(object)).await?;
    let token =
        accounts.create_token_request("caller", &PostParams::default(), &TokenRequest::default()).await?;
    Ok(token.status.context("a token")?.token)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namesake_of_another_workspace_is_nobody_here() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let (acme, nobody) = installed(world, "acme-namesake", json!({})).await?;
    let (globex, of_globex) = installed(world, "globex-callers", json!({})).await?;
    let subject = json!({ "kind": "ServiceAccount", "namespace": "default", "name": "caller" });
    let group = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:serviceaccount:default:caller" });
    for workspace in [&acme, &globex] {
        kubectl(world, workspace, &["apply", "-f", "-"], &yaml(&subject))?;
        kubectl(world, workspace, &["apply", "-f", "-"], &let_in(&group))?;
    }
    let (ours, theirs) = (account(&acme).await?, account(&globex).await?);
    comes_to(&nobody.with_token(&ours), "/hello", 200, "").await?;
    comes_to(&of_globex.with_token(&theirs), "/hello", 200, "").await?;
    let answer = nobody.with_token(&theirs).outcome(NAME, "/hello").await?;
    assert_eq!(answer, (400, "WorkspaceMismatch".to_owned()));
    for workspace in [&acme, &globex] {
        workspace.installs().delete("calls", &DeleteParams::default()).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_has_the_secrets_that_its_install_names_and_nothing_of_anybody_elses() -> anyhow::Result<()>
{
    let (world, _turn) = alone().await;
    let workspace = {
        published(world).await?;
        world.user("alice").await?.tenant("acme-calls-secrets").await?
    };
    let secrets: Api<Secret> = Api::namespaced(workspace.client.clone(), "default");
    for name in ["smtp", "other"] {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": name, "labels": { "annex.sh/managed": "true" } },
            "stringData": { "token": PASSWORD },
        });
        secrets.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(secret)).await?;
    }
    workspace
        .install(
            "calls",
            NAME,
            json!({ "secrets": [{ "name": "smtp" }], "parameters": { "colour": "blue" } }),
        )
        .await?;
    let url = workspace.installed("calls").await?.status.context("a status")?.url.context("a URL")?;
    let caller = Caller::of(&url)?.with_kubeconfig(&world.stack.paths().user_kubeconfig("alice"))?;
    let said = async |path: &str| {
        let (status, body) = caller.call(reqwest::Method::GET, NAME, path, None).await?;
        anyhow::Ok((status.as_u16(), body))
    };
    comes_to(&caller, "/hello", 200, "").await?;

    assert_eq!(said("/secret?smtp").await?, (200, PASSWORD.to_owned()));
    assert_eq!(said("/secret?other").await?.1, "not-granted");
    let (_, context) = said("/context").await?;
    assert!(
        context.contains(&workspace.cluster.to_string()) && context.contains(r#""colour":"blue""#),
        "{context}"
    );
    // What storage has of another tenant's is not there.
    assert_eq!(said("/kv-get?note").await?, (200, "none".to_owned()));

    // Another value is there at the next call, and what the Install does not name any more is not.
    let changed = json!({ "apiVersion": "v1", "kind": "Secret", "stringData": { "token": "changed" } });
    secrets.patch("smtp", &PatchParams::default(), &Patch::Merge(changed)).await?;
    until("the changed secret is given", || async {
        Ok((said("/secret?smtp").await?.1 == "changed").then_some(()))
    })
    .await?;
    workspace.change("calls", json!({ "secrets": [] })).await?;
    until("it is given no more", || async {
        Ok((said("/secret?smtp").await?.1 == "not-granted").then_some(()))
    })
    .await?;

    // A guest that is ended leaves the next one well.
    assert_eq!(caller.outcome(NAME, "/spin").await?, (504, "Timeout".to_owned()));
    assert_eq!(said("/hello").await?, (200, "hello".to_owned()));

    for part in [Part::Gateway, Part::Runner, Part::Controller] {
        let log = std::fs::read_to_string(world.stack.paths().log(part))?;
        assert!(!log.contains(PASSWORD), "{part}");
    }
    workspace.installs().delete("calls", &DeleteParams::default()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_and_runner_start_anew_under_calls_and_go_on() -> anyhow::Result<()> {
    let (world, _turn) = alone().await;
    let (workspace, nobody) = installed(world, "acme-restarted", json!({ "public": ["GET /hello"] })).await?;
    // Nobody has to say who they are for what is public, and for nothing else.
    comes_to(&nobody, "/hello", 200, "").await?;
    assert_eq!(nobody.outcome(NAME, "/context").await?.0, 401);
    for part in [Part::Runner, Part::Gateway] {
        block_in_place(|| world.stack.kill(part))?;
        let (status, _) = nobody.outcome(NAME, "/hello").await.unwrap_or((0, String::new()));
        assert_ne!(status, 200, "{part} is gone");
        block_in_place(|| world.stack.start(part))?;
        comes_to(&nobody, "/hello", 200, "").await?;
    }
    workspace.installs().delete("calls", &DeleteParams::default()).await?;
    comes_to(&nobody, "/hello", 404, "UnknownHost").await?;
    Ok(())
}

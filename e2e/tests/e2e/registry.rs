//! Bundles, from a publisher to an Install, and what keeps others out.

use std::{fs, time::Duration};

use annex_apis::{ExtensionVersion, Install};
use annex_bundle::{ArchiveDigest, Limits};
use annex_e2e::{
    Publisher, World, condition, packed,
    replica::{Replica, says},
    until,
};
use annex_registry::{BundleStore, NewBundle};
use anyhow::Context as _;
use k8s_openapi::api::{
    authentication::v1::TokenRequest,
    core::v1::{Namespace, ServiceAccount},
    rbac::v1::{ClusterRole, ClusterRoleBinding},
};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::block_in_place};
use xtask::Part;

use crate::{
    environment::{alone, publish_version, shared},
    tenants::seeded_kubeconfig,
};

/// Somebody may publish, and add to the catalog.
async fn let_publish(annex: &Client, name: &str, subject: Value) -> anyhow::Result<()> {
    let rbac = |kind: &str, more: Value| {
        let mut object = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": { "name": name } });
        object.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        Patch::Apply(object)
    };
    let role = rbac(
        "ClusterRole",
        json!({ "rules": [
            { "apiGroups": ["annex.sh"], "resources": ["extensions"], "verbs": ["publish", "create"] },
            { "nonResourceURLs": ["/"], "verbs": ["access"] },
        ] }),
    );
    let binding = rbac(
        "ClusterRoleBinding",
        json!({
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
            "subjects": [subject],
        }),
    );
    let apply = PatchParams::apply("test").force();
    Api::<ClusterRole>::all(annex.clone()).patch(name, &apply, &role).await?;
    Api::<ClusterRoleBinding>::all(annex.clone()).patch(name, &apply, &binding).await?;
    Ok(())
}

/// Alice, who may publish.
pub(crate) async fn alice(world: &World) -> anyhow::Result<Publisher> {
    let annex = world.admin().await?.at("root:annex")?;
    let alice = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice" });
    let_publish(&annex, "test-publisher", alice).await?;
    let publisher = Publisher::new(&world.stack, "alice")?;
    may_publish(&publisher).await?;
    Ok(publisher)
}

/// kcp's authorizer hears of a new role a moment later.
async fn may_publish(publisher: &Publisher) -> anyhow::Result<()> {
    until("the role counts", || async {
        let (status, _) = publisher.publish("com.example.may", "1.0.0", "may").await?;
        Ok(status.is_success().then_some(()))
    })
    .await
}

async fn verified(world: &World, name: &str) -> anyhow::Result<(String, String)> {
    let versions: Api<ExtensionVersion> = Api::all(world.admin().await?.at("root:annex")?);
    let version = versions.get(name).await?;
    let conditions = version.status.map(|status| status.conditions).unwrap_or_default();
    let verified = conditions.into_iter().find(|condition| condition.type_ == "Verified");
    Ok(verified.map(|verified| (verified.status, verified.reason)).unwrap_or_default())
}

async fn turns(world: &World, name: &str, status: &str, reason: &str) -> anyhow::Result<()> {
    until(&format!("{name} is {status}, {reason}"), || async {
        Ok((verified(world, name).await? == (status.to_owned(), reason.to_owned())).then_some(()))
    })
    .await
}

fn reason<'a>(install: &'a Install, type_: &str) -> &'a str {
    condition(install, type_).map_or("", |condition| &condition.reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_is_verified_installed_and_looked_up() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let publisher = alice(world).await?;
    let (status, body) = publisher.publish("com.example.signed", "1.0.0", "one").await?;
    assert_eq!(status, 201, "{body}");
    assert_eq!(verified(world, "com.example.signed-1.0.0").await?, ("True".into(), "Verified".into()));

    let workspace = world.user("bob").await?.tenant("globex-signed").await?;
    workspace.install("x", "com.example.signed", json!({})).await?;
    let install = workspace.installed("x").await?;
    assert_eq!(reason(&install, "Verified"), "Verified");
    let status = install.status.context("a status")?;
    let host = status.host.context("a host")?;
    let (code, identity) = world.runner()?.lookup(&host).await?;
    assert_eq!((code.as_u16(), &identity["content_hash"]), (200, &body["contentHash"]));

    let (again, body) = publisher.publish("com.example.signed", "1.0.0", "one").await?;
    assert_eq!((again.as_u16(), &body["created"]), (200, &json!(false)));
    let (other, body) = publisher.publish("com.example.signed", "1.0.0", "two").await?;
    assert_eq!((other.as_u16(), &body["code"]), (409, &json!("VersionExists")));

    // Yanked, it stays and says so; nobody gets it anew.
    let versions: Api<ExtensionVersion> = Api::all(world.admin().await?.at("root:annex")?);
    let yanked = Patch::Merge(json!({ "spec": { "yanked": true } }));
    versions.patch("com.example.signed-1.0.0", &PatchParams::default(), &yanked).await?;
    workspace.install_with("x", "Resolved", "True", "VersionYanked").await?;
    let other = world.user("alice").await?.tenant("acme-yanked").await?;
    other.install("x", "com.example.signed", json!({})).await?;
    other.refused("x", "NoMatchingVersion").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_publish_and_what_is_not_signed_is_refused_with_the_reason() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let publisher = alice(world).await?;
    let (archive, unpacked) = packed("com.example.refused", "1.0.0", "one")?;
    let (status, body) = publisher.upload(&archive, None).await?;
    assert_eq!((status.as_u16(), &body["code"]), (422, &json!("Unsigned")));
    let mallory = Publisher::new(&world.stack, "mallory")?;
    let (status, body) = mallory.upload(&archive, Some(&publisher.signature(&unpacked)?)).await?;
    assert_eq!((status.as_u16(), &body["code"]), (403, &json!("Forbidden")));
    Ok(())
}

/// In kcp the ServiceAccounts of all workspaces have the same names.
#[tokio::test(flavor = "multi_thread")]
async fn a_publishing_service_accounts_namesake_in_another_workspace_may_not_publish() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let annex = world.admin().await?.at("root:annex")?;
    let apply = PatchParams::apply("test").force();
    let object = |kind: &str| {
        Patch::Apply(json!({ "apiVersion": "v1", "kind": kind, "metadata": { "name": "annex" } }))
    };
    Api::<Namespace>::all(annex.clone()).patch("annex", &apply, &object("Namespace")).await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(annex.clone(), "annex");
    accounts.patch("annex", &apply, &object("ServiceAccount")).await?;
    let robot = json!({ "kind": "ServiceAccount", "namespace": "annex", "name": "annex" });
    let_publish(&annex, "test-robot", robot).await?;
    let token =
        accounts.create_token_request("annex", &PostParams::default(), &TokenRequest::default()).await?;
    let token = token.status.context("a token")?.token;
    may_publish(&Publisher::with_token(&world.stack, &token)?).await?;

    let workspace = world.user("bob").await?.tenant("globex-namesake").await?;
    let namesake = Publisher::with_kubeconfig(&world.stack, &seeded_kubeconfig(&workspace).await?)?;
    let (status, body) = namesake.publish("com.example.may", "1.0.0", "may").await?;
    assert_eq!((status.as_u16(), &body["code"]), (403, &json!("Forbidden")), "{body}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trust_bundle_changes_and_installs_are_told() -> anyhow::Result<()> {
    let (world, _turn) = alone().await;
    let publisher = alice(world).await?;
    publisher.publish("com.example.trusted", "1.0.0", "one").await?;
    let workspace = world.user("bob").await?.tenant("globex-trusted").await?;
    workspace.install("x", "com.example.trusted", json!({})).await?;
    let host = workspace.installed("x").await?.status.and_then(|status| status.host).context("a host")?;

    let (file, denylist) = (world.stack.paths().trust_bundle(), world.stack.paths().denylist());
    let (trust, denied) = (fs::read(&file)?, fs::read(&denylist)?);
    let outcome = async {
        fs::write(&file, "")?;
        turns(world, "com.example.trusted-1.0.0", "False", "UntrustedSigner").await?;
        workspace.refused("x", "VerificationFailed").await?;
        until("nothing answers any more", || async {
            Ok((world.runner()?.lookup(&host).await?.0 == 404).then_some(()))
        })
        .await?;
        fs::write(&file, &trust)?;
        turns(world, "com.example.trusted-1.0.0", "True", "Verified").await?;
        workspace.installed("x").await?;
        fs::write(&denylist, "publisher example.com\n")?;
        turns(world, "com.example.trusted-1.0.0", "False", "Denied").await?;
        workspace.refused("x", "VerificationFailed").await?;
        // The controller has a denylist of its own, and may have been quicker than the registry's judgement, whose reason it tells then. No
        // panic: what is denied here has to be taken back for the tests that follow.
        until("the registry's reason is told", || async {
            let install = workspace.installs().get("x").await?;
            let said =
                condition(&install, "Verified").is_some_and(|verified| verified.message.contains("Denied"));
            Ok(said.then_some(()))
        })
        .await
    }
    .await;
    fs::write(&file, &trust)?;
    fs::write(&denylist, &denied)?;
    outcome?;
    workspace.installed("x").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_into_the_store_behind_the_registrys_back_is_not_installed() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let publisher = alice(world).await?;
    publisher.publish("com.example.back", "1.0.0", "good").await?;
    let (archive, unpacked) = packed("com.example.back", "2.0.0", "bad")?;
    let store = BundleStore::in_folder(world.stack.paths().bundle_store())?;
    let mut file = tempfile::tempfile()?;
    std::io::Write::write_all(&mut file, &archive)?;
    std::io::Seek::rewind(&mut file)?;
    let bundle = NewBundle {
        content: unpacked.content_hash,
        archive: ArchiveDigest::of(&archive),
        size: archive.len() as u64,
        // Signed by its publisher, even; but the registry has never seen it.
        signature: &publisher.signature(&unpacked)?,
        receipt: b"{}",
    };
    assert!(store.put(&bundle, &mut tokio::fs::File::from_std(file), false).await?);
    let more = json!({ "contentHash": unpacked.content_hash.to_string() });
    publish_version(world, "com.example.back", "2.0.0", more).await?;
    let versions: Api<ExtensionVersion> = Api::all(world.admin().await?.at("root:annex")?);
    let forged = json!({ "status": { "conditions": [{ "type": "Verified", "status": "True", "reason": "Verified", "message": "forged",
        "lastTransitionTime": "2026-01-01T00:00:00Z" }] } });
    versions.patch_status("com.example.back-2.0.0", &PatchParams::default(), &Patch::Merge(forged)).await?;
    let workspace = world.user("bob").await?.tenant("globex-back").await?;
    workspace.install("x", "com.example.back", json!({ "version": "=2.0.0" })).await?;
    workspace.refused("x", "VerificationFailed").await?;
    turns(world, "com.example.back-2.0.0", "False", "ReceiptInvalid").await?;
    workspace.change("x", json!({ "version": "=1.0.0" })).await?;
    workspace.installed("x").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_killed_leaves_a_bundle_or_none() -> anyhow::Result<()> {
    let (world, _turn) = alone().await;
    let publisher = alice(world).await?;
    let restart = || {
        block_in_place(|| {
            world.stack.kill(Part::Registry)?;
            world.stack.start(Part::Registry)
        })
    };
    // In mid-upload: half of the body is there.
    let (archive, unpacked) = packed("com.example.killed", "1.0.0", &"page ".repeat(100_000))?;
    let signature = publisher.signature(&unpacked)?;
    let (content_type, body) = Publisher::body(&archive, Some(&signature));
    let mut wire = TcpStream::connect(("127.0.0.1", world.stack.settings().registry_port())).await?;
    wire.write_all(publisher.head(&content_type, body.len()).as_bytes()).await?;
    wire.write_all(&body[..body.len() / 2]).await?;
    wire.flush().await?;
    let operations = world.stack.ops_url(Part::Registry);
    until("the upload is under way", || async {
        let text = world.runner()?.text(&format!("{operations}/readyz")).await?;
        Ok(text.contains("uploads: 1").then_some(()))
    })
    .await?;
    restart()?;
    let store = BundleStore::in_folder(world.stack.paths().bundle_store())?;
    assert!(store.get_whole(&unpacked.content_hash).await?.is_none());
    let (status, body) = publisher.upload(&archive, Some(&signature)).await?;
    assert_eq!(status, 201, "{body}");

    // In mid-publish: at some moment of it, each time another.
    for round in 0..6_u64 {
        let (archive, unpacked) = packed("com.example.killed", &format!("2.0.{round}"), "page")?;
        let signature = publisher.signature(&unpacked)?;
        let upload = publisher.upload(&archive, Some(&signature));
        let killed = async {
            tokio::time::sleep(Duration::from_millis(15 * round)).await;
            restart()
        };
        let (_, restarted) = tokio::join!(upload, killed);
        restarted?;
        let there = store.get_whole(&unpacked.content_hash).await?;
        if let Some(there) = &there {
            let mut bytes = Vec::new();
            let mut read = store
                .read(&unpacked.content_hash, &there.marker, annex_registry::BundleFile::Archive, None)
                .await?;
            while let Some(chunk) = futures::StreamExt::next(&mut read).await {
                bytes.extend_from_slice(&chunk?);
            }
            let whole = annex_bundle::unpack(&bytes[..], &Limits::default(), annex_bundle::Discard)?;
            assert_eq!(whole.content_hash, unpacked.content_hash);
        }
        let (status, body) = publisher.upload(&archive, Some(&signature)).await?;
        assert!(status.is_success(), "round {round}, {} before: {body}", there.is_some());
        turns(world, &format!("com.example.killed-2.0.{round}"), "True", "Verified").await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_install_is_made_again_for_who_may_update_it() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let publisher = alice(world).await?;
    publisher.publish("com.example.again", "1.0.0", "one").await?;
    let workspace = world.user("alice").await?.tenant("acme-again").await?;
    workspace.install("x", "com.example.again", json!({})).await?;
    let install = workspace.installed("x").await?;
    let id = install.metadata.uid.context("a uid")?;
    let (status, body) = publisher.reprovision(&id).await?;
    assert_eq!(status, 202, "{body}");
    until("it was made again", || async {
        let install = workspace.installs().get("x").await?;
        let answered = install.status.and_then(|status| status.reprovisioned);
        Ok((answered.as_deref() == body["requestedAt"].as_str()).then_some(()))
    })
    .await?;
    workspace.installed("x").await?;
    let (status, body) = Publisher::new(&world.stack, "mallory")?.reprovision(&id).await?;
    assert_eq!((status.as_u16(), &body["code"]), (404, &json!("UnknownInstall")));
    workspace.installs().delete("x", &DeleteParams::default()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn either_of_two_registries_answers_and_another_judges_when_one_is_gone() -> anyhow::Result<()> {
    let (world, _turn) = alone().await;
    let publisher = alice(world).await?;
    let listeners = ["--operations-listen", "--listen"];
    let second = Replica::start(world, Part::Registry, &listeners, &[])?;
    says(world, &second.url(0), "stands by; ").await?;
    publisher.publish("com.example.either", "1.0.0", "one").await?;
    let workspace = world.user("bob").await?.tenant("globex-either").await?;
    workspace.install("x", "com.example.either", json!({})).await?;
    let host = workspace.installed("x").await?.status.and_then(|status| status.host).context("a host")?;
    let runner = world.runner()?;
    let first = runner.lookup(&host).await?;
    until("the second knows the host, too", || async {
        Ok((runner.lookup_at(&second.url(1), &host).await? == first).then_some(()))
    })
    .await?;

    block_in_place(|| world.stack.kill(Part::Registry))?;
    let outcome = async {
        says(world, &second.url(0), "leads").await?;
        assert_eq!(runner.lookup_at(&second.url(1), &host).await?, first);
        // The folder is shared, and what is published here is judged here.
        let (status, body) =
            publisher.at(&second.url(1)).publish("com.example.either", "1.1.0", "two").await?;
        assert_eq!(status, 201, "{body}");
        turns(world, "com.example.either-1.1.0", "True", "Verified").await
    }
    .await;
    block_in_place(|| world.stack.start(Part::Registry))?;
    outcome?;
    // What the other has published is here, to the byte.
    let (archive, unpacked) = packed("com.example.either", "1.1.0", "two")?;
    let (status, body) = publisher.upload(&archive, Some(&publisher.signature(&unpacked)?)).await?;
    assert_eq!((status.as_u16(), &body["created"]), (200, &json!(false)));
    workspace.installs().delete("x", &DeleteParams::default()).await?;
    Ok(())
}

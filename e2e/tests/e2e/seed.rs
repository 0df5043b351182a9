//! What a workspace was seeded with stays as it was seeded, and its token is replaced.

use std::{collections::BTreeMap, fmt::Debug, fs, path::Path};

use annex_apis::{ManagedEnvironment, ROTATE_ANNOTATION, ROTATED_ANNOTATION, ROTATED_AT_ANNOTATION};
use annex_e2e::{Workspace, World, until, when};
use anyhow::{Context as _, ensure};
use futures::future::try_join_all;
use k8s_openapi::{
    ByteString, NamespaceResourceScope,
    api::{
        core::v1::{Namespace, Secret, ServiceAccount},
        events::v1::Event,
        rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
    },
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::block_in_place;
use xtask::Part;

use crate::environment::{alone, shared};

const KUBECONFIG: &str = "annex-kubeconfig";

fn seeded<K>(workspace: &Workspace) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    Api::namespaced(workspace.client.clone(), "annex")
}

async fn patch<K>(api: &Api<K>, name: &str, patch: Value) -> anyhow::Result<K>
where
    K: Clone + Debug + DeserializeOwned,
{
    Ok(api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?)
}

/// Changes an object by hand and waits until `same` says that it is as it was seeded.
async fn repaired<K>(
    api: &Api<K>,
    name: &str,
    change: Value,
    same: impl Fn(&K, &K) -> bool + Send + Sync,
) -> anyhow::Result<()>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let before = api.get(name).await?;
    let mut with_label = change;
    with_label["metadata"] = json!({ "labels": { "team": "blue" }, "annotations": { "note": "ours" } });
    let changed = patch(api, name, with_label).await?;
    ensure!(!same(&changed, &before), "the change is one: {changed:?}");
    let after = when(api, name, "it is as it was seeded", |now| same(now, &before)).await?;
    assert_eq!(after.labels()["team"], "blue", "what the tenant adds stays");
    assert_eq!(after.annotations()["note"], "ours");
    assert_eq!(after.uid(), before.uid(), "it was not made anew");
    Ok(())
}

/// Deletes an object and waits until there is another in its place.
async fn made_again<K>(api: &Api<K>, name: &str) -> anyhow::Result<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let before = api.get(name).await?.uid();
    api.delete(name, &DeleteParams::default()).await?;
    until(&format!("{name} is made again"), || async {
        Ok(api.get_opt(name).await?.filter(|object| object.uid() != before))
    })
    .await
}

/// Puts an object with another content into the place of a seeded one, and waits until it is as it was seeded.
async fn replaced<K>(
    api: &Api<K>,
    name: &str,
    change: impl Fn(&mut K),
    same: impl Fn(&K, &K) -> bool + Send + Sync,
) -> anyhow::Result<()>
where
    K: Resource<DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + serde::Serialize
        + Send
        + Sync
        + 'static,
{
    let before = api.get(name).await?;
    let mut mine = before.clone();
    *mine.meta_mut() = Default::default();
    mine.meta_mut().name = Some(name.to_owned());
    mine.meta_mut().labels = Some([("annex.sh/managed".to_owned(), "true".to_owned())].into());
    change(&mut mine);
    until(&format!("{name} is replaced by hand"), || async {
        api.delete(name, &DeleteParams::default()).await.map(drop).or_else(|error| match error {
            kube::Error::Api(status) if status.code == 404 => Ok(()),
            error => Err(error),
        })?;
        // Annex may be faster.
        Ok(api.create(&PostParams::default(), &mine).await.ok())
    })
    .await?;
    when(api, name, "it is as it was seeded", |now| same(now, &before)).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_in_the_seed_is_put_right_and_what_is_added_stays() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let workspace = world.user("alice").await?.tenant("acme-drift").await?;
    let client = &workspace.client;
    let (roles, role_bindings) = (seeded::<Role>(&workspace), seeded::<RoleBinding>(&workspace));
    let cluster_roles: Api<ClusterRole> = Api::all(client.clone());
    let cluster_role_bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    let environments = seeded::<ManagedEnvironment>(&workspace);

    repaired(&roles, "annex", json!({ "rules": [] }), |a, b| a.rules == b.rules).await?;
    repaired(&cluster_roles, "annex", json!({ "rules": [] }), |a, b| a.rules == b.rules).await?;
    repaired(&role_bindings, "annex", json!({ "subjects": null }), |a, b| a.subjects == b.subjects).await?;
    for name in ["annex", "annex-access"] {
        let change = json!({ "subjects": [{ "kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "eve" }] });
        repaired(&cluster_role_bindings, name, change, |a, b| a.subjects == b.subjects).await?;
    }
    let change = json!({ "spec": { "namespaces": ["default"], "clusterResources": true } });
    repaired(&environments, "workspace", change, |a, b| a.spec == b.spec).await?;

    // What cannot be changed is made anew.
    let other = "system:kcp:workspace:access";
    replaced(
        &role_bindings,
        "annex",
        |it| it.role_ref.kind = "ClusterRole".into(),
        |a, b| a.role_ref == b.role_ref,
    )
    .await?;
    replaced(
        &cluster_role_bindings,
        "annex",
        |it| it.role_ref.name = other.into(),
        |a, b| a.role_ref == b.role_ref,
    )
    .await?;

    made_again(&roles, "annex").await?;
    made_again(&role_bindings, "annex").await?;
    made_again(&cluster_roles, "annex").await?;
    made_again(&cluster_role_bindings, "annex-access").await?;
    made_again(&environments, "workspace").await?;
    opens(&workspace).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kubeconfig_secret_is_put_right() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let workspace = world.user("alice").await?.tenant("acme-kubeconfig-drift").await?;
    let secrets = seeded::<Secret>(&workspace);
    let same = |a: &Secret, b: &Secret| {
        let key = |secret: &Secret| secret.data.as_ref().and_then(|data| data.get("kubeconfig").cloned());
        (key(a), &a.type_) == (key(b), &b.type_)
    };
    let junk =
        json!({ "data": { "kubeconfig": ByteString(b"junk".to_vec()), "mine": ByteString(b"x".to_vec()) } });
    repaired(&secrets, KUBECONFIG, junk, same).await?;
    let secret = secrets.get(KUBECONFIG).await?;
    assert!(
        secret.data.as_ref().is_some_and(|data| data.contains_key("mine")),
        "other keys are the tenant's"
    );
    replaced(&secrets, KUBECONFIG, |it| it.type_ = Some("Opaque".into()), same).await?;
    let frozen = |it: &mut Secret| {
        it.immutable = Some(true);
        it.data = None;
    };
    replaced(&secrets, KUBECONFIG, frozen, same).await?;
    assert_eq!(secrets.get(KUBECONFIG).await?.immutable, None);
    made_again(&secrets, KUBECONFIG).await?;
    opens(&workspace).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_or_namespace_that_is_deleted_comes_back_with_a_kubeconfig_that_works()
-> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let workspace = world.user("alice").await?.tenant("acme-deleted-account").await?;
    let accounts = seeded::<ServiceAccount>(&workspace);
    made_again(&accounts, "annex").await?;
    opens(&workspace).await?;
    let namespaces: Api<Namespace> = Api::all(workspace.client.clone());
    made_again(&namespaces, "annex").await?;
    let environments = seeded::<ManagedEnvironment>(&workspace);
    when(&environments, "workspace", "the environment is seeded again", |_| true).await?;
    opens(&workspace).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_without_the_label_is_the_tenants_and_that_is_said_once() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let workspace = world.user("alice").await?.tenant("acme-unlabelled").await?;
    let roles = seeded::<Role>(&workspace);
    let before = roles.get("annex").await?;
    let label = |value: Value| json!({ "metadata": { "labels": { "annex.sh/managed": value } } });
    patch(&roles, "annex", label(Value::Null)).await?;
    patch(&roles, "annex", json!({ "rules": [] })).await?;

    let events = seeded::<Event>(&workspace);
    let told = || async {
        let mut events = events.list(&ListParams::default()).await?.items;
        events.retain(|event| event.reason.as_deref() == Some("NotManaged"));
        anyhow::Ok(events)
    };
    let event = until("an Event says it", || async { Ok(told().await?.pop()) }).await?;
    let note = event.note.unwrap_or_default();
    ensure!(
        note.contains("Role annex ") && note.contains("kubectl label roles annex annex.sh/managed=true"),
        "{note}"
    );
    assert_eq!(event.regarding.and_then(|it| it.name).as_deref(), Some("workspace"));
    // Whatever else is repaired meanwhile: it stays the tenant's, and that is not said again.
    for _ in 0..3 {
        made_again(&seeded::<RoleBinding>(&workspace), "annex").await?;
    }
    assert_eq!(told().await?.len(), 1);
    assert_eq!(roles.get("annex").await?.rules.unwrap_or_default(), []);

    patch(&roles, "annex", label(json!("true"))).await?;
    when(&roles, "annex", "it is Annex's again", |role| role.rules == before.rules).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_is_asked_for_and_the_old_one_is_refused() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let workspace = world.user("alice").await?.tenant("acme-rotate").await?;
    let secrets = seeded::<Secret>(&workspace);
    let first = kubeconfig_client(&secrets.get(KUBECONFIG).await?).await?;
    ensure!(enters(&first).await?, "the first token works");

    // At no moment is there a kubeconfig that does not work. The one that is read may be replaced while it is tried.
    let always = async {
        let rotated =
            |secret: &Secret| secret.annotations().get(ROTATED_ANNOTATION).is_some_and(|it| it == "2");
        until("rotated twice", || async {
            let secret = secrets.get(KUBECONFIG).await?;
            let works = enters(&kubeconfig_client(&secret).await?).await?;
            let now = secrets.get(KUBECONFIG).await?;
            ensure!(works || now.resource_version() != secret.resource_version(), "it does not work");
            Ok(rotated(&secret).then_some(()))
        })
        .await
    };
    let asked = async {
        for value in ["1", "2"] {
            rotate(&workspace, value).await?;
            rotated(&workspace, value).await?;
        }
        anyhow::Ok(())
    };
    tokio::try_join!(always, asked)?;

    let secret = secrets.get(KUBECONFIG).await?;
    ensure!(secret.annotations().contains_key(ROTATED_AT_ANNOTATION), "{:?}", secret.annotations());
    ensure!(enters(&kubeconfig_client(&secret).await?).await?, "the new token works");
    until("the old token is refused", || async { Ok((!enters(&first).await?).then_some(())) }).await?;
    let token = only_token(&workspace).await?;
    assert_eq!(secret.annotations()["annex.sh/token"], token);

    // The same value again asks for nothing: what is done next is done with the same token.
    rotate(&workspace, "2").await?;
    made_again(&secrets, KUBECONFIG).await?;
    assert_eq!(only_token(&workspace).await?, token);
    opens(&workspace).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_deleted_or_pasted_over_is_replaced_and_the_kubeconfig_follows() -> anyhow::Result<()>
{
    let (world, _turn) = shared().await;
    let workspace = world.user("alice").await?.tenant("acme-token").await?;
    let secrets = seeded::<Secret>(&workspace);
    let kubeconfig = || async { anyhow::Ok(secrets.get(KUBECONFIG).await?.data) };
    let follows = |before| async move {
        until("the kubeconfig follows", || async { Ok((kubeconfig().await? != before).then_some(())) }).await
    };

    let old = kubeconfig_client(&secrets.get(KUBECONFIG).await?).await?;
    let before = kubeconfig().await?;
    let deleted = only_token(&workspace).await?;
    secrets.delete(&deleted, &DeleteParams::default()).await?;
    follows(before).await?;
    opens(&workspace).await?;
    // kcp would make the same token again for a Secret of the same name: whoever deletes one wants it to end.
    until("the deleted token is refused", || async { Ok((!enters(&old).await?).then_some(())) }).await?;
    assert_ne!(only_token(&workspace).await?, deleted);

    let before = kubeconfig().await?;
    let junk = json!({ "data": { "token": ByteString(b"junk".to_vec()) } });
    patch(&secrets, &only_token(&workspace).await?, junk).await?;
    follows(before).await?;
    opens(&workspace).await?;

    // One that Annex may not see any more is as good as gone.
    let before = kubeconfig().await?;
    let hidden = only_token(&workspace).await?;
    patch(&secrets, &hidden, json!({ "metadata": { "labels": { "annex.sh/managed": null } } })).await?;
    follows(before).await?;
    opens(&workspace).await?;
    ensure!(secrets.get_opt(&hidden).await?.is_some(), "it is the tenant's now");

    // Neither is it deleted if it only has such a name.
    let mine = json!({ "apiVersion": "v1", "kind": "Secret",
        "metadata": { "name": "annex-token-0123456789", "labels": { "annex.sh/managed": "true" } } });
    secrets.create(&PostParams::default(), &serde_json::from_value(mine)?).await?;
    rotate(&workspace, "now").await?;
    rotated(&workspace, "now").await?;
    ensure!(secrets.get_opt("annex-token-0123456789").await?.is_some());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_release_reaches_old_workspaces_and_old_tokens_are_replaced() -> anyhow::Result<()> {
    let (world, _turn) = alone().await;
    let workspace = world.user("alice").await?.tenant("acme-release").await?;
    let secrets = seeded::<Secret>(&workspace);
    let roles = seeded::<Role>(&workspace);
    let rules = roles.get("annex").await?.rules;
    block_in_place(|| world.stack.stop(Part::Controller))?;
    // As another release may have left it: less in the Role, and nothing in the kubeconfig Secret that names its token.
    patch(&roles, "annex", json!({ "rules": [] })).await?;
    patch(&secrets, KUBECONFIG, json!({ "metadata": { "annotations": { "annex.sh/token": null } } })).await?;

    let ca = fs::read_to_string(world.stack.paths().kcp_ca())?;
    let other = Path::new(env!("CARGO_TARGET_TMPDIR")).join("other-ca.crt");
    fs::write(&other, format!("{ca}\n# the same, from another operator\n"))?;
    let other = other.display().to_string();
    let result = with_other_settings(world, &workspace, &other, &rules).await;
    // Whatever came of it, the other tests need the environment as it was.
    block_in_place(|| {
        world.stack.stop(Part::Controller)?;
        world.stack.configure(Part::Controller, &[], &[]);
        world.stack.start(Part::Controller)
    })?;
    result?;
    when(&secrets, KUBECONFIG, "the former CA is in it again", |secret| {
        authority(secret) == Some(ca.clone())
    })
    .await?;
    only_token(&workspace).await?;
    opens(&workspace).await
}

async fn with_other_settings(
    world: &World,
    workspace: &Workspace,
    ca: &str,
    rules: &Option<Vec<k8s_openapi::api::rbac::v1::PolicyRule>>,
) -> anyhow::Result<()> {
    let restart = |args: &[&str]| {
        block_in_place(|| {
            world.stack.stop(Part::Controller)?;
            world.stack.configure(Part::Controller, args, &[]);
            world.stack.start(Part::Controller)
        })
    };
    let secrets = seeded::<Secret>(workspace);
    restart(&["--tenant-ca-file", ca])?;
    let text = fs::read_to_string(ca)?;
    let new = when(&secrets, KUBECONFIG, "the other CA is in it", |secret| {
        authority(secret) == Some(text.clone()) && secret.annotations().contains_key("annex.sh/token")
    })
    .await?;
    when(&seeded::<Role>(workspace), "annex", "the Role is of this release", |role| role.rules == *rules)
        .await?;
    ensure!(enters(&kubeconfig_client(&new).await?).await?, "the token is the same and works");
    ensure!(!new.annotations().contains_key(ROTATED_AT_ANNOTATION), "a new CA needs no new token");

    restart(&["--tenant-ca-file", ca, "--token-max-age", "10s"])?;
    let rotated = when(&secrets, KUBECONFIG, "the token is replaced for its age", |secret| {
        secret.annotations().contains_key(ROTATED_AT_ANNOTATION)
    })
    .await?;
    ensure!(!rotated.annotations().contains_key(ROTATED_ANNOTATION), "nobody asked");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_controller_is_killed_in_the_middle_of_ten_rotations() -> anyhow::Result<()> {
    let (world, _turn) = alone().await;
    let alice = world.user("alice").await?;
    let workspaces = try_join_all((0..10).map(|number| {
        let alice = alice.clone();
        async move { alice.tenant(&format!("acme-rotates-{number}")).await }
    }))
    .await?;
    let mut old = Vec::new();
    for workspace in &workspaces {
        old.push(kubeconfig_client(&seeded::<Secret>(workspace).get(KUBECONFIG).await?).await?);
    }
    // Until the first is done: then the others are somewhere on their way.
    let asked = try_join_all(workspaces.iter().map(|workspace| rotate(workspace, "x")));
    let first = workspaces.first().context("ten workspaces")?;
    tokio::try_join!(asked, rotated(first, "x"))?;
    block_in_place(|| {
        world.stack.kill(Part::Controller)?;
        world.stack.start(Part::Controller)
    })?;
    for (workspace, old) in workspaces.iter().zip(&old) {
        rotated(workspace, "x").await?;
        opens(workspace).await?;
        assert_ne!(only_token(workspace).await?, "annex-token");
        until("the old token is refused", || async { Ok((!enters(old).await?).then_some(())) }).await?;
    }
    Ok(())
}

async fn rotate(workspace: &Workspace, value: &str) -> anyhow::Result<()> {
    let change = json!({ "metadata": { "annotations": { ROTATE_ANNOTATION: value } } });
    patch(&seeded::<Secret>(workspace), KUBECONFIG, change).await.map(drop)
}

async fn rotated(workspace: &Workspace, value: &str) -> anyhow::Result<Secret> {
    when(&seeded::<Secret>(workspace), KUBECONFIG, "the token is replaced", |secret| {
        secret.annotations().get(ROTATED_ANNOTATION).is_some_and(|handled| handled == value)
    })
    .await
}

/// The name of the workspace's token Secret, once there is but one that Annex made.
async fn only_token(workspace: &Workspace) -> anyhow::Result<String> {
    let secrets = seeded::<Secret>(workspace);
    until("there is one token Secret", || async {
        let labelled = ListParams::default().labels("annex.sh/managed=true");
        let mut found = secrets.list(&labelled).await?.items;
        found.retain(|it| it.type_.as_deref() == Some("kubernetes.io/service-account-token"));
        Ok(match found.as_slice() {
            [one] => Some(one.name_any()),
            _ => None,
        })
    })
    .await
}

/// Waits until the seeded kubeconfig opens the workspace.
async fn opens(workspace: &Workspace) -> anyhow::Result<()> {
    let secrets = seeded::<Secret>(workspace);
    until("the seeded kubeconfig works", || async {
        let Some(secret) = secrets.get_opt(KUBECONFIG).await? else { return Ok(None) };
        Ok(enters(&kubeconfig_client(&secret).await?).await?.then_some(()))
    })
    .await
}

fn kubeconfig(secret: &Secret) -> anyhow::Result<Kubeconfig> {
    let data: BTreeMap<_, _> = secret.data.clone().unwrap_or_default();
    let text = data.get("kubeconfig").context("the Secret has a kubeconfig")?;
    Ok(Kubeconfig::from_yaml(std::str::from_utf8(&text.0)?)?)
}

fn authority(secret: &Secret) -> Option<String> {
    let kubeconfig = kubeconfig(secret).ok()?;
    let data = kubeconfig.clusters.first()?.cluster.as_ref()?.certificate_authority_data.clone()?;
    let ByteString(pem) = serde_json::from_value(json!(data)).ok()?;
    String::from_utf8(pem).ok()
}

async fn kubeconfig_client(secret: &Secret) -> anyhow::Result<Client> {
    let config =
        kube::Config::from_custom_kubeconfig(kubeconfig(secret)?, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// Whether the workspace lets this identity in; a failure is anything but that it does not.
async fn enters(client: &Client) -> anyhow::Result<bool> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    match namespaces.list(&ListParams::default()).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if matches!(status.code, 401 | 403) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

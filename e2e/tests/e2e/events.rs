//! What an Install's tenant reads in `kubectl events`.

use annex_apis::Install;
use annex_e2e::{Workspace, until};
use k8s_openapi::api::events::v1::Event;
use kube::{Api, ResourceExt as _, api::ListParams};
use serde_json::json;

use crate::environment::{publish, shared};

/// The Events about an Install, in its namespace.
pub(crate) async fn about(workspace: &Workspace, install: &Install) -> anyhow::Result<Vec<Event>> {
    let events: Api<Event> = Api::namespaced(workspace.client.clone(), "default");
    let mut events = events.list(&ListParams::default()).await?.items;
    events.retain(|event| {
        event.regarding.as_ref().is_some_and(|regarding| regarding.uid == install.metadata.uid)
    });
    Ok(events)
}

/// Those of them that are no news of the moment: where the registry has heard of a host only after a second, that is said as well, and
/// rightly.
pub(crate) async fn lasting(workspace: &Workspace, install: &Install) -> anyhow::Result<Vec<Event>> {
    let mut events = about(workspace, install).await?;
    events.retain(|event| event.reason.as_deref() != Some("DomainNotAnswering"));
    Ok(events)
}

/// Those of them that have this reason, once there are any: an Event is written after the condition that it tells of.
pub(crate) async fn told(
    workspace: &Workspace,
    install: &Install,
    reason: &str,
) -> anyhow::Result<Vec<Event>> {
    until(&format!("an Event about {} says {reason}", install.name_any()), || async {
        let mut events = about(workspace, install).await?;
        events.retain(|event| event.reason.as_deref() == Some(reason));
        Ok((!events.is_empty()).then_some(events))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_install_that_is_ready_says_so_once() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let workspace = world.user("alice").await?.tenant("acme-events").await?;
    workspace.install("hello", "com.example.hello", json!({})).await?;
    workspace.installed("hello").await?;
    // An Install is worked on by one at a time: an Event for the first change, were there one, is written before the status
    // says that the second was looked at.
    for version in ["^1", "=1.0.0"] {
        workspace.change("hello", json!({ "version": version })).await?;
        workspace.installed("hello").await?;
    }
    let install = workspace.installs().get("hello").await?;
    let events = lasting(&workspace, &install).await?;
    let [event] = events.as_slice() else { panic!("not one Event but {events:#?}") };
    assert_eq!((event.type_.as_deref(), event.reason.as_deref()), (Some("Normal"), Some("Ready")));
    let regarding = event.regarding.as_ref().expect("what it is about");
    assert_eq!(
        (regarding.kind.as_deref(), regarding.namespace.as_deref(), regarding.name.as_deref()),
        (Some("Install"), Some("default"), Some("hello"))
    );
    assert_eq!(event.namespace().as_deref(), Some("default"));
    assert_eq!(event.labels().get("annex.sh/managed").map(String::as_str), Some("true"));
    let host = install.status.and_then(|status| status.host).expect("a host");
    assert!(event.note.as_ref().is_some_and(|note| note.contains(&host)), "{event:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_install_that_is_refused_warns_and_later_says_that_it_is_ready() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let workspace = world.user("alice").await?.tenant("acme-warned").await?;
    workspace.install("x", "com.example.warned", json!({})).await?;
    let refused = workspace.refused("x", "ExtensionNotFound").await?;
    let events = told(&workspace, &refused, "ExtensionNotFound").await?;
    let [event] = events.as_slice() else { panic!("not one Event but {events:#?}") };
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    let message = annex_e2e::condition(&refused, "Ready").map(|ready| &ready.message);
    assert_eq!(event.note.as_ref(), message);
    assert_eq!(event.labels().get("annex.sh/managed").map(String::as_str), Some("true"));

    publish(world, "com.example.warned", &["1.0.0"]).await?;
    let installed = workspace.installed("x").await?;
    let events = told(&workspace, &installed, "Ready").await?;
    assert_eq!(events.iter().map(|event| event.type_.as_deref()).collect::<Vec<_>>(), [Some("Normal")]);
    Ok(())
}

//! Calls on a cluster: through Envoy and the gateway to what executes in the workspace's own namespace.

use annex_e2e::{
    Caller, Kind, NOTES, NOTES_ENDPOINTS, NotesPage, console_errors, publish_notes, until, with_browser,
};
use anyhow::Context as _;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::environment::{namespace, shared};

#[tokio::test(flavor = "multi_thread")]
async fn the_samples_page_keeps_its_notes_though_its_pods_go() -> anyhow::Result<()> {
    let (world, cluster, _turn) = shared().await?;
    block_in_place(|| publish_notes(&world.stack, &world.stack.paths().kcp_kubeconfig()))?;
    let acme = world.user("alice").await?.tenant("kn-acme-notes").await?;
    let globex = world.user("bob").await?.tenant("kn-globex-notes").await?;
    let mut urls = Vec::new();
    for workspace in [&acme, &globex] {
        workspace.install("notes", NOTES, json!({ "public": NOTES_ENDPOINTS })).await?;
    }
    for workspace in [&acme, &globex] {
        urls.push(workspace.installed("notes").await?.status.context("a status")?.url.context("a URL")?);
    }
    with_browser(async |session| {
        session.goto(&urls[0]).await?;
        let page = NotesPage(&session);
        assert_eq!(page.tenant_once_awake().await?, acme.cluster.to_string());
        // What took too long to start is an error on the console, too.
        console_errors(&session).await?;
        page.save("Buy milk").await?;
        assert_eq!(console_errors(&session).await?, Vec::<String>::new());

        // All that executed is gone, and with it everything that it kept by itself.
        let pods = cluster.list(Kind::Pod, &namespace(&acme)).await?;
        let before: Vec<String> = pods.iter().filter_map(|pod| pod.metadata.uid.clone()).collect();
        assert!(!before.is_empty(), "something executed it");
        for pod in &pods {
            cluster
                .delete(Kind::Pod, &namespace(&acme), pod.metadata.name.as_deref().unwrap_or_default())
                .await?;
        }
        until("the pods are gone", || async {
            let pods = cluster.list(Kind::Pod, &namespace(&acme)).await?;
            let gone =
                !pods.iter().any(|pod| pod.metadata.uid.as_ref().is_some_and(|uid| before.contains(uid)));
            Ok(gone.then_some(()))
        })
        .await?;
        session.goto(&urls[0]).await?;
        page.tenant_once_awake().await?;
        page.shows("Buy milk").await
    })
    .await?;

    // The other workspace has a runner of its own, and none of it.
    let caller = Caller::of(&urls[1])?;
    let body = until("the other workspace's has started", || async {
        let (status, body) = caller.call(Method::GET, NOTES, "/notes", None).await?;
        Ok((status == 200).then_some(body))
    })
    .await?;
    let answer: Value = serde_json::from_str(&body)?;
    assert_eq!((&answer["tenant"], &answer["notes"]), (&json!(globex.cluster.to_string()), &json!([])));
    for workspace in [&acme, &globex] {
        workspace.installs().delete("notes", &Default::default()).await?;
    }
    // Another test that compares the cluster with what it was must not see these go.
    for workspace in [&acme, &globex] {
        cluster.gone(Kind::Namespace, "", &namespace(workspace)).await?;
    }
    Ok(())
}

//! Writes over the wire: what the store does is tested there.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of it is test: a panic is how a test fails"
)]

mod support;

use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::{
    Api, ResourceExt as _,
    api::{
        DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy,
        WatchEvent, WatchParams,
    },
};
use kube_kcp_scripted_server::{Kind, Match, Verb};
use serde_json::json;
use support::{
    config_map, config_maps, http1, http2, install, installs, refusal, soon, start, wildcard, workspace,
};

fn parsed<T: serde::de::DeserializeOwned>(object: serde_json::Value) -> T {
    serde_json::from_value(object).unwrap()
}

#[tokio::test]
async fn an_object_lives_and_ends_as_its_watch_says() {
    let (server, shard) = start().await;
    shard.serve(Kind::new("annex.sh/v1", "Install"));
    for client in [http1(&server, &workspace(&shard, "a")), http2(&server, &workspace(&shard, "a"))] {
        let api = installs(client);
        let mut events =
            api.watch(&WatchParams::default(), &shard.revision().to_string()).await.unwrap().boxed();
        let create: DynamicObject = parsed(install("x"));
        let mut object = api.create(&PostParams::default(), &create).await.unwrap();
        assert_eq!(object.annotations()["kcp.io/cluster"], "a");
        object.finalizers_mut().push("annex.sh/x".into());
        let object = api.replace("x", &PostParams::default(), &object).await.unwrap();
        let status = json!({"status": {"ready": true}, "spec": {"n": 9}});
        let patched = api.patch_status("x", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
        assert_eq!((&patched.data["status"]["ready"], &patched.data["spec"]["n"]), (&json!(true), &json!(1)));
        let stale = api.replace("x", &PostParams::default(), &object).await;
        assert_eq!(refusal(stale), (409, "Conflict".into()));
        let deleted = api.delete("x", &DeleteParams::default()).await.unwrap();
        assert!(deleted.left().unwrap().metadata.deletion_timestamp.is_some());
        let release: json_patch::Patch = parsed(json!([{"op": "remove", "path": "/metadata/finalizers"}]));
        api.patch("x", &PatchParams::default(), &Patch::Json::<()>(release)).await.unwrap();
        assert_eq!(refusal(api.get("x").await), (404, "NotFound".into()));
        let mut seen = Vec::new();
        for _ in 0..5 {
            seen.push(match soon(events.next()).await.unwrap().unwrap() {
                WatchEvent::Added(_) => "added",
                WatchEvent::Modified(_) => "modified",
                WatchEvent::Deleted(_) => "deleted",
                other => panic!("{other:?}"),
            });
        }
        assert_eq!(seen, ["added", "modified", "modified", "modified", "deleted"]);
    }
}

#[tokio::test]
async fn a_deletion_names_what_it_deletes() {
    let (server, shard) = start().await;
    let api = config_maps(http1(&server, &workspace(&shard, "a")));
    shard.put(config_map("a", "x", "")).unwrap();
    let wrong = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        preconditions: Some(Preconditions { uid: Some("former".into()), resource_version: None }),
        ..DeleteParams::default()
    };
    assert_eq!(refusal(api.delete("x", &wrong).await), (409, "Conflict".into()));
    let deleted = api.delete("x", &DeleteParams::default()).await.unwrap();
    assert_eq!(deleted.right().unwrap().details.unwrap().name, "x");
    assert_eq!(shard.count("configmaps"), 0);
}

#[tokio::test]
async fn of_two_candidates_with_one_lease_the_second_conflicts() {
    let (server, shard) = start().await;
    let api: Api<Lease> = Api::namespaced(http1(&server, &shard.url()), "default");
    let held_by = |holder: &str| Lease {
        spec: Some(LeaseSpec { holder_identity: Some(holder.into()), ..LeaseSpec::default() }),
        ..parsed(json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}}))
    };
    let created = api.create(&PostParams::default(), &held_by("one")).await.unwrap();
    assert_eq!(
        refusal(api.create(&PostParams::default(), &held_by("two")).await),
        (409, "AlreadyExists".into())
    );
    let mut taken = held_by("two");
    assert_eq!(refusal(api.replace("l", &PostParams::default(), &taken).await), (422, "Invalid".into()));
    taken.metadata.resource_version = created.metadata.resource_version;
    api.replace("l", &PostParams::default(), &taken).await.unwrap();
    assert_eq!(refusal(api.replace("l", &PostParams::default(), &taken).await), (409, "Conflict".into()));
}

#[tokio::test]
async fn what_is_not_done_here_is_refused() {
    let (server, shard) = start().await;
    shard.put(config_map("a", "x", "")).unwrap();
    let api = config_maps(http1(&server, &workspace(&shard, "a")));
    let apply = Patch::Apply(json!({"apiVersion": "v1", "kind": "ConfigMap"}));
    assert_eq!(refusal(api.patch("x", &PatchParams::apply("me"), &apply).await).0, 415);
    assert_eq!(refusal(api.patch("x", &PatchParams::default(), &Patch::Strategic(json!({}))).await).0, 415);
    let dry_run = PatchParams { dry_run: true, ..PatchParams::default() };
    assert_eq!(refusal(api.patch("x", &dry_run, &Patch::Merge(json!({}))).await).0, 400);
    assert_eq!(refusal(api.get_status("x").await).0, 404);
    let everywhere: Api<DynamicObject> = installs(http1(&server, &wildcard(&shard)));
    shard.serve(Kind::new("annex.sh/v1", "Install"));
    assert_eq!(refusal(everywhere.get("x").await).0, 400);
    assert_eq!(refusal(everywhere.create(&PostParams::default(), &parsed(install("x"))).await).0, 400);
}

#[tokio::test]
async fn what_was_written_is_known_to_the_test() {
    let (server, shard) = start().await;
    shard.put(config_map("a", "x", "1")).unwrap();
    let api = config_maps(http1(&server, &workspace(&shard, "a")));
    let patch = json!({"data": {"value": "2"}});
    api.patch("x", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    let write = server.requests().last(&Match::write("configmaps").named("x")).unwrap();
    assert_eq!(write.verb(), Verb::Patch);
    assert_eq!(serde_json::from_slice::<serde_json::Value>(write.body()).unwrap(), patch);
    assert_eq!(shard.get("configmaps", "a", "default", "x").unwrap()["data"]["value"], "2");
}

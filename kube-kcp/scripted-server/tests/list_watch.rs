//! Lists and watches, as kube's client and its watcher see them.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of it is test: a panic is how a test fails"
)]

mod support;

use std::{pin::pin, time::Duration};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, PartialObjectMeta, VersionMatch, WatchEvent, WatchParams},
    runtime::watcher::{self, watcher},
};
use kube_kcp_scripted_server::{HOME_CLUSTER, Kind, Match, Status, TooOld, Verb};
use serde_json::json;
use support::{
    both, config_map, config_maps, http1, http2, install, installs, next, refusal, soon, start, wildcard,
    with_token, workspace,
};

#[tokio::test]
async fn a_watcher_lists_and_then_follows_all_workspaces() {
    let (server, shard) = start().await;
    for (protocol, client) in both(&server, &wildcard(&shard)) {
        shard.put(config_map("a", "x", "1")).unwrap();
        shard.put(config_map("b", "x", "1")).unwrap();
        let mut events = pin!(watcher(Api::<ConfigMap>::all(client), watcher::Config::default()));
        assert_eq!(next(&mut events, 4).await, ["init", "init a/x", "init b/x", "listed"], "{protocol}");
        let (_, ()) = tokio::join!(
            async {
                soon(shard.watches(1)).await;
                shard.put(config_map("b", "x", "2")).unwrap();
                shard.put(config_map("c", "y", "1")).unwrap();
                shard.delete("configmaps", "b", "default", "x");
                shard.delete("configmaps", "c", "default", "y");
            },
            async {
                let seen = next(&mut events, 4).await;
                assert_eq!(seen, ["apply b/x", "apply c/y", "delete b/x", "delete c/y"], "{protocol}");
            }
        );
        let watch = server.requests().last(&Match::watch("configmaps")).unwrap();
        assert_eq!((watch.is_http2(), watch.cluster()), (protocol == "http/2", Some("*")));
    }
}

#[tokio::test]
async fn a_watch_ends_with_its_client() {
    let (server, shard) = start().await;
    for (protocol, client) in both(&server, &wildcard(&shard)) {
        let api = Api::<ConfigMap>::all(client);
        let events = api.watch(&WatchParams::default(), "0").await.unwrap();
        assert_eq!(shard.open_watches(), 1, "{protocol}");
        drop(events);
        soon(shard.watches(0)).await;
    }
}

#[tokio::test]
async fn pages_show_one_revision() {
    let (server, shard) = start().await;
    let api = config_maps(http1(&server, &workspace(&shard, "a")));
    shard.put_many((0..5).map(|n| config_map("a", &n.to_string(), "old"))).unwrap();
    let first = api.list(&ListParams::default().limit(2)).await.unwrap();
    shard.put_many((0..7).map(|n| config_map("a", &n.to_string(), "new"))).unwrap();
    let mut params = ListParams::default().limit(2);
    let mut seen: Vec<_> = first.items.clone();
    let mut token = first.metadata.continue_.clone();
    while let Some(continue_token) = token.filter(|token| !token.is_empty()) {
        params.continue_token = Some(continue_token);
        let page = api.list(&params).await.unwrap();
        assert_eq!(page.metadata.resource_version, first.metadata.resource_version);
        seen.extend(page.items);
        token = page.metadata.continue_;
    }
    assert_eq!(seen.iter().map(|object| object.name_any()).collect::<Vec<_>>(), ["0", "1", "2", "3", "4"]);
    assert!(seen.iter().all(|object| object.data.as_ref().unwrap()["value"] == "old"));
    let at = ListParams::default().at(first.metadata.resource_version.as_ref().unwrap());
    let again = api.list(&at.clone().matching(VersionMatch::Exact)).await.unwrap();
    assert_eq!(again.items.len(), 5);
    assert_eq!(api.list(&at).await.unwrap().items.len(), 7, "that is the oldest it may be");
}

#[tokio::test]
async fn a_list_of_many_is_as_many() {
    let (server, shard) = start().await;
    shard.put_many((0..3000).map(|n| config_map("a", &format!("{n:04}"), "v"))).unwrap();
    for (protocol, client) in both(&server, &wildcard(&shard)) {
        let list = Api::<ConfigMap>::all(client.clone()).list(&ListParams::default()).await.unwrap();
        let names: Vec<_> = list.iter().map(|object| object.name_any()).collect();
        assert_eq!(names, (0..3000).map(|n| format!("{n:04}")).collect::<Vec<_>>(), "{protocol}");
        let metadata = Api::<PartialObjectMeta<ConfigMap>>::all(client);
        assert_eq!(metadata.list(&ListParams::default()).await.unwrap().items.len(), 3000, "{protocol}");
    }
}

#[tokio::test]
async fn a_page_after_compaction_is_gone() {
    let (server, shard) = start().await;
    let api = config_maps(http1(&server, &workspace(&shard, "a")));
    shard.put_many((0..3).map(|n| config_map("a", &n.to_string(), ""))).unwrap();
    let first = api.list(&ListParams::default().limit(2)).await.unwrap();
    shard.put(config_map("a", "3", "")).unwrap();
    shard.compact();
    let next = ListParams::default().limit(2).continue_token(&first.metadata.continue_.unwrap());
    assert_eq!(refusal(api.list(&next).await), (410, "Expired".into()));
}

#[tokio::test]
async fn a_streaming_list_ends_with_its_bookmark_and_goes_on() {
    let (server, shard) = start().await;
    shard.put(config_map("a", "x", "1")).unwrap();
    shard.put(config_map("b", "x", "1")).unwrap();
    let config = watcher::Config::default().streaming_lists();
    let api = Api::<ConfigMap>::all(http1(&server, &wildcard(&shard)));
    let mut events = pin!(watcher(api, config));
    assert_eq!(next(&mut events, 4).await, ["init", "init a/x", "init b/x", "listed"]);
    shard.put(config_map("a", "y", "1")).unwrap();
    assert_eq!(next(&mut events, 1).await, ["apply a/y"]);
    assert_eq!(server.requests().count(&Match::list("configmaps")), 0);
    let request = server.requests().last(&Match::watch("configmaps")).unwrap();
    assert_eq!(request.query("sendInitialEvents"), Some("true"));
}

#[tokio::test]
async fn a_server_without_streaming_lists_says_so() {
    let (server, shard) = start().await;
    shard.streaming_lists(false);
    let api = Api::<ConfigMap>::all(http1(&server, &wildcard(&shard)));
    let params = WatchParams::default().initial_events();
    let refused = api.watch(&params, "0").await.map(drop);
    assert_eq!(refusal(refused), (422, "Invalid".into()));
    assert!(api.watch(&WatchParams::default(), "0").await.is_ok());
}

#[tokio::test]
async fn bookmarks_come_when_they_are_asked_for() {
    let (server, shard) = start().await;
    let api = Api::<ConfigMap>::all(http1(&server, &wildcard(&shard)));
    let version = shard.revision().to_string();
    let mut with = api.watch(&WatchParams::default(), &version).await.unwrap().boxed();
    let mut without = api.watch(&WatchParams::default().disable_bookmarks(), &version).await.unwrap().boxed();
    // Of another kind: only a bookmark tells this watch about it.
    shard.serve(Kind::new("annex.sh/v1", "Install"));
    let revision = shard.put_in("a", install("i")).unwrap();
    shard.bookmark();
    match soon(with.next()).await.unwrap().unwrap() {
        WatchEvent::Bookmark(bookmark) => {
            assert_eq!(bookmark.metadata.resource_version, revision.to_string());
            assert_eq!(bookmark.types.kind, "ConfigMap");
        }
        other => panic!("{other:?}"),
    }
    shard.put(config_map("a", "x", "")).unwrap();
    assert!(matches!(soon(without.next()).await, Some(Ok(WatchEvent::Added(_)))));
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_by_the_clock_and_a_watch_ends_by_it() {
    let (server, shard) = start().await;
    shard.bookmark_every(Some(Duration::from_secs(60)));
    let api = Api::<ConfigMap>::all(http1(&server, &wildcard(&shard)));
    let params = WatchParams::default().timeout(150);
    let events: Vec<_> = api.watch(&params, &shard.revision().to_string()).await.unwrap().collect().await;
    assert_eq!(events.len(), 2);
    assert!(events.iter().all(|event| matches!(event, Ok(WatchEvent::Bookmark(_)))));
    soon(shard.watches(0)).await;
}

#[tokio::test]
async fn what_is_too_old_is_gone_in_the_stream_or_at_once() {
    let (server, shard) = start().await;
    let api = Api::<ConfigMap>::all(http1(&server, &wildcard(&shard)));
    let old = shard.revision().to_string();
    shard.put(config_map("a", "x", "")).unwrap();
    shard.compact();
    let events: Vec<_> = api.watch(&WatchParams::default(), &old).await.unwrap().collect().await;
    assert!(matches!(&events[..], [Ok(WatchEvent::Error(status))] if status.code == 410));
    shard.answer_too_old(TooOld::Status);
    let refused = api.watch(&WatchParams::default(), &old).await.map(drop);
    assert_eq!(refusal(refused), (410, "Expired".into()));
}

#[tokio::test]
async fn a_watcher_lists_again_when_its_history_is_forgotten() {
    let (server, shard) = start().await;
    shard.put(config_map("a", "x", "")).unwrap();
    let api = Api::<ConfigMap>::all(http1(&server, &wildcard(&shard)));
    let mut events = pin!(watcher(api, watcher::Config::default()));
    assert_eq!(next(&mut events, 3).await, ["init", "init a/x", "listed"]);
    let (seen, ()) = tokio::join!(next(&mut events, 4), async {
        soon(shard.watches(1)).await;
        shard.fail_watches(&Status::expired("too old resource version"));
    });
    assert_eq!(seen, ["error 410", "init", "init a/x", "listed"]);
}

#[tokio::test]
async fn selectors_select() {
    let (server, shard) = start().await;
    for (name, tier) in [("x", "front"), ("y", "back")] {
        let mut object = config_map("a", name, "");
        object["metadata"]["labels"] = json!({"tier": tier});
        shard.put(object).unwrap();
    }
    let api = Api::<ConfigMap>::all(http1(&server, &wildcard(&shard)));
    let names = async |params: ListParams| {
        let list = api.list(&params).await.unwrap();
        list.iter().map(|object| object.name_any()).collect::<Vec<_>>()
    };
    assert_eq!(names(ListParams::default().labels("tier=back")).await, ["y"]);
    assert_eq!(names(ListParams::default().labels("tier in (front,back)")).await, ["x", "y"]);
    assert_eq!(names(ListParams::default().fields("metadata.name=x")).await, ["x"]);
    let refused = api.list(&ListParams::default().fields("status.phase=Running")).await;
    assert_eq!(refusal(refused), (400, "BadRequest".into()));
    let params = WatchParams::default().labels("tier=back");
    let mut events = api.watch(&params, &shard.revision().to_string()).await.unwrap().boxed();
    shard.edit("configmaps", "a", "default", "x", |object| {
        object["metadata"]["labels"]["tier"] = "back".into()
    });
    shard.edit("configmaps", "a", "default", "y", |object| {
        object["metadata"]["labels"]["tier"] = "front".into()
    });
    assert!(
        matches!(soon(events.next()).await, Some(Ok(WatchEvent::Added(object))) if object.name_any() == "x")
    );
    assert!(
        matches!(soon(events.next()).await, Some(Ok(WatchEvent::Deleted(object))) if object.name_any() == "y")
    );
}

#[tokio::test]
async fn metadata_is_all_that_is_sent_to_who_asks_for_it() {
    let (server, shard) = start().await;
    let mut secret = config_map("a", "x", "");
    secret["kind"] = "Secret".into();
    shard.put(secret.clone()).unwrap();
    let api = Api::<PartialObjectMeta<Secret>>::all(http1(&server, &wildcard(&shard)));
    let list = api.list(&ListParams::default()).await.unwrap();
    assert_eq!(list.types.kind, "PartialObjectMetadataList");
    assert_eq!(list.items[0].types.as_ref().unwrap().kind, "PartialObjectMetadata");
    assert_eq!(list.items[0].name_any(), "x");
    let version = list.metadata.resource_version.unwrap();
    let mut events = api.watch(&WatchParams::default(), &version).await.unwrap().boxed();
    shard.put(secret).unwrap();
    match soon(events.next()).await.unwrap().unwrap() {
        WatchEvent::Modified(object) => assert_eq!(object.types.unwrap().kind, "PartialObjectMetadata"),
        other => panic!("{other:?}"),
    }
    assert!(server.requests().last(&Match::watch("secrets")).unwrap().is_metadata_only());
}

#[tokio::test]
async fn shards_have_objects_and_revisions_of_their_own() {
    let (server, one) = start().await;
    let (two, home) = (server.shard("/shards/two"), server.shard(""));
    one.put(config_map("a", "x", "")).unwrap();
    one.put(config_map("a", "y", "")).unwrap();
    two.put(config_map("a", "z", "")).unwrap();
    home.put(config_map(HOME_CLUSTER, "h", "")).unwrap();
    home.put(config_map("other", "o", "")).unwrap();
    assert_eq!(one.revision(), two.revision() + 1);
    let names = async |base: &str| {
        let list = Api::<ConfigMap>::all(http1(&server, base)).list(&ListParams::default()).await.unwrap();
        list.iter().map(|object| object.name_any()).collect::<Vec<_>>()
    };
    assert_eq!(names(&wildcard(&one)).await, ["x", "y"]);
    assert_eq!(names(&wildcard(&two)).await, ["z"]);
    assert_eq!(names(&home.url()).await, ["h"], "a path without a cluster is that of the home workspace");
}

#[tokio::test]
async fn a_wildcard_has_no_namespaces_and_an_unknown_kind_is_not_found() {
    let (server, shard) = start().await;
    let refused = config_maps(http1(&server, &wildcard(&shard))).list(&ListParams::default()).await;
    assert_eq!(refusal(refused), (400, "BadRequest".into()));
    let unknown = installs(http1(&server, &workspace(&shard, "a")));
    assert_eq!(refusal(unknown.list(&ListParams::default()).await), (404, "NotFound".into()));
    shard.serve(Kind::new("annex.sh/v1", "Install"));
    assert!(unknown.list(&ListParams::default()).await.is_ok());
    let events = unknown.watch(&WatchParams::default(), "0").await.unwrap();
    shard.withdraw("installs");
    assert_eq!(soon(events.collect::<Vec<_>>()).await.len(), 0, "the watch ends");
    assert_eq!(refusal(unknown.list(&ListParams::default()).await), (404, "NotFound".into()));
}

#[tokio::test]
async fn a_token_can_be_asked_for_and_changed() {
    let (server, shard) = start().await;
    server.require_token(Some("right"));
    let base = wildcard(&shard);
    let list = async |client| Api::<ConfigMap>::all(client).list(&ListParams::default()).await;
    assert_eq!(refusal(list(http1(&server, &base)).await), (401, "Unauthorized".into()));
    assert_eq!(refusal(list(with_token(&server, &base, "wrong")).await), (401, "Unauthorized".into()));
    assert!(list(with_token(&server, &base, "right")).await.is_ok());
    server.require_token(Some("new"));
    assert_eq!(refusal(list(with_token(&server, &base, "right")).await), (401, "Unauthorized".into()));
    server.require_token(None);
    assert!(list(http1(&server, &base)).await.is_ok());
    let requests = server.requests().matching(&Match::any());
    assert!(!format!("{requests:?}").contains("right"), "credentials are not kept");
}

#[tokio::test]
async fn requests_are_counted_and_can_be_awaited() {
    let (server, shard) = start().await;
    let api = config_maps(http2(&server, &workspace(&shard, "a")));
    let requests = server.requests();
    let lists = Match::list("configmaps").in_cluster("a");
    let (last, ()) = tokio::join!(soon(requests.reach(2, &lists)), async {
        for limit in [1, 2] {
            api.list(&ListParams::default().limit(limit)).await.unwrap();
        }
    });
    assert_eq!(last.query("limit"), Some("2"));
    assert_eq!(
        (last.verb(), last.namespace(), last.shard()),
        (Verb::List, Some("default"), Some(support::PREFIX))
    );
    assert_eq!((requests.total(), requests.count(&lists)), (2, 2));
    assert_eq!(requests.count(&lists.clone().when(|request| request.query("limit") == Some("1"))), 1);
    requests.forget();
    assert_eq!((requests.total(), requests.count(&lists)), (0, 0));
}

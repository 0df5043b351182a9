//! Each fault, as a client meets it.
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

use futures::{StreamExt as _, TryStreamExt as _};
use http::Request;
use http_body_util::BodyExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, PostParams, WatchEvent, WatchParams},
    client::Body,
    runtime::watcher::{self, watcher},
};
use kube_kcp_scripted_server::{End, Fault, Gate, Match, ScriptedServer, Shard, Status};
use support::{both, config_map, config_maps, http1, http2, next, refusal, soon, start, wildcard, workspace};

async fn with_objects(count: usize) -> (ScriptedServer, Shard) {
    let (server, shard) = start().await;
    shard.put_many((0..count).map(|n| config_map("a", &n.to_string(), "v"))).unwrap();
    (server, shard)
}

fn everywhere(server: &ScriptedServer, shard: &Shard) -> Api<ConfigMap> {
    Api::all(http1(server, &wildcard(shard)))
}

fn lists() -> Match {
    Match::list("configmaps")
}

fn watches() -> Match {
    Match::watch("configmaps")
}

const LIST: &str = "/api/v1/configmaps";
const WATCH: &str = "/api/v1/configmaps?watch=true&allowWatchBookmarks=true&resourceVersion=";

/// The answer to a GET, up to the end of its body, however that ends.
struct Read {
    status: u16,
    headers: http::HeaderMap,
    body: Vec<u8>,
    end: Result<(), String>,
}

async fn read(client: &Client, path: &str) -> Result<Read, String> {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let answer = soon(client.send(request)).await.map_err(|error| sources(&error))?;
    let (head, mut body) = answer.into_parts();
    let mut read =
        Read { status: head.status.as_u16(), headers: head.headers, body: Vec::new(), end: Ok(()) };
    while let Some(frame) = soon(body.frame()).await {
        match frame {
            Ok(frame) => read.body.extend(frame.into_data().unwrap()),
            Err(error) => {
                read.end = Err(sources(&error));
                break;
            }
        }
    }
    Ok(read)
}

fn sources(error: &(dyn std::error::Error + 'static)) -> String {
    let sources = std::iter::successors(Some(error), |error| error.source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The same request without a fault.
async fn whole(client: &Client) -> Vec<u8> {
    read(client, LIST).await.unwrap().body
}

#[tokio::test]
async fn a_status_is_answered_as_often_as_it_was_said_and_in_its_turn() {
    let (server, shard) = with_objects(1).await;
    let api = everywhere(&server, &shard);
    let first = shard.next(2, lists(), Fault::status(Status::internal_error("etcd is away")));
    shard.next(1, lists(), Fault::status(Status::service_unavailable()));
    shard.next(1, watches(), Fault::status(Status::forbidden("not you")));
    for (code, reason) in [(500, "InternalError"), (500, "InternalError"), (503, "ServiceUnavailable")] {
        assert_eq!(refusal(api.list(&ListParams::default()).await), (code, reason.to_owned()));
    }
    assert_eq!(first.used(), 2);
    assert_eq!(api.list(&ListParams::default()).await.unwrap().items.len(), 1);
    let refused = api.watch(&WatchParams::default(), "0").await.map(drop);
    assert_eq!(refusal(refused), (403, "Forbidden".into()));
}

#[tokio::test]
async fn a_fault_meets_only_what_it_is_for_until_it_is_ended() {
    let (server, shard) = with_objects(1).await;
    let other = server.shard("/other");
    let script = shard.next(usize::MAX, lists().in_cluster("b"), Fault::status(Status::not_served()));
    let list = async |base: &str| {
        Api::<ConfigMap>::all(http1(&server, base)).list(&ListParams::default()).await.is_ok()
    };
    assert!(list(&workspace(&shard, "a")).await && list(&workspace(&other, "b")).await);
    assert!(!list(&workspace(&shard, "b")).await && !list(&workspace(&shard, "b")).await);
    script.end();
    assert!(list(&workspace(&shard, "b")).await);
    assert_eq!(script.used(), 2);
}

#[tokio::test]
async fn a_429_says_when_to_come_again() {
    let (server, shard) = with_objects(0).await;
    shard.next(2, lists(), Fault::status(Status::too_many_requests(7)));
    let read = read(&http1(&server, &wildcard(&shard)), LIST).await.unwrap();
    assert_eq!((read.status, read.headers["retry-after"].to_str().unwrap()), (429, "7"));
    match everywhere(&server, &shard).list(&ListParams::default()).await.unwrap_err() {
        kube::Error::Api(status) => assert_eq!(status.details.unwrap().retry_after_seconds, 7),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_middle_of_a_list_can_be_gone() {
    let (server, shard) = with_objects(5).await;
    shard.next(1, lists().continued(), Fault::status(Status::expired("the continue token is too old")));
    let config = watcher::Config::default().page_size(2);
    let mut events = pin!(watcher(everywhere(&server, &shard), config));
    assert_eq!(next(&mut events, 4).await, ["init", "init a/0", "init a/1", "list failed"]);
    assert_eq!(next(&mut events, 7).await.last().unwrap(), "listed");
}

#[tokio::test(start_paused = true)]
async fn silence_has_no_head_and_a_stall_has_nothing_else() {
    let (server, shard) = with_objects(3).await;
    for (protocol, client) in both(&server, &wildcard(&shard)) {
        let wait = |request| tokio::time::timeout(Duration::from_secs(3600), request);
        let silent = shard.next(1, watches(), Fault::silence());
        let request = || Request::get(format!("{WATCH}1&timeoutSeconds=10")).body(Body::empty()).unwrap();
        assert!(wait(client.send(request())).await.is_err(), "{protocol}");
        assert_eq!((silent.used(), shard.open_watches()), (1, 0), "{protocol}");

        let stalled = shard.next(1, watches(), Fault::stall());
        let mut answer = client.send(request()).await.unwrap();
        assert_eq!((answer.status(), shard.open_watches()), (http::StatusCode::OK, 1), "{protocol}");
        shard.bookmark();
        let read = tokio::time::timeout(Duration::from_secs(3600), answer.body_mut().frame()).await;
        assert!(read.is_err(), "{protocol}: an hour after its timeoutSeconds");
        assert_eq!(stalled.used(), 1);
        drop(answer);
        soon(shard.watches(0)).await;
    }
}

#[tokio::test]
async fn a_body_is_cut_in_each_way_that_there_is() {
    let (server, shard) = with_objects(3).await;
    for (protocol, client) in both(&server, &wildcard(&shard)) {
        let whole = whole(&client).await;
        let cut = async |end| {
            shard.next(1, lists(), Fault::after_bytes(100, end));
            let read = read(&client, LIST).await.unwrap();
            assert_eq!(read.body, whole[..100], "{protocol} {end:?}");
            read.end
        };
        assert_eq!(cut(End::Complete).await, Ok(()), "{protocol}");
        let broken = cut(End::Broken).await.unwrap_err();
        let closed = cut(End::Closed).await.unwrap_err();
        let unnotified = cut(End::Unnotified).await.unwrap_err();
        let reset = cut(End::Reset).await.unwrap_err();
        assert!(unnotified.contains("without sending TLS close_notify"), "{protocol}: {unnotified}");
        assert!(!closed.contains("close_notify"), "{protocol}: {closed}");
        assert!(reset.contains("reset"), "{protocol}: {reset}");
        if protocol == "http/2" {
            assert!(broken.contains("stream error received"), "{broken}");
        }
        assert_eq!(self::whole(&client).await, whole, "{protocol}: nothing of it lasts");
    }
}

#[tokio::test]
async fn a_broken_stream_leaves_the_others_of_its_connection() {
    let (server, shard) = with_objects(3).await;
    let client = http2(&server, &wildcard(&shard));
    let api = Api::<ConfigMap>::all(client.clone());
    let mut events = api.watch(&WatchParams::default(), &shard.revision().to_string()).await.unwrap().boxed();
    shard.next(1, lists(), Fault::after_bytes(10, End::Broken));
    assert!(api.list(&ListParams::default()).await.is_err());
    shard.put(config_map("a", "x", "")).unwrap();
    assert!(matches!(soon(events.next()).await, Some(Ok(WatchEvent::Added(_)))));
    assert_eq!(server.accepted_connections(), 1);
}

#[tokio::test]
async fn a_watch_is_cut_after_lines() {
    let (server, shard) = with_objects(0).await;
    for (protocol, client) in both(&server, &wildcard(&shard)) {
        for (end, is_ok) in [(End::Complete, true), (End::Broken, false), (End::Reset, false)] {
            shard.next(1, watches(), Fault::after_lines(1, end));
            let path = format!("{WATCH}{}", shard.revision());
            shard.put_many(["x", "y"].map(|name| config_map("a", name, protocol))).unwrap();
            let read = read(&client, &path).await.unwrap();
            assert_eq!(read.end.is_ok(), is_ok, "{protocol} {end:?}: {:?}", read.end);
            let lines = String::from_utf8(read.body).unwrap();
            assert_eq!(lines.lines().count(), 1, "{protocol} {end:?}");
            assert!(lines.ends_with('\n'), "{protocol} {end:?}");
        }
    }
}

#[tokio::test]
async fn a_line_is_cut_in_its_middle() {
    let (server, shard) = with_objects(0).await;
    let client = http1(&server, &wildcard(&shard));
    let path = format!("{WATCH}{}", shard.revision());
    shard.put(config_map("a", "x", "")).unwrap();
    shard.next(1, watches(), Fault::after_bytes(30, End::Complete));
    let read = read(&client, &path).await.unwrap();
    assert_eq!(read.body.len(), 30);
    assert!(serde_json::from_slice::<serde_json::Value>(&read.body).unwrap_err().is_eof());
}

#[tokio::test]
async fn what_is_malformed_does_not_parse() {
    let (server, shard) = with_objects(2).await;
    let api = everywhere(&server, &shard);
    shard.next(1, lists(), Fault::malformed());
    assert!(matches!(api.list(&ListParams::default()).await, Err(kube::Error::SerdeError(_))));
    shard.next(1, watches(), Fault::malformed());
    let mut events = api.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    assert!(matches!(soon(events.next()).await, Some(Err(kube::Error::SerdeError(_)))));
    assert!(matches!(soon(events.next()).await, Some(Ok(WatchEvent::Added(_)))), "the watch goes on");
}

#[tokio::test]
async fn any_answer_can_be_given() {
    let (server, shard) = with_objects(1).await;
    let client = http1(&server, &wildcard(&shard));
    shard.next(1, lists(), Fault::answer(502, "text/html", "<h1>Bad Gateway</h1>"));
    let page = read(&client, LIST).await.unwrap();
    assert_eq!((page.status, page.body.as_slice()), (502, b"<h1>Bad Gateway</h1>".as_slice()));
    shard.next(1, lists(), Fault::redirect(307, "https://elsewhere.invalid/"));
    let redirect = read(&client, LIST).await.unwrap();
    assert_eq!(
        (redirect.status, redirect.headers["location"].to_str().unwrap()),
        (307, "https://elsewhere.invalid/")
    );
    shard.next(1, lists(), Fault::content_type("text/plain").and(Fault::empty()));
    let plain = read(&client, LIST).await.unwrap();
    assert_eq!((plain.status, plain.headers["content-type"].to_str().unwrap()), (200, "text/plain"));
    assert!(String::from_utf8(plain.body).unwrap().ends_with("\"items\":[]}\n"));
}

#[tokio::test]
async fn objects_are_missing_from_a_list() {
    let (server, shard) = with_objects(3).await;
    let api = everywhere(&server, &shard);
    let names = async || {
        let list = api.list(&ListParams::default()).await.unwrap();
        list.iter().map(|object| object.name_any()).collect::<Vec<_>>()
    };
    shard.next(1, lists(), Fault::empty());
    assert_eq!(names().await, [""; 0]);
    shard.next(1, lists(), Fault::hide(|object| object["metadata"]["name"] == "1"));
    assert_eq!(names().await, ["0", "2"]);
    assert_eq!(names().await, ["0", "1", "2"]);
}

#[tokio::test]
async fn objects_come_changed() {
    let (server, shard) = with_objects(2).await;
    let api = everywhere(&server, &shard);
    shard.next(1, lists(), Fault::without_cluster("1"));
    let list = api.list(&ListParams::default()).await.unwrap();
    let clusters = list.iter().map(|object| object.annotations().contains_key("kcp.io/cluster"));
    assert_eq!(clusters.collect::<Vec<_>>(), [true, false]);
    let misfit = || Fault::edit(|object| object["data"] = "a string where a map should be".into());
    shard.next(1, lists(), misfit());
    assert!(matches!(api.list(&ListParams::default()).await, Err(kube::Error::SerdeError(_))));
    shard.next(1, watches(), misfit());
    let mut events = api.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    // kube takes any line that does not parse for a Status with nothing in it.
    assert!(matches!(soon(events.next()).await, Some(Err(kube::Error::Api(_)))));
    shard.next(1, Match::get("configmaps"), misfit());
    let one = config_maps(http1(&server, &workspace(&shard, "a")));
    assert!(matches!(one.get("1").await, Err(kube::Error::SerdeError(_))));
    assert!(one.get("1").await.is_ok());
}

#[tokio::test]
async fn events_come_twice_or_in_the_wrong_order() {
    let (server, shard) = with_objects(0).await;
    let api = everywhere(&server, &shard);
    let from = shard.revision().to_string();
    shard.put_many(["x", "y", "z"].map(|name| config_map("a", name, ""))).unwrap();
    let names = async |fault| {
        shard.next(1, watches(), fault);
        let params = WatchParams::default().timeout(1);
        let events = api.watch(&params, &from).await.unwrap();
        let names = events.map_ok(|event| match event {
            WatchEvent::Added(object) => object.name_any(),
            other => panic!("{other:?}"),
        });
        soon(names.try_collect::<Vec<_>>()).await.unwrap()
    };
    assert_eq!(names(Fault::twice()).await, ["x", "x", "y", "y", "z", "z"]);
    assert_eq!(names(Fault::swapped()).await, ["y", "x", "z"]);
    assert_eq!(names(Fault::hide(|object| object["metadata"]["name"] == "y")).await, ["x", "z"]);
}

#[tokio::test]
async fn a_watch_has_lines_of_its_own() {
    let (server, shard) = with_objects(0).await;
    let client = http1(&server, &wildcard(&shard));
    let path = format!("{WATCH}{}&timeoutSeconds=1", shard.revision());
    shard.put_many(["x", "y"].map(|name| config_map("a", name, ""))).unwrap();
    shard.next(1, watches(), Fault::line(1, "second\n").and(Fault::line(0, "first\n")));
    let body = String::from_utf8(read(&client, &path).await.unwrap().body).unwrap();
    let lines: Vec<_> = body.lines().map(|line| &line[..line.len().min(6)]).collect();
    assert_eq!(lines, ["first", "{\"type", "second", "{\"type"]);
}

#[tokio::test]
async fn an_error_event_ends_a_watch() {
    let (server, shard) = with_objects(0).await;
    let api = everywhere(&server, &shard);
    let from = shard.revision().to_string();
    shard.put_many(["x", "y"].map(|name| config_map("a", name, ""))).unwrap();
    shard.next(1, watches(), Fault::error_event(1, &Status::internal_error("etcd is away")));
    let events: Vec<_> = soon(api.watch(&WatchParams::default(), &from).await.unwrap().collect()).await;
    assert!(
        matches!(&events[..], [Ok(WatchEvent::Added(_)), Ok(WatchEvent::Error(status))] if status.code == 500)
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_takes_its_time() {
    let (server, shard) = with_objects(3).await;
    for (protocol, client) in both(&server, &wildcard(&shard)) {
        let whole = whole(&client).await;
        shard.next(1, lists(), Fault::slow(10, Duration::from_secs(60)));
        let started = tokio::time::Instant::now();
        let request = Request::get(LIST).body(Body::empty()).unwrap();
        let body = client.send(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, whole, "{protocol}");
        assert_eq!(started.elapsed().as_secs() / 60, whole.len().div_ceil(10) as u64, "{protocol}");
    }
}

#[tokio::test]
async fn an_endless_line_goes_on_for_as_long_as_it_is_read() {
    let (server, shard) = with_objects(0).await;
    for (protocol, client) in both(&server, &wildcard(&shard)) {
        shard.next(1, watches(), Fault::endless_line());
        let request = Request::get(format!("{WATCH}0")).body(Body::empty()).unwrap();
        let mut body = client.send(request).await.unwrap().into_body();
        let mut read = Vec::new();
        while read.len() < 1 << 20 {
            read.extend(soon(body.frame()).await.unwrap().unwrap().into_data().unwrap());
        }
        assert!(!read.contains(&b'\n'), "{protocol}");
        drop(body);
        soon(shard.watches(0)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_streaming_list_never_ends() {
    let (server, shard) = with_objects(2).await;
    shard.next(1, watches(), Fault::without_end_bookmark());
    let config = watcher::Config::default().streaming_lists().timeout(10);
    let mut events = pin!(watcher(everywhere(&server, &shard), config));
    let seen = next(&mut events, 7).await;
    assert_eq!(seen, ["init", "init a/0", "init a/1", "init", "init a/0", "init a/1", "listed"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_overlooks_that_a_list_is_to_be_streamed() {
    let (server, shard) = with_objects(2).await;
    shard.next(1, watches(), Fault::ignore_initial_events());
    let client = http1(&server, &wildcard(&shard));
    let query = "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=10";
    let read = read(&client, &format!("{WATCH}{}{query}", shard.revision())).await.unwrap();
    assert_eq!(read.body, b"");
}

#[tokio::test]
async fn a_request_is_reset_before_it_is_done_and_lost_after() {
    let (server, shard) = with_objects(0).await;
    for client in [http1(&server, &workspace(&shard, "a")), http2(&server, &workspace(&shard, "a"))] {
        let api = config_maps(client);
        let object: ConfigMap = serde_json::from_value(config_map("a", "x", "")).unwrap();
        shard.next(1, Match::write("configmaps"), Fault::reset());
        assert!(soon(api.create(&PostParams::default(), &object)).await.is_err());
        assert_eq!(shard.count("configmaps"), 0);
        shard.next(1, Match::write("configmaps"), Fault::lost_answer());
        let lost = soon(api.create(&PostParams::default(), &object)).await.unwrap_err();
        assert!(!matches!(lost, kube::Error::Api(_)), "{lost:?}");
        assert_eq!(shard.count("configmaps"), 1);
        shard.delete("configmaps", "a", "default", "x");
    }
}

#[tokio::test]
async fn an_answer_is_held_after_its_request_was_done_or_before() {
    let (server, shard) = with_objects(0).await;
    let api = config_maps(http1(&server, &workspace(&shard, "a")));
    for (before, count_while_held) in [(false, 1), (true, 0)] {
        let gate = Gate::new();
        let fault = if before { Fault::held_before(&gate) } else { Fault::held(&gate) };
        shard.next(1, Match::write("configmaps"), fault);
        let object: ConfigMap = serde_json::from_value(config_map("a", "x", "")).unwrap();
        let params = PostParams::default();
        let mut create = pin!(api.create(&params, &object));
        tokio::select! {
            created = create.as_mut() => panic!("it was not held: {created:?}"),
            () = soon(gate.reached_by(1)) => {}
        }
        assert_eq!(shard.count("configmaps"), count_while_held);
        gate.open();
        soon(create).await.unwrap();
        assert!(shard.delete("configmaps", "a", "default", "x"));
    }
}

#[tokio::test]
async fn who_is_sent_away_comes_back_on_another_connection() {
    let (server, shard) = with_objects(1).await;
    for (protocol, client) in both(&server, &wildcard(&shard)) {
        let before = server.accepted_connections();
        let api = Api::<ConfigMap>::all(client);
        shard.next(1, lists(), Fault::go_away());
        assert_eq!(api.list(&ListParams::default()).await.unwrap().items.len(), 1, "{protocol}");
        soon(server.connections(0)).await;
        assert_eq!(api.list(&ListParams::default()).await.unwrap().items.len(), 1, "{protocol}");
        assert_eq!(server.accepted_connections(), before + 2, "{protocol}");
        drop(api);
        soon(server.connections(0)).await;
    }
}

//! Lists that are cut, slow, full of what does not fit, or streamed.

use std::time::Duration;

use kube_kcp::WatchOptions;
use kube_kcp_scripted_server::{End, Fault, Match, Status};

use crate::rig::{Rig, options, patient, put};

async fn filled(rig: &Rig, objects: usize) {
    for number in 0..objects {
        put(&rig.shard, "a", &format!("x{number}"), "1");
    }
}

fn paged(page: u32) -> kube_kcp::VirtualWorkspaceOptions {
    let options = options();
    kube_kcp::VirtualWorkspaceOptions { watch: WatchOptions { page, ..options.watch }, ..options }
}

#[tokio::test]
async fn a_list_that_fails_wherever_it_does_is_made_again() {
    for fault in [
        Fault::after_bytes(200, End::Complete),
        Fault::after_bytes(200, End::Broken),
        Fault::after_bytes(200, End::Unnotified),
        Fault::malformed(),
        Fault::answer(200, "text/html", "<html>a proxy's page</html>"),
        Fault::silence(),
        Fault::lost_answer(),
    ] {
        let rig = Rig::start().await;
        filled(&rig, 5).await;
        let met = rig.shard.next(1, Match::list("configmaps"), fault);
        let rig = rig.watching().await;
        patient("a list fails", met.used_by(1)).await;
        assert_eq!(rig.names().len(), 5);
        assert_eq!(rig.said().len(), 5, "each is told once");
    }
}

#[tokio::test]
async fn a_list_in_pages_that_trickles_is_waited_for() {
    let rig = Rig::with(paged(2)).await;
    filled(&rig, 5).await;
    let slow = Fault::slow(50, Duration::from_millis(1));
    rig.shard.next(3, Match::list("configmaps"), slow);
    let rig = rig.watching().await;
    assert_eq!(rig.names().len(), 5);
    assert_eq!(rig.server.requests().count(&Match::list("configmaps").continued()), 2);
}

/// Where the next page begins is forgotten when the list takes too long.
#[tokio::test]
async fn a_page_that_has_expired_begins_the_list_anew_and_then_in_one_piece() {
    let rig = Rig::with(paged(2)).await;
    filled(&rig, 5).await;
    let expired = Fault::status(Status::expired("the provided continue parameter is too old"));
    let met = rig.shard.next(2, Match::list("configmaps").continued(), expired);
    let rig = rig.watching().await;
    patient("a page has expired", met.used_by(1)).await;
    assert_eq!(rig.names().len(), 5);
    assert_eq!(met.used(), 1, "the second list asks for no page");
    met.end();
}

#[tokio::test]
async fn what_does_not_fit_stops_nobody() {
    let rig = Rig::start().await;
    filled(&rig, 3).await;
    rig.shard.next(
        1,
        Match::list("configmaps"),
        Fault::edit(|object| {
            if object["metadata"]["name"] == "x1" {
                object["data"] = "a string where a map should be".into();
            }
        })
        .and(Fault::without_cluster("x2")),
    );
    let rig = rig.watching().await;
    assert_eq!(rig.names().into_iter().collect::<Vec<_>>(), ["x0"]);
    assert!(rig.metric("kube_kcp_objects_skipped_total{kind=\"ConfigMap\"}") >= 2.0);
    put(&rig.shard, "a", "x1", "as it should be");
    rig.value("a", "x1", "as it should be").await;
}

fn streaming() -> kube_kcp::VirtualWorkspaceOptions {
    let options = options();
    kube_kcp::VirtualWorkspaceOptions {
        watch: WatchOptions { streaming_lists: true, ..options.watch },
        ..options
    }
}

#[tokio::test]
async fn a_streaming_list_needs_no_list() {
    let rig = Rig::with(streaming()).await;
    filled(&rig, 5).await;
    let rig = rig.watching().await;
    assert_eq!(rig.names().len(), 5);
    put(&rig.shard, "a", "y", "1");
    rig.value("a", "y", "1").await;
    assert_eq!(rig.lists_and_watches(), (0, 1), "one request for both");
    // It is made anew the same way, and tells what has vanished.
    rig.server.unplug().await;
    crate::rig::delete(&rig.shard, "a", "y");
    rig.shard.compact();
    rig.server.plug().await.unwrap();
    rig.gone("a", "y").await;
    assert_eq!(rig.lists_and_watches().0, 0);
}

#[tokio::test]
async fn a_streaming_list_without_an_end_is_given_up_for_pages() {
    for fault in [Fault::without_end_bookmark(), Fault::ignore_initial_events()] {
        let rig = Rig::with(streaming()).await;
        filled(&rig, 5).await;
        rig.shard.next(usize::MAX, Match::watch("configmaps"), fault);
        let rig = rig.watching().await;
        assert_eq!(rig.names().len(), 5);
        assert_eq!(rig.lists_and_watches().0, 1);
        assert!(rig.metric("kube_kcp_watch_errors_total{kind=\"ConfigMap\",error=\"end_not_told\"}") >= 1.0);
    }
}

#[tokio::test]
async fn a_server_that_knows_no_streaming_lists_is_asked_for_pages() {
    let rig = Rig::with(streaming()).await;
    rig.shard.streaming_lists(false);
    filled(&rig, 5).await;
    let rig = rig.watching().await;
    assert_eq!(rig.names().len(), 5);
}

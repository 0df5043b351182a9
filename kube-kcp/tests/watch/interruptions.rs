//! A watch that breaks goes on from where it was: nothing is listed again and nothing is lost.

use std::time::Duration;

use kube_kcp_scripted_server::{End, Fault, Match, Status, TooOld};

use crate::rig::{Rig, patient, put};

/// Lets the next watch meet a fault, and what comes after it is seen all the same, without another list.
async fn goes_on(fault: Fault, what: &str) {
    assert!(watches_until_it_goes_on(fault, what).await >= 3, "{what}: it was not opened again");
}

/// Returns how many watches it took, the one before the fault included.
async fn watches_until_it_goes_on(fault: Fault, what: &str) -> usize {
    let rig = Rig::start().await.watching().await;
    put(&rig.shard, "a", "x", "before");
    rig.value("a", "x", "before").await;
    let met = rig.shard.next(1, Match::watch("configmaps"), fault);
    rig.shard.end_watches();
    patient(what, met.used_by(1)).await;
    for value in 0..5 {
        put(&rig.shard, "a", &format!("y{value}"), "meanwhile");
    }
    put(&rig.shard, "a", "x", "after");
    for value in 0..5 {
        rig.value("a", &format!("y{value}"), "meanwhile").await;
    }
    rig.value("a", "x", "after").await;
    let (lists, watches) = rig.lists_and_watches();
    assert_eq!(lists, 1, "{what}: listed again");
    let news = rig.said().iter().filter(|said| said.starts_with("new")).count();
    assert_eq!(news, 6, "{what}: each once");
    watches
}

#[tokio::test]
async fn one_that_breaks_off_wherever_it_does() {
    goes_on(Fault::after_lines(0, End::Complete), "it ends at once").await;
    goes_on(Fault::after_lines(2, End::Complete), "it ends between two lines").await;
    goes_on(Fault::after_lines(2, End::Broken), "it breaks between two lines").await;
    goes_on(Fault::after_bytes(300, End::Complete), "it ends in the middle of a line").await;
    goes_on(Fault::after_bytes(300, End::Broken), "it breaks in the middle of a line").await;
    goes_on(Fault::after_bytes(300, End::Closed), "its connection is closed").await;
    goes_on(Fault::after_bytes(300, End::Unnotified), "its connection is closed without a word").await;
    goes_on(Fault::after_bytes(300, End::Reset), "its connection is reset").await;
}

#[tokio::test]
async fn one_that_never_begins_or_says_nothing() {
    goes_on(Fault::silence(), "no head comes").await;
    goes_on(Fault::stall(), "a head, and then nothing").await;
    goes_on(Fault::after_bytes(300, End::Silence), "silence in the middle of a line").await;
    goes_on(Fault::reset(), "the connection is reset").await;
    // What has begun on such a connection goes on.
    assert_eq!(watches_until_it_goes_on(Fault::go_away(), "the connection is to be used no more").await, 2);
}

#[tokio::test]
async fn one_that_says_what_nobody_understands() {
    goes_on(Fault::malformed(), "a line is no JSON").await;
    goes_on(Fault::line(1, "{\"type\":\"SURPRISE\",\"object\":{}}\n"), "an unknown event").await;
    goes_on(Fault::answer(200, "text/html", "<html>a proxy's page</html>"), "a page of a proxy").await;
    goes_on(Fault::endless_line(), "a line without end").await;
}

#[tokio::test]
async fn one_that_is_slow_is_waited_for() {
    let rig = Rig::start().await.watching().await;
    let slow = rig.shard.next(1, Match::watch("configmaps"), Fault::slow(7, Duration::from_millis(2)));
    rig.shard.end_watches();
    patient("it is slow", slow.used_by(1)).await;
    put(&rig.shard, "a", "x", "slowly");
    rig.value("a", "x", "slowly").await;
    assert_eq!(rig.lists_and_watches().0, 1);
}

#[tokio::test]
async fn what_cannot_be_read_three_times_in_a_row_is_listed_anew() {
    let rig = Rig::start().await.watching().await;
    let met = rig.shard.next(3, Match::watch("configmaps"), Fault::malformed());
    rig.shard.end_watches();
    put(&rig.shard, "a", "x", "1");
    patient("three answers are no JSON", met.used_by(3)).await;
    patient("it is listed anew", rig.server.requests().reach(2, &Match::list("configmaps"))).await;
    rig.value("a", "x", "1").await;
    assert!(rig.metric("kube_kcp_watch_errors_total{kind=\"ConfigMap\",error=\"malformed\"}") >= 3.0);
}

#[tokio::test]
async fn an_event_that_comes_twice_is_told_once() {
    let rig = Rig::start().await.watching().await;
    let met = rig.shard.next(1, Match::watch("configmaps"), Fault::twice());
    rig.shard.end_watches();
    patient("events come twice", met.used_by(1)).await;
    put(&rig.shard, "a", "x", "1");
    put(&rig.shard, "a", "y", "1");
    rig.value("a", "y", "1").await;
    assert_eq!(rig.said(), ["new a|default/x", "new a|default/y"]);
}

/// A connection that is open on this side only: what a firewall or a cable leaves behind.
#[tokio::test]
async fn a_connection_that_is_half_open_is_noticed() {
    let rig = Rig::start().await.watching().await;
    put(&rig.shard, "a", "x", "1");
    rig.value("a", "x", "1").await;
    let accepted = rig.server.accepted_connections();
    rig.server.freeze();
    put(&rig.shard, "a", "x", "2");
    // The watch's, and that on which the shards are followed.
    patient("other connections are opened", rig.server.accepted(accepted + 2)).await;
    rig.server.thaw();
    rig.value("a", "x", "2").await;
    assert_eq!(rig.lists_and_watches().0, 1);
}

#[tokio::test]
async fn a_server_that_is_away_and_back() {
    let rig = Rig::start().await.watching().await;
    put(&rig.shard, "a", "x", "1");
    rig.value("a", "x", "1").await;
    rig.server.unplug().await;
    put(&rig.shard, "a", "x", "2");
    let health = rig.workspaces.health().clone();
    patient("the health says so", async {
        while health.shards().iter().all(|shard| shard.failing.is_none()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    rig.server.plug().await.unwrap();
    rig.value("a", "x", "2").await;
    assert_eq!(rig.lists_and_watches().0, 1);
    assert_eq!(rig.health()[&rig.shard.url()].failing, None, "what goes well again is not told any more");
    assert!(rig.health()[&rig.shard.url()].errors > 0);
}

/// What comes after the version is forgotten: there is no way but to list, and what has vanished meanwhile is told.
#[tokio::test]
async fn a_server_that_has_forgotten_is_listed_anew() {
    for how in [TooOld::Event, TooOld::Status] {
        let rig = Rig::start().await;
        rig.shard.answer_too_old(how);
        let rig = rig.watching().await;
        for name in ["stays", "goes"] {
            put(&rig.shard, "a", name, "1");
            rig.value("a", name, "1").await;
        }
        rig.server.unplug().await;
        crate::rig::delete(&rig.shard, "a", "goes");
        put(&rig.shard, "a", "comes", "1");
        rig.shard.compact();
        rig.server.plug().await.unwrap();
        rig.gone("a", "goes").await;
        rig.value("a", "comes", "1").await;
        assert_eq!(rig.lists_and_watches().0, 2, "{how:?}");
        let said = rig.said();
        assert!(said.contains(&"vanished a|default/goes".to_owned()), "{said:?}");
        assert!(!said.contains(&"changed a|default/stays".to_owned()), "{said:?}");
    }
}

#[tokio::test]
async fn a_watch_that_is_told_an_error_goes_on() {
    let rig = Rig::start().await.watching().await;
    rig.shard.fail_watches(&Status::internal_error("etcdserver: leader changed"));
    put(&rig.shard, "a", "x", "1");
    rig.value("a", "x", "1").await;
    assert_eq!(rig.lists_and_watches().0, 1);
    assert!(rig.metric("kube_kcp_watch_errors_total{kind=\"ConfigMap\",error=\"refused\"}") >= 1.0);
}

//! Servers that say no, for a while.

use std::time::{Duration, Instant};

use kube_kcp::Connection;
use kube_kcp_scripted_server::{Fault, Match, Status};

use crate::rig::{Rig, config, list_shards, options, patient, put, server};

fn refusals() -> Vec<Status> {
    vec![
        Status::unauthorized(),
        Status::forbidden("not yet"),
        Status::not_served(),
        Status::internal_error("etcdserver: request timed out"),
        Status::service_unavailable(),
        Status::new(504, "Timeout", "it took too long"),
    ]
}

#[tokio::test]
async fn a_list_that_is_refused_is_tried_again() {
    for status in refusals() {
        let rig = Rig::start().await;
        let met = rig.shard.next(2, Match::list("configmaps"), Fault::status(status));
        put(&rig.shard, "a", "x", "1");
        let rig = rig.watching().await;
        patient("two lists are refused", met.used_by(2)).await;
        rig.value("a", "x", "1").await;
    }
}

#[tokio::test]
async fn a_watch_that_is_refused_is_opened_again_where_it_was() {
    let rig = Rig::start().await.watching().await;
    for (number, status) in refusals().into_iter().enumerate() {
        let met = rig.shard.next(1, Match::watch("configmaps"), Fault::status(status));
        rig.shard.end_watches();
        patient("a watch is refused", met.used_by(1)).await;
        put(&rig.shard, "a", "x", &number.to_string());
        rig.value("a", "x", &number.to_string()).await;
    }
    assert_eq!(rig.lists_and_watches().0, 1);
}

/// The lower bound is the server's, so it holds on any machine.
#[tokio::test]
async fn a_server_that_asks_to_be_left_alone_is() {
    for which in [Match::list("configmaps"), Match::watch("configmaps")] {
        let rig = Rig::start().await;
        let met = rig.shard.next(1, which.clone(), Fault::status(Status::too_many_requests(1)));
        patient("it is throttled", met.used_by(1)).await;
        let began = Instant::now();
        patient("it comes again", rig.server.requests().reach(2, &which)).await;
        // The request was answered a moment before that was noticed here.
        assert!(began.elapsed() > Duration::from_millis(800), "{:?}", began.elapsed());
        assert!(rig.metric("kube_kcp_watch_errors_total{kind=\"ConfigMap\",error=\"throttled\"}") >= 1.0);
    }
}

/// No redirect is followed: it could lead the credentials anywhere.
#[tokio::test]
async fn a_redirect_is_a_refusal() {
    let rig = Rig::start().await;
    let elsewhere = format!("{}/elsewhere", rig.server.url());
    let met = rig.shard.next(1, Match::list("configmaps"), Fault::redirect(307, &elsewhere));
    let rig = rig.watching().await;
    patient("it is sent elsewhere", met.used_by(1)).await;
    let followed = Match::any().when(|request| request.path().starts_with("/elsewhere"));
    assert_eq!(rig.server.requests().count(&followed), 0);
}

/// A token that has expired, and a file that holds its successor by then.
#[tokio::test]
async fn credentials_that_are_replaced_in_their_file_are_used() {
    let (server, home, shard) = server().await;
    list_shards(&home, &[shard.url()], None);
    drop(config(&server, &home));
    server.require_token(Some("first"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    let url = home.url();
    let write = |token: &str| {
        let kubeconfig = serde_json::json!({ "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{ "name": "c", "cluster": { "server": url } }],
            "users": [{ "name": "u", "user": { "token": token } }],
            "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }] });
        // As a mounted Secret changes: at once.
        let next = folder.path().join("next");
        std::fs::write(&next, kubeconfig.to_string()).unwrap();
        std::fs::rename(next, &path).unwrap();
    };
    write("first");
    let pem = server.ca_pem().to_owned();
    let adapt = move |config: &mut kube::Config| kube_kcp::trust_also(config, pem.as_bytes()).unwrap();
    let connection = Connection::from_kubeconfig(&path, adapt).await.unwrap();
    let rig = Rig::on(server, home, shard, connection, options()).watching().await;
    put(&rig.shard, "a", "x", "1");
    rig.value("a", "x", "1").await;

    rig.server.require_token(Some("second"));
    rig.shard.end_watches();
    put(&rig.shard, "a", "x", "2");
    let requests = rig.server.requests().count(&Match::watch("configmaps"));
    patient("the former is refused", rig.server.requests().reach(requests + 2, &Match::watch("configmaps")))
        .await;
    write("second");
    rig.value("a", "x", "2").await;
    assert_eq!(rig.lists_and_watches().0, 1, "it goes on where it was");
}

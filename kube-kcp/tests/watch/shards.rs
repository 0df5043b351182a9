//! Shards that come, go, are down, and are reached elsewhere.

use std::time::Duration;

use kube_kcp::{Connection, VirtualWorkspaceOptions};
use kube_kcp_scripted_server::{Match, ScriptedServer};

use crate::rig::{Rig, config, key, list_shards, new_shard, options, patient, put, server, timeouts};

#[tokio::test]
async fn a_shard_that_comes_is_listed_and_one_that_goes_takes_its_few_along() {
    let rig = Rig::start().await.watching().await;
    put(&rig.shard, "a", "x", "1");
    rig.value("a", "x", "1").await;
    let second = new_shard(&rig.server, "/two");
    put(&second, "b", "y", "1");
    list_shards(&rig.home, &[rig.shard.url(), second.url()], None);
    rig.value("b", "y", "1").await;
    assert_eq!(rig.workspaces.shard_of(&"b".parse().unwrap()).unwrap().as_str(), second.url());
    assert_eq!(rig.health().len(), 2);
    let nobody = "nobody".parse().unwrap();
    assert!(rig.workspaces.client(&nobody).is_err(), "it may be on either");
    assert_eq!(rig.workspaces.clients(&nobody).unwrap().len(), 2);

    list_shards(&rig.home, &[rig.shard.url()], None);
    rig.gone("b", "y").await;
    assert_eq!(rig.said().last().unwrap(), "gone with its shard b|default/y");
    assert_eq!(rig.health().len(), 1);
    // What is asked about it last can still be asked there.
    assert!(rig.workspaces.client(&"b".parse().unwrap()).is_ok());
    assert!(rig.workspaces.client(&nobody).is_ok(), "there is but one shard where it can be");

    list_shards(&rig.home, &[rig.shard.url(), second.url()], None);
    rig.value("b", "y", "1").await;
}

#[tokio::test]
async fn a_list_of_shards_that_is_empty_for_a_moment_is_nothing() {
    let long = VirtualWorkspaceOptions { shard_gone_after: Duration::from_secs(3600), ..options() };
    let rig = Rig::with(long).await.watching().await;
    put(&rig.shard, "a", "x", "1");
    rig.value("a", "x", "1").await;
    list_shards(&rig.home, &[], None);
    // The watch goes on: a last deletion is still to be seen.
    put(&rig.shard, "a", "x", "2");
    rig.value("a", "x", "2").await;
    list_shards(&rig.home, &[rig.shard.url()], None);
    put(&rig.shard, "a", "x", "3");
    rig.value("a", "x", "3").await;
    assert_eq!(rig.said(), ["new a|default/x", "changed a|default/x", "changed a|default/x"]);
}

/// Many, so that they would be held if they vanished with the former URL.
#[tokio::test]
async fn a_shard_under_another_url_keeps_its_objects() {
    let rig = Rig::start().await;
    let moved = new_shard(&rig.server, "/moved");
    for number in 0..20 {
        for shard in [&rig.shard, &moved] {
            put(shard, "a", &format!("x{number}"), "1");
        }
    }
    let rig = rig.watching().await;
    list_shards(&rig.home, &[moved.url()], None);
    patient("the other is watched", moved.watches(1)).await;
    patient("the former is watched no more", rig.shard.watches(0)).await;
    put(&moved, "a", "x3", "2");
    rig.value("a", "x3", "2").await;
    crate::rig::delete(&moved, "a", "x4");
    rig.gone("a", "x4").await;
    assert_eq!(rig.index.len(), 19);
    assert_eq!(rig.workspaces.shard_of(&"a".parse().unwrap()).unwrap().as_str(), moved.url());
    let removed: Vec<String> = rig.said().into_iter().filter(|said| !said.starts_with("new")).collect();
    assert!(
        removed.iter().all(|said| said.starts_with("changed") || said == "deleted a|default/x4"),
        "{removed:?}"
    );
    assert_eq!(rig.health().into_keys().collect::<Vec<_>>(), [moved.url()], "nothing is held of the former");
    assert!(!rig.index.is_held(&key("a", "x3")));
}

#[tokio::test]
async fn a_shard_is_reached_at_the_host_that_the_operator_names() {
    let (server, home, shard) = server().await;
    put(&shard, "a", "x", "1");
    let listed = shard.url().replace("127.0.0.1", "shard-1.internal.invalid");
    list_shards(&home, &[listed], None);
    let reached = server.url().trim_start_matches("https://").to_owned();
    let options = VirtualWorkspaceOptions { hosts: vec![reached.parse().unwrap()], ..options() };
    let connection = Connection::with(config(&server, &home), timeouts()).unwrap();
    let rig = Rig::on(server, home, shard, connection, options).watching().await;
    rig.value("a", "x", "1").await;
    assert_eq!(rig.workspaces.shards().unwrap().into_iter().next().unwrap().as_str(), rig.shard.url());
}

#[tokio::test]
async fn a_shard_that_is_down_at_the_start_does_not_stop_the_others_for_ever() {
    let down = ScriptedServer::start().await.unwrap();
    let other = new_shard(&down, "/down");
    down.unplug().await;
    let (server, home, shard) = server().await;
    put(&shard, "a", "x", "1");
    list_shards(&home, &[shard.url(), other.url()], None);
    let mut config = config(&server, &home);
    config.root_cert.as_mut().unwrap().push(down.ca_der().to_vec());
    let connection = Connection::with(config, timeouts()).unwrap();
    let options = VirtualWorkspaceOptions { patience: Some(Duration::from_millis(300)), ..options() };
    let rig = Rig::on(server, home, shard, connection, options).watching().await;
    rig.value("a", "x", "1").await;
    let health = rig.health();
    assert_eq!(health[&other.url()].unlisted, ["ConfigMap"]);
    assert!(health[&other.url()].failing.is_some());
    // When it is back it is listed like any other.
    put(&other, "b", "y", "1");
    down.plug().await.unwrap();
    rig.value("b", "y", "1").await;
    patient("it is watched", other.watches(1)).await;
    assert!(down.requests().count(&Match::list("configmaps")) >= 1);
}

#[tokio::test]
async fn without_patience_every_shard_is_waited_for() {
    let down = ScriptedServer::start().await.unwrap();
    let other = new_shard(&down, "/down");
    down.unplug().await;
    let (server, home, shard) = server().await;
    put(&shard, "a", "x", "1");
    list_shards(&home, &[shard.url(), other.url()], None);
    let mut config = config(&server, &home);
    config.root_cert.as_mut().unwrap().push(down.ca_der().to_vec());
    let connection = Connection::with(config, timeouts()).unwrap();
    let rig = Rig::on(server, home, shard, connection, options());
    rig.value("a", "x", "1").await;
    assert_eq!(rig.readiness.waiting_for(), ["list"]);
    down.plug().await.unwrap();
    patient("everything is listed", rig.readiness.wait()).await;
}

//! What vanishes without ever having been said to be deleted.

use kube_kcp::Brake;
use kube_kcp_scripted_server::{Fault, Match};

use crate::rig::{Rig, delete, list_shards, options, patient, put};

const MANY: usize = 20;

/// Many objects, and a server that forgets what comes next and shows nothing in its next list.
async fn after_an_empty_list(rig: Rig) -> Rig {
    for number in 0..MANY {
        put(&rig.shard, "a", &format!("x{number}"), "1");
    }
    let rig = rig.watching().await;
    rig.holds("all are there", |index| index.len() == MANY).await;
    let empty = rig.shard.next(1, Match::list("configmaps"), Fault::empty());
    rig.server.unplug().await;
    put(&rig.shard, "b", "meanwhile", "1");
    rig.shard.compact();
    rig.server.plug().await.unwrap();
    patient("a list is empty", empty.used_by(1)).await;
    rig
}

#[tokio::test]
async fn a_list_that_is_empty_by_a_fault_is_no_mass_deletion() {
    let rig = after_an_empty_list(Rig::start().await).await;
    let lists = rig.lists_and_watches().0;
    patient("a second list is made", rig.server.requests().reach(lists + 1, &Match::list("configmaps")))
        .await;
    put(&rig.shard, "a", "last", "1");
    rig.value("a", "last", "1").await;
    assert_eq!(rig.index.len(), MANY + 2);
    assert!(rig.said().iter().all(|said| said.starts_with("new")), "{:?}", rig.said());
}

#[tokio::test]
async fn what_two_lists_do_not_hold_is_gone_and_told() {
    let rig = after_an_empty_list(Rig::start().await).await;
    let shard = rig.shard.url();
    patient("the health says so", async {
        while rig.health().get(&shard).is_none_or(|health| health.held.is_empty()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(rig.index.len(), MANY, "they are there as they were last seen");
    assert_eq!(rig.health()[&shard].held["ConfigMap"].objects, MANY);
    let series = format!("kube_kcp_shard_held_objects{{shard=\"{shard}\"}}");
    assert!((rig.metric(&series) - 20.0).abs() < 0.1);
    // Now they are gone indeed, and no watch has said so.
    rig.server.unplug().await;
    for number in 0..MANY {
        delete(&rig.shard, "a", &format!("x{number}"));
    }
    rig.shard.compact();
    rig.server.plug().await.unwrap();
    rig.holds("they are gone", |index| index.len() == 1).await;
    assert_eq!(rig.said().iter().filter(|said| said.starts_with("vanished")).count(), MANY);
}

#[tokio::test]
async fn an_operator_lets_go_what_is_held() {
    let options = options();
    let brake = Brake { second_list: std::time::Duration::from_secs(3600), ..options.brake };
    let rig =
        after_an_empty_list(Rig::with(kube_kcp::VirtualWorkspaceOptions { brake, ..options }).await).await;
    let shard = rig.shard.url();
    patient("they are held", async {
        while rig.health().get(&shard).is_none_or(|health| health.held.is_empty()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // A time that is long ago, and one that nobody has seen yet, let nothing go.
    for time in ["2020-01-01T00:00:00Z", "9999-01-01T00:00:00Z", "yes"] {
        list_shards(&rig.home, std::slice::from_ref(&shard), Some(time));
    }
    put(&rig.shard, "b", "y", "1");
    rig.value("b", "y", "1").await;
    assert_eq!(rig.index.len(), MANY + 1);
    let now = k8s_openapi::jiff::Timestamp::now() + std::time::Duration::from_secs(1);
    list_shards(&rig.home, std::slice::from_ref(&shard), Some(&now.to_string()));
    rig.holds("they are let go", |index| index.len() == 1).await;
    assert_eq!(rig.said().iter().filter(|said| said.starts_with("let go")).count(), MANY);
    assert!(rig.health()[&shard].held.is_empty());
}

#[tokio::test]
async fn a_list_that_lacks_a_few_is_believed() {
    let rig = Rig::start().await;
    for number in 0..MANY {
        put(&rig.shard, "a", &format!("x{number}"), "1");
    }
    let rig = rig.watching().await;
    rig.server.unplug().await;
    delete(&rig.shard, "a", "x3");
    rig.shard.compact();
    rig.server.plug().await.unwrap();
    rig.gone("a", "x3").await;
    assert_eq!(rig.index.len(), MANY - 1);
}

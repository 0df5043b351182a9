//! What the queue costs per key with 100,000 keys in 10,000 workspaces, in nanoseconds: `cargo bench -p kube-kcp`.

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

use kube_kcp::{Backoff, ClusterName, ObjectKey, Outcome, WorkQueue};

const LANES: u32 = 10_000;
const KEYS: u32 = 10;

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let keys = keys()?;
    runtime.block_on(async {
        measure("weight 1", &WorkQueue::new(Backoff::default(), 4), &keys).await;
        let three = NonZeroU32::MIN.saturating_add(2);
        measure("weight 3", &WorkQueue::new(Backoff::default(), 4).weighed(move |_| three), &keys).await;
    });
    Ok(())
}

/// Not ordered by workspace, as they come through a watch.
fn keys() -> anyhow::Result<Vec<ObjectKey>> {
    let shard: kube_kcp::ShardUrl = "https://shard.example.com:6443/services/apiexport/a/b".parse()?;
    let lanes = (0..LANES)
        .map(|lane| format!("1s8uv2zt{lane:08}").parse())
        .collect::<Result<Vec<ClusterName>, _>>()?;
    let key = |number: u32, cluster: &ClusterName| ObjectKey {
        shard: shard.clone(),
        cluster: cluster.clone(),
        namespace: "default".to_owned(),
        name: format!("object-{number}"),
    };
    Ok((0..KEYS).flat_map(|number| lanes.iter().map(move |lane| key(number, lane))).collect())
}

async fn measure(what: &str, queue: &WorkQueue<ObjectKey>, keys: &[ObjectKey]) {
    println!("{what}");
    let begun = Instant::now();
    for key in keys {
        queue.add(key.clone());
    }
    show("add a new key", begun);

    let begun = Instant::now();
    for key in keys {
        queue.add(key.clone());
    }
    show("add a key that is ready", begun);

    let begun = Instant::now();
    for _ in keys {
        let key = queue.next().await;
        queue.finish(&key, Outcome::Again(Duration::from_secs(600)));
    }
    show("take a key and delay it", begun);

    let begun = Instant::now();
    for key in keys {
        queue.add(key.clone());
    }
    show("add a key that is delayed", begun);

    let begun = Instant::now();
    for _ in keys {
        let key = queue.next().await;
        queue.finish(&key, Outcome::Done);
    }
    show("take a key and forget it", begun);
}

fn show(what: &str, begun: Instant) {
    let each = begun.elapsed().as_nanos() / u128::from(LANES * KEYS);
    println!("  {what}: {each} ns");
}

//! How many lookups one core answers with 100,000 Installs in the index: `cargo run --release -p annex-registry --example lookups`. The
//! last line is JSON. HTTP is not in it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a measurement: a panic is how it fails")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use annex_apis::{Install, Tenant};
use annex_core::HostName;
use annex_registry::{Catalog, Installs};
use kube_kcp::{Index, ObjectKey, ShardUrl};
use serde_json::json;

const INSTALLS: usize = 100_000;
const LOOKUPS: usize = 1_000_000;

fn main() {
    let index: Arc<Index<Install>> = Arc::default();
    let (installs, catalog) = (Installs::new(index.clone(), || true), Catalog::default());
    let shard: ShardUrl = "https://shard.test:6443/services/apiexport/x/annex.sh".parse().unwrap();
    for number in 0..INSTALLS {
        let cluster = format!("c{number}");
        catalog.tenants.put(Tenant::new(&cluster, Default::default()));
        let install: Install = serde_json::from_value(json!({
            "apiVersion": "annex.sh/v1alpha1", "kind": "Install",
            "metadata": { "name": "hello", "namespace": "default", "uid": format!("uid-{number}") },
            "spec": { "extension": "com.example.hello" },
            "status": { "routes": [{ "host": format!("h{number}.apps.test"), "contentHash": format!("sha256:{}", "0a".repeat(32)) }] },
        }))
        .unwrap();
        let key = ObjectKey {
            cluster: cluster.parse().unwrap(),
            namespace: "default".into(),
            name: "hello".into(),
        };
        installs.changed(&index.apply(&shard, key, install));
    }
    let mut took = Vec::with_capacity(LOOKUPS);
    let started = Instant::now();
    for number in 0..LOOKUPS {
        let at = Instant::now();
        let host: HostName = format!("h{}.apps.test", number * 7919 % INSTALLS).parse().unwrap();
        let found = installs.lookup(&catalog, &host);
        took.push(at.elapsed());
        assert!(found.is_some());
    }
    let whole = started.elapsed();
    took.sort_unstable();
    let nanoseconds = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let per_second = LOOKUPS as u128 * 1_000_000_000 / whole.as_nanos();
    println!(
        "{}",
        json!({
            "installs": INSTALLS, "lookups_per_second_per_core": u64::try_from(per_second).unwrap_or(u64::MAX),
            "p50_ns": nanoseconds(took[LOOKUPS / 2]), "p99_ns": nanoseconds(took[LOOKUPS * 99 / 100]),
        })
    );
}

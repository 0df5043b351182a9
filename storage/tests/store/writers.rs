//! Many write at one time, from two processes: two stores have nothing in common but the database.

use annex_engine::{Kv, KvError};
use annex_storage::{ENTRY_BYTES, Store, StoreOptions};
use futures::future::join_all;

use crate::call;
use crate::on_both;
use crate::place::{Place, patient};

on_both!(the_quota_holds_at_its_edge, no_update_is_lost, the_sum_stays_right);

/// Two stores, and as many tasks on them as there are numbers.
async fn at_once<F, T>(stores: [Store; 2], tasks: u32, work: impl Fn(Store, u32) -> F) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let stores = stores.iter().cycle();
    let tasks = (0..tasks).zip(stores).map(|(number, store)| tokio::spawn(work(store.clone(), number)));
    join_all(tasks.collect::<Vec<_>>()).await.into_iter().map(Result::unwrap).collect()
}

async fn the_quota_holds_at_its_edge(place: Place) {
    // Room for exactly seven of forty.
    let entry = u64::from(ENTRY_BYTES) + 2 + 100;
    let options = StoreOptions { quota_bytes: 7 * entry, tenant_operations: 7, ..patient() };
    let stores = [place.store(options), place.store(options)];
    let us = call("us", "e");
    let outcomes = at_once(stores.clone(), 40, |store, number| {
        let us = us.clone();
        async move { store.set(&us, &format!("{number:02}"), vec![0; 100]).await }
    })
    .await;
    let written = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let refused = outcomes.iter().filter(|outcome| **outcome == Err(KvError::QuotaExceeded)).count();
    assert_eq!((written, refused), (7, 33));
    let [store, _] = stores;
    assert_eq!(store.list_keys(&us, "", None, 100).await.unwrap().len(), 7);
    assert_eq!(store.usage(&us.tenant, &us.extension).await, Ok(7 * entry));
}

async fn no_update_is_lost(place: Place) {
    let options = StoreOptions { tenant_operations: 7, ..patient() };
    let stores = [place.store(options), place.store(options)];
    let us = call("us", "e");
    at_once(stores.clone(), 8, |store, _| {
        let us = us.clone();
        async move {
            for _ in 0..10 {
                loop {
                    let former = store.get(&us, "counter").await.unwrap();
                    let number: u32 = former
                        .as_deref()
                        .map_or(0, |text| std::str::from_utf8(text).unwrap().parse().unwrap());
                    let next = (number + 1).to_string().into_bytes();
                    if store.compare_and_set(&us, "counter", former, next).await.unwrap() {
                        break;
                    }
                }
            }
        }
    })
    .await;
    let [store, _] = stores;
    assert_eq!(store.get(&us, "counter").await, Ok(Some(b"80".to_vec())));
}

async fn the_sum_stays_right(place: Place) {
    let options = StoreOptions { tenant_operations: 7, ..patient() };
    let stores = [place.store(options), place.store(options)];
    let us = call("us", "e");
    // They write and delete the same three keys, in different lengths.
    at_once(stores.clone(), 12, |store, number| {
        let us = us.clone();
        async move {
            for round in 0..6 {
                let key = ["a", "b", "c"][((number + round) % 3) as usize];
                if (number + round) % 4 == 0 {
                    store.delete(&us, key).await.unwrap();
                } else {
                    store.set(&us, key, vec![0; (number * 10 + round) as usize]).await.unwrap();
                }
            }
        }
    })
    .await;
    let [store, _] = stores;
    let mut expected = 0;
    for key in store.list_keys(&us, "", None, 100).await.unwrap() {
        let value = store.get(&us, &key).await.unwrap().unwrap();
        expected += (key.len() + value.len()) as u64 + u64::from(ENTRY_BYTES);
    }
    assert_eq!(store.usage(&us.tenant, &us.extension).await, Ok(expected));
}

//! The quota.

use annex_engine::{Kv, KvError};
use annex_storage::{ENTRY_BYTES, StoreOptions};

use crate::call;
use crate::on_both;
use crate::place::{Place, patient};

on_both!(is_kept_to_the_byte, a_lesser_one_lets_shrink, is_each_owner_s);

const ENTRY: u64 = ENTRY_BYTES as u64;

async fn is_kept_to_the_byte(place: Place) {
    let store = place.store(StoreOptions { quota_bytes: 2 * (ENTRY + 1) + 100, ..patient() });
    let us = call("us", "e");
    let usage = async || store.usage(&us.tenant, &us.extension).await.unwrap();
    store.set(&us, "a", vec![0; 40]).await.unwrap();
    assert_eq!(usage().await, ENTRY + 41);
    assert_eq!(store.set(&us, "b", vec![0; 61]).await, Err(KvError::QuotaExceeded));
    // One byte of key more is as much as one of value.
    assert_eq!(store.set(&us, "bb", vec![0; 60]).await, Err(KvError::QuotaExceeded));
    store.set(&us, "b", vec![0; 60]).await.unwrap();
    assert_eq!(usage().await, 2 * (ENTRY + 1) + 100);

    // Full: nothing grows, and what is refused leaves all as it is.
    assert_eq!(store.set(&us, "c", Vec::new()).await, Err(KvError::QuotaExceeded));
    assert_eq!(store.set(&us, "a", vec![1; 41]).await, Err(KvError::QuotaExceeded));
    let (old, new) = (Some(vec![0; 40]), vec![1; 41]);
    assert_eq!(store.compare_and_set(&us, "a", old, new.clone()).await, Err(KvError::QuotaExceeded));
    assert_eq!(store.compare_and_set(&us, "a", None, new).await, Ok(false));
    assert_eq!(store.get(&us, "a").await, Ok(Some(vec![0; 40])));
    assert_eq!(usage().await, 2 * (ENTRY + 1) + 100);

    // As large as before, and smaller, and what that leaves.
    store.set(&us, "a", vec![2; 40]).await.unwrap();
    assert_eq!(store.compare_and_set(&us, "a", Some(vec![2; 40]), vec![3; 10]).await, Ok(true));
    store.set(&us, "b", vec![0; 90]).await.unwrap();
    assert_eq!(store.set(&us, "b", vec![0; 91]).await, Err(KvError::QuotaExceeded));
    store.delete(&us, "b").await.unwrap();
    assert_eq!(usage().await, ENTRY + 11);
    store.set(&us, "c", vec![0; 90]).await.unwrap();
}

async fn a_lesser_one_lets_shrink(place: Place) {
    let us = call("us", "e");
    place.store(patient()).set(&us, "a", vec![0; 1_000]).await.unwrap();
    let store = place.store(StoreOptions { quota_bytes: 500, ..patient() });
    assert_eq!(store.set(&us, "a", vec![0; 1_001]).await, Err(KvError::QuotaExceeded));
    assert_eq!(store.set(&us, "b", Vec::new()).await, Err(KvError::QuotaExceeded));
    store.set(&us, "a", vec![0; 900]).await.unwrap();
    assert_eq!(store.usage(&us.tenant, &us.extension).await, Ok(ENTRY + 901));
    store.delete(&us, "a").await.unwrap();
    store.set(&us, "b", Vec::new()).await.unwrap();
}

async fn is_each_owner_s(place: Place) {
    let store = place.store(StoreOptions { quota_bytes: 1_000, ..patient() });
    for (tenant, extension) in [("a", "e"), ("b", "e"), ("a", "f")] {
        let owner = call(tenant, extension);
        store.set(&owner, "k", vec![0; 800]).await.unwrap();
        assert_eq!(store.set(&owner, "l", vec![0; 800]).await, Err(KvError::QuotaExceeded));
    }
}

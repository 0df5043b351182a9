//! Deleting everything.

use annex_engine::Kv;

use crate::call;
use crate::on_both;
use crate::place::{Place, patient};

on_both!(everything_of_one_is_deleted, nothing_is_deleted_of_nobody);

async fn everything_of_one_is_deleted(place: Place) {
    let store = place.store(patient());
    store.check().await.unwrap();
    let (us, them) = (call("us", "e"), call("them", "e"));
    // More than two batches.
    place.fill("us", "e", 600).await;
    store.set(&us, "value", vec![0; 1_000]).await.unwrap();
    store.set(&them, "000001", vec![0]).await.unwrap();
    assert_eq!(store.delete_all(&us.tenant, &us.extension).await, Ok(601));
    assert!(store.list_keys(&us, "", None, 10).await.unwrap().is_empty());
    assert_eq!(store.usage(&us.tenant, &us.extension).await, Ok(0));
    assert_eq!(store.get(&them, "000001").await, Ok(Some(vec![0])));
    // From here on it is as if nothing had ever been.
    store.set(&us, "k", vec![0]).await.unwrap();
    assert_eq!(store.usage(&us.tenant, &us.extension).await, Ok(130));
    assert_eq!(store.delete_all(&us.tenant, &us.extension).await, Ok(1));
}

async fn nothing_is_deleted_of_nobody(place: Place) {
    let (store, us) = (place.store(patient()), call("us", "e"));
    assert_eq!(store.delete_all(&us.tenant, &us.extension).await, Ok(0));
}

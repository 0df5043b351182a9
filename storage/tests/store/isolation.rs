//! Tenants and extensions do not see each other.

use annex_engine::Kv;

use crate::call;
use crate::on_both;
use crate::place::{Place, patient};

on_both!(nobody_sees_what_is_another_s, names_do_not_run_into_each_other);

async fn nobody_sees_what_is_another_s(place: Place) {
    let store = place.store(patient());
    let owners = [call("a", "notes"), call("b", "notes"), call("a", "tasks")];
    let value = |owner: usize, key: &str| format!("{owner} {key}").into_bytes();
    for (number, owner) in owners.iter().enumerate() {
        assert!(store.list_keys(owner, "", None, 10).await.unwrap().is_empty());
        for key in ["k", "l"] {
            assert_eq!(store.get(owner, key).await, Ok(None));
            assert_eq!(store.compare_and_set(owner, key, None, value(number, key)).await, Ok(true));
        }
    }
    // The first deletes one key, the second all of them.
    let [first, second, third] = &owners;
    store.delete(first, "k").await.unwrap();
    assert_eq!(store.delete_all(&second.tenant, &second.extension).await, Ok(2));
    assert_eq!(store.list_keys(first, "", None, 10).await.unwrap(), ["l"]);
    assert!(store.list_keys(second, "", None, 10).await.unwrap().is_empty());
    assert_eq!(store.list_keys(third, "", None, 10).await.unwrap(), ["k", "l"]);
    assert_eq!(store.get(first, "l").await, Ok(Some(value(0, "l"))));
    assert_eq!(store.get(third, "k").await, Ok(Some(value(2, "k"))));
    let usage = async |owner: &annex_engine::CallContext| store.usage(&owner.tenant, &owner.extension).await;
    assert_eq!(usage(first).await, Ok(132));
    assert_eq!(usage(second).await, Ok(0));
    assert_eq!(usage(third).await, Ok(264));
}

async fn names_do_not_run_into_each_other(place: Place) {
    let store = place.store(patient());
    for (tenant, extension) in [("a", "bc"), ("ab", "c"), ("A", "bc"), ("a ", "bc"), ("a", "bc/k")] {
        let owner = call(tenant, extension);
        assert_eq!(store.get(&owner, "k").await, Ok(None), "{tenant} {extension}");
        store.set(&owner, "k", vec![0]).await.unwrap();
    }
}

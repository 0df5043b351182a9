//! Values and keys.

use annex_engine::{Kv, KvError, MAX_KEY_BYTES, MAX_VALUE_BYTES};

use crate::call;
use crate::on_both;
use crate::place::{Place, patient};

on_both!(
    values_come_back,
    keys_come_in_the_order_of_their_bytes,
    a_listing_has_at_most_a_thousand_keys,
    several_make_the_tables_at_once,
    values_are_there_after_it_was_closed,
);

async fn values_come_back(place: Place) {
    let store = place.store(patient());
    // The longest there are, of letters that take two bytes.
    let us = call(&"ü".repeat(126), &"ö".repeat(126));
    let every_byte: Vec<u8> = (0..=255).collect();
    let long = "k".repeat(MAX_KEY_BYTES);
    let cases = [
        ("a", Vec::new()),
        ("\0", every_byte),
        ("'; DROP TABLE annex_kv; --", vec![0]),
        ("\u{10ffff}", vec![0xff; MAX_VALUE_BYTES]),
        (long.as_str(), vec![b'v']),
    ];
    for (key, value) in &cases {
        assert_eq!(store.get(&us, key).await, Ok(None));
        store.set(&us, key, value.clone()).await.unwrap();
    }
    for (key, value) in &cases {
        assert_eq!(store.get(&us, key).await, Ok(Some(value.clone())));
        store.set(&us, key, b"other".to_vec()).await.unwrap();
        assert_eq!(store.get(&us, key).await, Ok(Some(b"other".to_vec())));
        store.delete(&us, key).await.unwrap();
        assert_eq!(store.get(&us, key).await, Ok(None));
        store.delete(&us, key).await.unwrap();
    }
    assert_eq!(store.usage(&us.tenant, &us.extension).await, Ok(0));
}

async fn keys_come_in_the_order_of_their_bytes(place: Place) {
    let (store, us) = (place.store(patient()), call("us", "e"));
    let mut keys = vec![
        "a",
        "B",
        "b",
        "a_",
        "a%",
        "a%b",
        "ab",
        "_",
        "%",
        "\\",
        "a\\",
        "é",
        "e",
        "z",
        "Z",
        "\0",
        "a\0",
        "\u{10ffff}",
        "1",
        "10",
        "2",
        "a*",
        "[a]",
    ];
    for key in &keys {
        store.set(&us, key, Vec::new()).await.unwrap();
    }
    keys.sort_by_key(|key| key.as_bytes());
    let list = async |prefix: &str, after: Option<&str>, limit| {
        store.list_keys(&us, prefix, after, limit).await.unwrap()
    };
    assert_eq!(list("", None, 1_000).await, keys);
    for prefix in ["a", "a%", "%", "_", "\\", "é", "\u{10ffff}", "a\0", "zz", "["] {
        let expected: Vec<&str> = keys.iter().copied().filter(|key| key.starts_with(prefix)).collect();
        assert_eq!(list(prefix, None, 1_000).await, expected, "{prefix:?}");
    }
    let mut paged: Vec<String> = Vec::new();
    loop {
        let page = list("", paged.last().map(String::as_str), 4).await;
        assert!(page.len() <= 4);
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, keys);
    assert!(list("", None, 0).await.is_empty());
}

async fn a_listing_has_at_most_a_thousand_keys(place: Place) {
    let (store, us) = (place.store(patient()), call("us", "e"));
    store.check().await.unwrap();
    place.fill("us", "e", 1_001).await;
    let page = store.list_keys(&us, "", None, u32::MAX).await.unwrap();
    assert_eq!(page.len(), 1_000);
    assert_eq!(page.last().map(String::as_str), Some("001000"));
    assert_eq!(store.list_keys(&us, "", Some("001000"), u32::MAX).await.unwrap(), ["001001"]);
}

async fn several_make_the_tables_at_once(place: Place) {
    let checks = (0..6).map(|_| {
        let store = place.store(patient());
        tokio::spawn(async move { store.check().await.map_err(|error| error.to_string()) })
    });
    for check in checks.collect::<Vec<_>>() {
        assert_eq!(check.await.unwrap(), Ok(()));
    }
}

async fn values_are_there_after_it_was_closed(place: Place) {
    let us = call("us", "e");
    let store = place.store(patient());
    store.set(&us, "k", b"v".to_vec()).await.unwrap();
    store.close().await;
    assert_eq!(store.get(&us, "k").await, Err(KvError::Unavailable));
    // Another install and another version are the same extension.
    let later = annex_engine::CallContext { install: "j".into(), version: "2.0.0".into(), ..us };
    assert_eq!(place.store(patient()).get(&later, "k").await, Ok(Some(b"v".to_vec())));
}

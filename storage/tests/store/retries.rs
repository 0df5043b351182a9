//! Failures of PostgreSQL's that pass. A sequence counts them: it is not undone with a transaction.

use annex_engine::{Kv, KvError};
use annex_storage::Store;

use crate::call;
use crate::place::{Place, patient};

/// Has each write fail with a code, as long as fewer than `times` have.
async fn fail(place: &Place, code: &str, times: u32) -> Store {
    let store = place.store(patient());
    store.check().await.unwrap();
    place
        .execute(&format!(
            "CREATE SEQUENCE failures;
             CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF nextval('failures') <= {times} THEN RAISE EXCEPTION 'not now' USING ERRCODE = '{code}'; END IF;
                 RETURN NEW;
             END $$;
             CREATE TRIGGER fail BEFORE INSERT ON annex_kv FOR EACH ROW EXECUTE FUNCTION fail()"
        ))
        .await;
    store
}

/// Holds if there were so many attempts.
async fn attempts(place: &Place, number: u32) {
    place
        .execute(&format!(
            "DO $$ BEGIN
                 IF (SELECT last_value FROM failures) <> {number} THEN
                     RAISE EXCEPTION 'attempts: %', (SELECT last_value FROM failures);
                 END IF;
             END $$"
        ))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_serialized_is_done_again() {
    for code in ["40001", "40P01"] {
        let place = Place::postgres().await;
        let (store, us) = (fail(&place, code, 4).await, call("us", "e"));
        store.set(&us, "k", b"v".to_vec()).await.unwrap();
        attempts(&place, 5).await;
        assert_eq!(store.get(&us, "k").await, Ok(Some(b"v".to_vec())));
        assert_eq!(store.usage(&us.tenant, &us.extension).await, Ok(130));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn not_without_an_end() {
    let place = Place::postgres().await;
    let (store, us) = (fail(&place, "40001", 1_000).await, call("us", "e"));
    assert_eq!(store.set(&us, "k", b"v".to_vec()).await, Err(KvError::Unavailable));
    attempts(&place, 5).await;
    assert_eq!(store.get(&us, "k").await, Ok(None));
    assert_eq!(store.usage(&us.tenant, &us.extension).await, Ok(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_pass_is_not_done_again() {
    let place = Place::postgres().await;
    let (store, us) = (fail(&place, "22000", 1).await, call("us", "e"));
    assert_eq!(store.set(&us, "k", b"v".to_vec()).await, Err(KvError::Unavailable));
    attempts(&place, 1).await;
    store.set(&us, "k", b"v".to_vec()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_s_default_isolation_makes_no_difference() {
    let place = Place::postgres().await;
    place
        .execute(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = serializable',
             current_database()); END $$",
        )
        .await;
    let (store, us) = (place.store(patient()), call("us", "e"));
    let writers = (0..20).map(|number: u8| {
        let (store, us) = (store.clone(), us.clone());
        tokio::spawn(async move { store.set(&us, "k", vec![number]).await })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap().unwrap();
    }
    assert_eq!(store.usage(&us.tenant, &us.extension).await, Ok(130));
}

//! Tenants who flood, and tenants whose operations hang.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use annex_engine::{Kv, KvError};
use annex_storage::StoreOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use crate::call;
use crate::on_both;
use crate::place::{Place, patient};
use crate::until;

on_both!(a_flood_costs_its_own_tenant);

async fn a_flood_costs_its_own_tenant(place: Place) {
    const FLOOD: u32 = 600;
    const OTHERS: u32 = 10;
    let store = place.store(patient());
    let (loud, quiet) = (call("loud", "e"), call("quiet", "e"));
    store.set(&quiet, "k", vec![0]).await.unwrap();
    let (done, ends) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let flood: Vec<_> = (0..FLOOD)
        .map(|number| {
            let (store, loud) = (store.clone(), loud.clone());
            let (done, ends) = (Arc::clone(&done), Arc::clone(&ends));
            tokio::spawn(async move {
                while !ends.load(Ordering::Relaxed) {
                    store.set(&loud, &(number % 50).to_string(), vec![0; 10_000]).await.unwrap();
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    until("the flood is there", async || done.load(Ordering::Relaxed) > 0).await;
    let before = done.load(Ordering::Relaxed);
    for number in 0..OTHERS / 2 {
        let value = vec![u8::try_from(number).unwrap()];
        store.set(&quiet, "k", value.clone()).await.unwrap();
        assert_eq!(store.get(&quiet, "k").await, Ok(Some(value)));
    }
    // Whoever waits in one line with the flood has all of it before each operation. How many are done while one runs is the machine's.
    let passed = done.load(Ordering::Relaxed) - before;
    ends.store(true, Ordering::Relaxed);
    assert!(passed < OTHERS * FLOOD / 2, "{passed} of the flood were done before {OTHERS} others");
    for one in flood {
        one.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_that_hang_leave_room_for_others() {
    let place = Place::postgres().await;
    let options = StoreOptions {
        connections: 4,
        // More than there are: one is kept for others even so.
        tenant_operations: 100,
        timeout: Duration::from_secs(6),
        ..StoreOptions::default()
    };
    let store = place.store(options);
    let (stuck, other) = (call("stuck", "e"), call("other", "e"));
    store.set(&stuck, "k", vec![0]).await.unwrap();

    // Somebody has the tenant's row, and does not let go.
    let mut holder = place.url.parse::<PgConnectOptions>().unwrap().connect().await.unwrap();
    let mut held = holder.begin().await.unwrap();
    sqlx::query("UPDATE annex_kv_usage SET bytes = bytes WHERE tenant = 'stuck'")
        .execute(&mut *held)
        .await
        .unwrap();
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let (store, stuck) = (store.clone(), stuck.clone());
            tokio::spawn(async move { store.set(&stuck, "k", vec![1]).await })
        })
        .collect();
    let mut observer = place.url.parse::<PgConnectOptions>().unwrap().connect().await.unwrap();
    let mut waiters = async || -> i64 {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        sqlx::query_scalar(sql).fetch_one(&mut observer).await.unwrap()
    };
    while waiters().await < 3 {
        assert!(!waiting.iter().all(tokio::task::JoinHandle::is_finished), "none waits for the row");
        tokio::task::yield_now().await;
    }
    // The callers of half of them go away, which gives the tenant no more turns.
    for one in &waiting[..10] {
        one.abort();
    }
    for number in 0..5 {
        store.set(&other, "k", vec![number]).await.unwrap();
        assert_eq!(store.get(&other, "k").await, Ok(Some(vec![number])));
    }
    assert_eq!(waiters().await, 3);
    for one in waiting.into_iter().skip(10) {
        assert_eq!(one.await.unwrap(), Err(KvError::Unavailable));
    }
    held.rollback().await.unwrap();
    until("the tenant is served again", async || store.set(&stuck, "k", vec![2]).await.is_ok()).await;
}

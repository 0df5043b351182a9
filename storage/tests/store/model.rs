//! Whatever is done, the answers are those of the store in memory.

use std::sync::atomic::{AtomicU32, Ordering};

use annex_engine::{Kv, MemoryKv};
use annex_storage::{ENTRY_BYTES, Store};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::call;
use crate::place::{Place, patient};

#[derive(Debug, Clone)]
enum Step {
    Get(String),
    Set(String, Vec<u8>),
    CompareAndSet(String, Option<Vec<u8>>, Vec<u8>),
    /// As one would: with the value that is there.
    Replace(String, Vec<u8>),
    Delete(String),
    List(String, Option<String>, u32),
}

// Few, so that they meet.
const TEXT: &str = "[\u{0}a%_é\u{10ffff}]{0,2}";

fn key() -> impl Strategy<Value = String> {
    "[\u{0}a%_é\u{10ffff}]{1,2}"
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![Just(0), Just(255)], 0..3)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        key().prop_map(Step::Get),
        (key(), value()).prop_map(|(key, value)| Step::Set(key, value)),
        (key(), proptest::option::of(value()), value())
            .prop_map(|(key, expected, value)| Step::CompareAndSet(key, expected, value)),
        (key(), value()).prop_map(|(key, value)| Step::Replace(key, value)),
        key().prop_map(Step::Delete),
        (TEXT, proptest::option::of(TEXT), 0..6_u32)
            .prop_map(|(prefix, after, limit)| Step::List(prefix, after, limit)),
    ]
}

/// Does the steps on both, each for one of two tenants, and compares the answers and what is left.
async fn compare(store: &Store, steps: Vec<(bool, Step)>) -> Result<(), TestCaseError> {
    static CASES: AtomicU32 = AtomicU32::new(0);
    // Each case has tenants of its own, and the same extension.
    let case = CASES.fetch_add(1, Ordering::Relaxed);
    let tenants = [call(&format!("a{case}"), "e"), call(&format!("b{case}"), "e")];
    let memory = MemoryKv::default();
    for (which, step) in steps {
        let us = &tenants[usize::from(which)];
        match step {
            Step::Get(key) => prop_assert_eq!(store.get(us, &key).await, memory.get(us, &key).await),
            Step::Set(key, value) => {
                prop_assert_eq!(store.set(us, &key, value.clone()).await, memory.set(us, &key, value).await)
            }
            Step::CompareAndSet(key, expected, value) => prop_assert_eq!(
                store.compare_and_set(us, &key, expected.clone(), value.clone()).await,
                memory.compare_and_set(us, &key, expected, value).await
            ),
            Step::Replace(key, value) => {
                let there = memory.get(us, &key).await.unwrap();
                prop_assert_eq!(
                    store.compare_and_set(us, &key, there.clone(), value.clone()).await,
                    Ok(true)
                );
                prop_assert_eq!(memory.compare_and_set(us, &key, there, value).await, Ok(true));
            }
            Step::Delete(key) => {
                prop_assert_eq!(store.delete(us, &key).await, memory.delete(us, &key).await);
            }
            Step::List(prefix, after, limit) => prop_assert_eq!(
                store.list_keys(us, &prefix, after.as_deref(), limit).await,
                memory.list_keys(us, &prefix, after.as_deref(), limit).await
            ),
        }
    }
    for us in &tenants {
        let keys = memory.list_keys(us, "", None, 1_000).await.unwrap();
        let mut bytes = 0;
        for key in &keys {
            let value = memory.get(us, key).await.unwrap();
            prop_assert_eq!(&store.get(us, key).await.unwrap(), &value);
            bytes += (key.len() + value.unwrap_or_default().len()) as u64 + u64::from(ENTRY_BYTES);
        }
        prop_assert_eq!(store.list_keys(us, "", None, 1_000).await.unwrap(), keys);
        prop_assert_eq!(store.usage(&us.tenant, &us.extension).await, Ok(bytes));
    }
    Ok(())
}

fn answers_as_memory_does(runtime: &tokio::runtime::Runtime, place: &Place) {
    let store = {
        let _entered = runtime.enter();
        place.store(patient())
    };
    let config = Config { cases: 40, failure_persistence: None, ..Config::default() };
    let steps = proptest::collection::vec((any::<bool>(), step()), 1..40);
    TestRunner::new(config).run(&steps, |steps| runtime.block_on(compare(&store, steps))).unwrap();
    runtime.block_on(store.close());
}

#[test]
fn sqlite_answers_as_memory_does() {
    answers_as_memory_does(&tokio::runtime::Runtime::new().unwrap(), &Place::sqlite());
}

#[test]
fn postgres_answers_as_memory_does() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let place = runtime.block_on(Place::postgres());
    answers_as_memory_does(&runtime, &place);
}

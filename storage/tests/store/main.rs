//! The store, over a file of SQLite and over a real server of PostgreSQL.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of it is test: a panic is how a test fails"
)]

mod flood;
mod isolation;
mod logs;
mod model;
mod outages;
mod place;
mod purge;
mod quota;
mod retries;
mod sqlite_file;
mod values;
mod writers;

use std::future::Future;
use std::time::{Duration, Instant};

use annex_engine::CallContext;

/// A test of each database: `on_both!(a, b)` makes `sqlite::a`, `postgres::a` and so on of `async fn a(place: Place)`.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(crate::place::Place::sqlite()).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(crate::place::Place::postgres().await).await;
            })+
        }
    };
}
pub(crate) use on_both;

/// Calls of a tenant's install of an extension.
fn call(tenant: &str, extension: &str) -> CallContext {
    CallContext {
        request_id: "r".into(),
        tenant: tenant.parse().unwrap(),
        extension: extension.parse().unwrap(),
        version: "1.0.0".into(),
        install: "i".into(),
        config: "{}".into(),
    }
}

/// Waits until something holds; fails after a time that only a defect takes.
async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}: not within 30 seconds");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

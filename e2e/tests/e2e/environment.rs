use std::sync::OnceLock;

use annex_e2e::World;
pub(crate) use annex_e2e::{hash, publish, publish_version, withdraw};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// One environment for all tests: kcp needs half a minute to start. Tests that stop parts of it have it alone.
static WORLD: OnceLock<World> = OnceLock::new();
static TURN: RwLock<()> = RwLock::const_new(());

pub(crate) struct Shared(#[expect(dead_code, reason = "held")] RwLockReadGuard<'static, ()>);
pub(crate) struct Alone(#[expect(dead_code, reason = "held")] RwLockWriteGuard<'static, ()>);

fn world() -> &'static World {
    tokio::task::block_in_place(|| WORLD.get_or_init(|| World::up(false).expect("the environment comes up")))
}

/// The environment, beside other tests.
pub(crate) async fn shared() -> (&'static World, Shared) {
    let turn = TURN.read().await;
    (world(), Shared(turn))
}

/// The environment, with no other test at work.
pub(crate) async fn alone() -> (&'static World, Alone) {
    let turn = TURN.write().await;
    (world(), Alone(turn))
}

/// The `message` of what an API server refused, or why it is none.
pub(crate) fn refusal<T: std::fmt::Debug>(result: anyhow::Result<T>) -> (u16, String) {
    let error = result.expect_err("this is to be refused");
    match error.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) => (status.code, status.message.clone()),
        _ => panic!("not refused by the API server: {error:#}"),
    }
}

use std::sync::OnceLock;

use annex_e2e::{
    World,
    turns::{Alone, Shared, Turns},
};
pub(crate) use annex_e2e::{hash, publish, publish_version, withdraw};

/// One environment for all tests: kcp needs half a minute to start. Tests that stop parts of it have it alone.
static WORLD: OnceLock<World> = OnceLock::new();
static TURNS: Turns = Turns::new();

fn world() -> &'static World {
    tokio::task::block_in_place(|| WORLD.get_or_init(|| World::up(false).expect("the environment comes up")))
}

/// The environment, beside other tests.
pub(crate) async fn shared() -> (&'static World, Shared) {
    let world = world();
    (world, TURNS.shared().await)
}

/// The environment, with no other test at work.
pub(crate) async fn alone() -> (&'static World, Alone) {
    let world = world();
    (world, TURNS.alone().await)
}

/// The `message` of what an API server refused, or why it is none.
pub(crate) fn refusal<T: std::fmt::Debug>(result: anyhow::Result<T>) -> (u16, String) {
    let error = result.expect_err("this is to be refused");
    match error.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) => (status.code, status.message.clone()),
        _ => panic!("not refused by the API server: {error:#}"),
    }
}

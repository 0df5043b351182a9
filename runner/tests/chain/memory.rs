//! After all of it, and after all of it again, the runner has what it had.

use crate::chain::Chain;
use crate::{grants, guests, hosts, paths};

const ROUNDS: usize = 20;
/// A leak of one answer of 6 MiB, or of one call's 64 MiB of memory, in each round is more; the allocator's own ups and downs are less.
const SLACK: usize = 24 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_back_where_it_was_after_every_attack() {
    let chain = Chain::new().await;
    let mut memory = Vec::new();
    for _ in 0..ROUNDS {
        guests::all(&chain).await;
        hosts::all(&chain).await;
        paths::all(&chain).await;
        grants::all(&chain).await;
        chain.runner.forget_log();
        memory.push(chain.runner.memory());
    }
    let (first, second) = memory.split_at(ROUNDS / 2);
    let peak = |half: &[usize]| half.iter().copied().max().unwrap();
    assert!(
        peak(second) <= peak(first) + SLACK,
        "MiB: {:?}",
        memory.iter().map(|bytes| bytes >> 20).collect::<Vec<_>>()
    );
}

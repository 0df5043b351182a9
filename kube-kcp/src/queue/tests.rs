use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use futures::FutureExt as _;

use super::*;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key(pub(super) ClusterName, pub(super) u32);

impl Lane for Key {
    fn lane(&self) -> &ClusterName {
        &self.0
    }
}

pub(super) fn key(lane: &str, number: u32) -> Key {
    Key(lane.parse().unwrap(), number)
}

fn queue(per_lane: usize) -> WorkQueue<Key> {
    WorkQueue::new(Backoff::default(), per_lane)
}

/// Without waiting.
pub(super) fn now<K>(next: impl Future<Output = K>) -> Option<K> {
    next.now_or_never()
}

/// The next key, and how many milliseconds it takes to come. Timers are as fine as that, and round up.
async fn wait(queue: &WorkQueue<Key>) -> (Key, u128) {
    let started = Instant::now();
    (queue.next().await, started.elapsed().as_millis())
}

/// Fails the key so often, each time after its backoff.
async fn fail(queue: &WorkQueue<Key>, wanted: &Key, times: u32) {
    queue.add(wanted.clone());
    for _ in 0..times {
        let taken = queue.next().await;
        assert_eq!(taken, *wanted);
        queue.finish(&taken, Outcome::Failed);
    }
    assert_eq!(queue.failures(wanted), times);
}

async fn take_all(queue: &WorkQueue<Key>) -> Vec<String> {
    let mut order = Vec::new();
    while let Some(taken) = now(queue.next()) {
        order.push(format!("{}{}", taken.0, taken.1));
        queue.finish(&taken, Outcome::Done);
    }
    order
}

#[tokio::test]
async fn lanes_are_served_in_turn() {
    let queue = queue(10);
    for number in 0..3 {
        queue.add(key("noisy", number));
    }
    queue.add(key("quiet", 0));
    let order: Vec<_> = [queue.next().await, queue.next().await, queue.next().await].into();
    assert_eq!(order, [key("noisy", 0), key("quiet", 0), key("noisy", 1)]);
}

#[tokio::test]
async fn a_lane_hands_out_as_many_keys_in_its_turn_as_it_weighs() {
    let weight = Arc::new(AtomicU32::new(3));
    let asked = weight.clone();
    let queue = queue(10).weighed(move |lane| match lane.as_str() {
        "a" => NonZeroU32::new(asked.load(Ordering::Relaxed)).unwrap(),
        _ => NonZeroU32::MIN,
    });
    let add = || {
        for number in 0..5 {
            queue.add(key("a", number));
        }
        for number in 0..3 {
            queue.add(key("b", number));
        }
    };
    add();
    assert_eq!(take_all(&queue).await, ["a0", "a1", "a2", "b0", "a3", "a4", "b1", "b2"]);
    add();
    weight.store(2, Ordering::Relaxed);
    assert_eq!(take_all(&queue).await, ["a0", "a1", "b0", "a2", "a3", "b1", "a4", "b2"]);
}

#[tokio::test]
async fn a_weight_that_changes_counts_from_the_next_turn() {
    let weight = Arc::new(AtomicU32::new(2));
    let asked = weight.clone();
    let queue = queue(10).weighed(move |_| NonZeroU32::new(asked.load(Ordering::Relaxed)).unwrap());
    for (lane, number) in [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1)] {
        queue.add(key(lane, number));
    }
    assert_eq!(now(queue.next()), Some(key("a", 0)));
    weight.store(1, Ordering::Relaxed);
    let order: Vec<_> = std::iter::from_fn(|| now(queue.next())).collect();
    assert_eq!(order, [key("a", 1), key("b", 0), key("a", 2), key("b", 1)]);
}

#[tokio::test]
async fn a_weight_raises_no_cap_and_none_is_saved_up() {
    let queue = queue(2).weighed(|_| NonZeroU32::new(3).unwrap());
    for number in 0..6 {
        queue.add(key("a", number));
    }
    for number in 0..6 {
        queue.add(key("b", number));
    }
    let order: Vec<_> = std::iter::from_fn(|| now(queue.next())).collect();
    assert_eq!(order, [key("a", 0), key("a", 1), key("b", 0), key("b", 1)]);
    for taken in &order {
        queue.finish(taken, Outcome::Done);
    }
    assert_eq!(now(queue.next()), Some(key("a", 2)));
    assert_eq!(now(queue.next()), Some(key("a", 3)));
    assert_eq!(now(queue.next()), Some(key("b", 2)));
}

/// It may ask the queue, and if it panics that is nobody's loss.
#[tokio::test]
async fn who_weighs_holds_nothing_up() {
    let slot: Arc<Mutex<Option<Arc<WorkQueue<Key>>>>> = Arc::default();
    let seen = slot.clone();
    let queue = Arc::new(queue(10).weighed(move |lane| {
        let queue = seen.lock().clone().unwrap();
        assert!(queue.depth() > 0 && lane.as_str() != "panics");
        NonZeroU32::new(2).unwrap()
    }));
    *slot.lock() = Some(queue.clone());
    for (lane, number) in [("panics", 0), ("panics", 1), ("a", 0), ("a", 1), ("a", 2)] {
        queue.add(key(lane, number));
    }
    assert_eq!(take_all(&queue).await, ["panics0", "a0", "a1", "panics1", "a2"]);
    slot.lock().take();
}

#[tokio::test]
async fn a_lane_has_its_cap() {
    let queue = queue(1);
    queue.add(key("a", 1));
    queue.add(key("a", 2));
    let first = queue.next().await;
    assert_eq!(now(queue.next()), None);
    queue.finish(&first, Outcome::Done);
    assert_eq!(now(queue.next()), Some(key("a", 2)));
}

#[tokio::test]
async fn a_key_is_queued_once_and_comes_again_when_added_at_work() {
    let queue = queue(10);
    queue.add(key("a", 1));
    queue.add(key("a", 1));
    let first = queue.next().await;
    assert_eq!(now(queue.next()), None);
    queue.add(key("a", 1));
    assert_eq!(now(queue.next()), None, "never twice at a time");
    queue.finish(&first, Outcome::Done);
    assert_eq!(now(queue.next()), Some(key("a", 1)));
}

#[tokio::test]
async fn what_is_not_at_work_does_not_end() {
    let queue = queue(1);
    queue.add(key("a", 1));
    queue.add(key("a", 2));
    for end in [|queue: &WorkQueue<Key>, key: &Key| queue.finish(key, Outcome::Failed), WorkQueue::put_back] {
        end(&queue, &key("a", 1));
        end(&queue, &key("b", 1));
        assert_eq!((queue.depth(), queue.failures(&key("a", 1))), (2, 0));
    }
    assert_eq!(now(queue.next()), Some(key("a", 1)));
    queue.finish(&key("a", 2), Outcome::Done);
    assert_eq!(now(queue.next()), None, "the lane has its cap at work");
}

#[tokio::test(start_paused = true)]
async fn backoff_grows_is_capped_and_begins_anew() {
    let queue = queue(1);
    queue.add(key("a", 1));
    let mut waits = Vec::new();
    for _ in 0..51 {
        let (taken, waited) = wait(&queue).await;
        waits.push(waited);
        queue.finish(&taken, Outcome::Failed);
    }
    assert!((50..=101).contains(&waits[1]) && (30_000..=60_001).contains(&waits[50]), "{waits:?}");
    assert_eq!(queue.failures(&key("a", 1)), 51);
    let taken = queue.next().await;
    queue.finish(&taken, Outcome::Done);
    assert_eq!(queue.failures(&key("a", 1)), 0);
    assert!(queue.is_empty(), "a key that is done is forgotten");
}

#[tokio::test(start_paused = true)]
async fn a_trigger_brings_a_failing_key_forward_and_is_not_counted() {
    let (queue, wanted) = (queue(1), key("a", 1));
    fail(&queue, &wanted, 8).await;
    let failed = Instant::now();
    let until = queue.state.lock().failing(&wanted).unwrap().until();
    assert!(until - failed >= Duration::from_secs(6), "a backoff that is worth bringing forward");

    queue.add(wanted.clone());
    assert_eq!(now(queue.next()), None, "not at once");
    let (taken, waited) = wait(&queue).await;
    assert!(taken == wanted && (100..=101).contains(&waited), "{waited}");
    // Added at work is as added right after.
    queue.add(wanted.clone());
    queue.finish(&taken, Outcome::Failed);
    assert_eq!(queue.failures(&wanted), 8);
    let (taken, waited) = wait(&queue).await;
    assert!(taken == wanted && (100..=101).contains(&waited), "{waited}");
    queue.finish(&taken, Outcome::Failed);

    // And without a trigger, it comes when it had come anyway.
    let (taken, _) = wait(&queue).await;
    assert!(until <= Instant::now() && Instant::now() < until + Duration::from_millis(2));
    queue.finish(&taken, Outcome::Failed);
    assert_eq!(queue.failures(&wanted), 9);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_always_fails_and_is_always_triggered_is_tried_with_pauses_and_counted_as_without() {
    let (queue, wanted) = (queue(1), key("a", 1));
    let (mut tries, begun) = (0, Instant::now());
    queue.add(wanted.clone());
    while begun.elapsed() < Duration::from_secs(60) {
        let taken = queue.next().await;
        tries += 1;
        assert!(tries <= 620, "it is tried without a pause");
        queue.add(wanted.clone());
        queue.finish(&taken, Outcome::Failed);
        queue.add(wanted.clone());
    }
    // 50 ms after the first, then 100 ms at least, but for the try that comes by its backoff.
    assert!(tries >= 300, "{tries}");
    // 0.1 s doubled nine times is 51.2 s, and each is shortened by up to a half.
    assert!((8..=11).contains(&queue.failures(&wanted)), "{}", queue.failures(&wanted));
}

#[tokio::test(start_paused = true)]
async fn a_success_by_a_trigger_forgets_all_failures() {
    let (queue, wanted) = (queue(1), key("a", 1));
    for outcome in [Outcome::Done, Outcome::Again(Duration::from_secs(5))] {
        fail(&queue, &wanted, 12).await;
        assert_eq!(queue.figures().stuck, 1);
        queue.add(wanted.clone());
        let taken = queue.next().await;
        queue.finish(&taken, outcome);
        assert_eq!((queue.failures(&wanted), queue.figures().stuck), (0, 0));
        if outcome != Outcome::Done {
            assert_eq!(wait(&queue).await.1 / 10, 500);
            queue.finish(&wanted, Outcome::Done);
        }
        assert!(queue.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_added_at_work_comes_before_what_is_to_come_again() {
    let (queue, wanted) = (queue(1), key("a", 1));
    queue.add(wanted.clone());
    for (delay, expected) in [(0, 0), (3, 3), (30, 20)] {
        let taken = queue.next().await;
        queue.add_after(wanted.clone(), Duration::from_secs(delay));
        queue.finish(&taken, Outcome::Again(Duration::from_secs(20)));
        let (taken, waited) = wait(&queue).await;
        assert_eq!(waited / 10, expected * 100);
        queue.put_back(&taken);
    }
}

#[tokio::test(start_paused = true)]
async fn no_trigger_is_heard_before_the_time_that_the_server_said() {
    let (queue, wanted) = (queue(1), key("a", 1));
    queue.add(wanted.clone());
    let taken = queue.next().await;
    queue.finish(&taken, Outcome::FailedFor(Duration::from_secs(10)));
    queue.add(wanted.clone());
    let (taken, waited) = wait(&queue).await;
    assert!((10_000..=15_001).contains(&waited), "{waited}");
    // A server that says too much is believed a minute.
    queue.finish(&taken, Outcome::FailedFor(Duration::MAX));
    assert_eq!(queue.failures(&wanted), 2);
    let (_, waited) = wait(&queue).await;
    assert!((60_000..=90_001).contains(&waited), "{waited}");
}

#[test]
fn an_answer_says_how_long_to_wait() {
    let answer = |details: serde_json::Value| {
        let status = serde_json::json!({ "status": "Failure", "code": 429, "details": details });
        kube::Error::Api(Box::new(serde_json::from_value(status).unwrap()))
    };
    let told = answer(serde_json::json!({ "retryAfterSeconds": 7 }));
    assert_eq!(Outcome::failed(&told), Outcome::FailedFor(Duration::from_secs(7)));
    for silent in [answer(serde_json::json!({})), answer(serde_json::json!(null)), kube::Error::TlsRequired] {
        assert_eq!(Outcome::failed(&silent), Outcome::Failed);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_put_back_is_ready_and_neither_failed_nor_done() {
    let (queue, wanted) = (queue(1), key("a", 1));
    fail(&queue, &wanted, 3).await;
    let taken = queue.next().await;
    assert_eq!(now(queue.next()), None);
    queue.add_after(wanted.clone(), Duration::from_secs(1));
    queue.put_back(&taken);
    assert_eq!((queue.failures(&wanted), queue.depth(), queue.figures().delayed), (3, 1, 0));
    assert_eq!(now(queue.next()), Some(wanted.clone()));
    queue.finish(&wanted, Outcome::Failed);
    assert_eq!(queue.failures(&wanted), 4);
}

#[tokio::test(start_paused = true)]
async fn the_earlier_of_two_delays_counts() {
    let queue = queue(1);
    queue.add_after(key("a", 1), Duration::from_secs(60));
    queue.add_after(key("a", 1), Duration::from_secs(5));
    queue.add_after(key("a", 1), Duration::from_secs(30));
    let (taken, waited) = wait(&queue).await;
    assert_eq!(waited, 5_000);
    queue.finish(&taken, Outcome::Done);
    assert!(queue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn no_delay_is_too_long() {
    let backoff = Backoff { first: Duration::MAX, most: Duration::MAX };
    let queue = WorkQueue::new(backoff, 1);
    queue.add_after(key("a", 1), Duration::MAX);
    queue.add(key("b", 1));
    for outcome in [Outcome::Again(Duration::MAX), Outcome::Failed, Outcome::FailedFor(Duration::MAX)] {
        let taken = queue.next().await;
        queue.finish(&taken, outcome);
    }
    assert_eq!((queue.depth(), queue.figures().delayed), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn the_oldest_key_ages_also_if_nobody_takes_any() {
    let queue = queue(1);
    assert_eq!(queue.oldest(), None);
    queue.add_after(key("a", 1), Duration::from_secs(10));
    queue.add_after(key("b", 1), Duration::from_secs(12));
    assert_eq!(queue.oldest(), None);
    tokio::time::advance(Duration::from_secs(15)).await;
    let figures = queue.figures();
    assert_eq!(figures, Figures { ready: 2, oldest: Some(Duration::from_secs(5)), delayed: 0, stuck: 0 });
    // What became ready later is behind it, also if nobody had looked in between.
    queue.add(key("a", 2));
    let (taken, waited) = queue.start().await;
    assert_eq!((taken, waited), (key("a", 1), Duration::from_secs(5)));
    assert_eq!(queue.oldest(), Some(Duration::from_secs(3)));
    // One that waits for its lane has an age as well.
    assert_eq!(queue.next().await, key("b", 1));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!((queue.depth(), queue.oldest()), (1, Some(Duration::from_secs(1))));
}

/// Of two that wait, only one is told of a change. If it goes away, the other one is to know.
#[tokio::test(start_paused = true)]
async fn who_stops_waiting_takes_no_change_with_them() {
    let queue = queue(1);
    let mut first = Box::pin(queue.next());
    let mut second = Box::pin(queue.next());
    assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());
    queue.add_after(key("a", 1), Duration::from_secs(5));
    assert!(futures::poll!(&mut first).is_pending());
    drop(first);
    let taken = tokio::time::timeout(Duration::from_secs(6), second).await;
    assert_eq!(taken.ok(), Some(key("a", 1)));
}

/// Many lanes and many keys: every key once, and each lane once in each round.
#[tokio::test]
async fn ten_thousand_lanes_take_turns() {
    let queue = queue(10);
    let names: Vec<ClusterName> = (0..10_000).map(|lane| format!("l{lane}").parse().unwrap()).collect();
    for name in &names {
        for number in 0..10 {
            queue.add(Key(name.clone(), number));
        }
    }
    for round in 0..10 {
        for name in &names {
            assert_eq!(now(queue.next()), Some(Key(name.clone(), round)));
        }
    }
    for name in names {
        for number in 0..10 {
            queue.finish(&Key(name.clone(), number), Outcome::Done);
        }
    }
    assert!(queue.is_empty());
}

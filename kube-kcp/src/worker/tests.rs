use std::{
    collections::{HashMap, HashSet},
    future::pending,
    sync::atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use proptest::prelude::*;
use tokio::sync::{Notify, oneshot};

use super::*;
use crate::{Backoff, ClusterName, work_metrics::encoded};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key(ClusterName, u32);

impl Lane for Key {
    fn lane(&self) -> &ClusterName {
        &self.0
    }
}

fn key(lane: &str) -> Key {
    Key(lane.parse().unwrap(), 0)
}

const LIMITS: Limits = Limits { concurrency: 2, timeout: Duration::from_secs(5) };

fn queue_of(lanes: &[&str]) -> Arc<WorkQueue<Key>> {
    let queue = WorkQueue::new(Backoff::default(), 1);
    for lane in lanes {
        queue.add(key(lane));
    }
    Arc::new(queue)
}

fn metrics() -> WorkMetrics {
    WorkMetrics::register(&mut Registry::default())
}

/// Until each key that is ready is done.
async fn work_off(queue: &Arc<WorkQueue<Key>>, done: &Mutex<Vec<String>>) {
    let left = queue.depth();
    let idle = Notify::new();
    let stop = async {
        idle.notified().await;
        Stop::Drain
    };
    let (idle, count) = (&idle, AtomicUsize::new(0));
    run_workers(queue.clone(), LIMITS, metrics(), stop, |Key(lane, _)| {
        done.lock().push(lane.to_string());
        if count.fetch_add(1, Ordering::Relaxed) + 1 == left {
            idle.notify_one();
        }
        async { Outcome::Done }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_and_a_hang_are_failures_that_come_again() {
    struct PanicsWhenDropped;
    impl Drop for PanicsWhenDropped {
        fn drop(&mut self) {
            panic!("on purpose");
        }
    }

    let lanes = ["panics", "panics-at-once", "hangs", "hangs-and-panics", "works"];
    let queue = queue_of(&lanes);
    let tries: Arc<Mutex<Vec<(String, u32)>>> = Arc::default();
    let (done, stop) = oneshot::channel::<()>();
    let done = Arc::new(Mutex::new(Some(done)));
    let mut registry = Registry::default();
    let metrics = WorkMetrics::register(&mut registry);
    let (seen, asked) = (tries.clone(), queue.clone());
    let stop = async {
        let _ = stop.await;
        Stop::Drain
    };
    run_workers(queue.clone(), LIMITS, metrics, stop, move |key| {
        let lane = key.0.to_string();
        let failures = asked.failures(&key);
        assert!(lane != "panics-at-once" || failures > 0, "on purpose");
        let (seen, done) = (seen.clone(), done.clone());
        async move {
            seen.lock().push((lane.clone(), failures));
            match lane.as_str() {
                "panics" if failures == 0 => panic!("on purpose"),
                "hangs" if failures == 0 => pending().await,
                "hangs-and-panics" if failures == 0 => {
                    let _held = PanicsWhenDropped;
                    pending::<()>().await;
                }
                _ => {}
            }
            if seen.lock().iter().filter(|(_, failures)| *failures == 1).count() == 4 {
                done.lock().take().map(|done| done.send(()));
            }
            Outcome::Done
        }
    })
    .await;
    let tries = tries.lock();
    for lane in lanes {
        let failures: Vec<u32> =
            tries.iter().filter(|(name, _)| *name == lane).map(|(_, failures)| *failures).collect();
        let expected: &[u32] = match lane {
            "works" => &[0],
            "panics-at-once" => &[1],
            _ => &[0, 1],
        };
        assert_eq!(failures, expected, "{lane}");
        assert_eq!(queue.failures(&key(lane)), 0);
    }
    let shown = encoded(&registry);
    for line in [
        "kube_kcp_reconciles_total{outcome=\"failed\"} 4",
        "kube_kcp_reconciles_total{outcome=\"done\"} 5",
        "kube_kcp_reconcile_duration_seconds_count 9",
        "kube_kcp_queue_wait_seconds_count 9",
        "kube_kcp_queue_depth 0",
        "kube_kcp_queue_oldest_seconds 0.0",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_lets_end_what_is_at_work_and_leaves_the_rest_to_who_comes_next() {
    let queue = queue_of(&["a", "b", "c", "d"]);
    let done: Arc<Mutex<Vec<String>>> = Arc::default();
    let both = Arc::new(tokio::sync::Barrier::new(3));
    let go_on = Arc::new(Notify::new());
    let (ended, met, going) = (done.clone(), both.clone(), go_on.clone());
    let stop = async {
        both.wait().await;
        Stop::Drain
    };
    let workers = run_workers(queue.clone(), LIMITS, metrics(), stop, move |Key(lane, _)| {
        let (ended, met, going) = (ended.clone(), met.clone(), going.clone());
        async move {
            met.wait().await;
            going.notified().await;
            ended.lock().push(lane.to_string());
            Outcome::Done
        }
    });
    let mut workers = std::pin::pin!(workers);
    assert!(tokio::time::timeout(Duration::from_secs(1), &mut workers).await.is_err(), "two are at work");
    assert!(done.lock().is_empty());
    go_on.notify_waiters();
    workers.await;
    done.lock().sort();
    assert_eq!((done.lock().clone(), queue.depth()), (vec!["a".to_owned(), "b".to_owned()], 2));

    work_off(&queue, &done).await;
    assert_eq!((done.lock().clone(), queue.depth()), (["a", "b", "c", "d"].map(str::to_owned).to_vec(), 0));
}

/// Says whether it was dropped.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Ordering::SeqCst);
        Self(alive.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn an_abort_drops_what_is_at_work_and_leaves_it_to_who_comes_next() {
    let queue = queue_of(&["a", "b", "c"]);
    let alive: Arc<AtomicUsize> = Arc::default();
    let both = Arc::new(tokio::sync::Barrier::new(3));
    let (living, met) = (alive.clone(), both.clone());
    let stop = async {
        both.wait().await;
        Stop::Abort
    };
    let began = Instant::now();
    run_workers(queue.clone(), LIMITS, metrics(), stop, move |_| {
        let (alive, met) = (Alive::new(&living), met.clone());
        async move {
            let _alive = alive;
            met.wait().await;
            pending().await
        }
    })
    .await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(alive.load(Ordering::SeqCst), 0, "a reconcile outlives the workers");
    assert_eq!(queue.depth(), 3);
    for lane in ["a", "b", "c"] {
        assert_eq!(queue.failures(&key(lane)), 0);
    }
    let done = Mutex::default();
    work_off(&queue, &done).await;
    done.lock().sort();
    assert_eq!(*done.lock(), ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn workers_that_are_dropped_leave_no_key_at_work() {
    let queue = queue_of(&["a", "b", "c"]);
    // Neither of the two tasks has run yet, or both wait.
    for turns in [0, 2] {
        let mut workers = Box::pin(run_workers(queue.clone(), LIMITS, metrics(), pending(), |_| pending()));
        assert!(futures::poll!(&mut workers).is_pending());
        assert_eq!(queue.depth(), 1);
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        drop(workers);
        while queue.depth() != 3 {
            tokio::task::yield_now().await;
        }
    }
    let done = Mutex::default();
    work_off(&queue, &done).await;
    assert_eq!(done.lock().len(), 3);
}

/// What a try does.
#[derive(Clone, Copy, Debug)]
enum Try {
    Ends(Outcome, u64),
    Panics,
    PanicsAtOnce,
    Hangs,
}

fn tries() -> impl Strategy<Value = Vec<Try>> {
    let outcome = prop_oneof![
        Just(Outcome::Done),
        Just(Outcome::Again(Duration::from_millis(300))),
        Just(Outcome::Failed),
        Just(Outcome::FailedFor(Duration::from_secs(2))),
    ];
    let one = prop_oneof![
        6 => (outcome, 0u64..3_000).prop_map(|(outcome, millis)| Try::Ends(outcome, millis)),
        1 => Just(Try::Panics),
        1 => Just(Try::PanicsAtOnce),
        1 => Just(Try::Hangs),
    ];
    prop::collection::vec(one, 0..40)
}

/// How one run of the workers stops, and after how many milliseconds. None: it is dropped.
fn stops() -> impl Strategy<Value = Vec<(Option<Stop>, u64)>> {
    let how = prop_oneof![Just(Some(Stop::Drain)), Just(Some(Stop::Abort)), Just(None)];
    prop::collection::vec((how, 0u64..4_000), 1..8)
}

#[derive(Default)]
struct Account {
    tries: Vec<Try>,
    at_work: HashMap<ClusterName, u32>,
    /// The most that one lane had at work at a time.
    most: u32,
    /// What is still to be done: asked for and not begun since, or not done.
    wanted: HashSet<Key>,
}

/// A try from its begin until it is dropped.
struct Trying {
    account: Arc<Mutex<Account>>,
    key: Key,
    done: bool,
}

impl Trying {
    fn begin(account: Arc<Mutex<Account>>, key: Key) -> (Self, Try) {
        let mut state = account.lock();
        state.wanted.remove(&key);
        let at_work = state.at_work.entry(key.0.clone()).or_default();
        *at_work += 1;
        state.most = state.most.max(state.at_work[&key.0]);
        let what = state.tries.pop().unwrap_or(Try::Ends(Outcome::Done, 0));
        drop(state);
        (Self { account, key, done: false }, what)
    }
}

impl Drop for Trying {
    fn drop(&mut self) {
        let mut account = self.account.lock();
        *account.at_work.get_mut(&self.key.0).unwrap() -= 1;
        if !self.done {
            account.wanted.insert(self.key.clone());
        }
    }
}

fn attempt(account: Arc<Mutex<Account>>, key: Key) -> impl Future<Output = Outcome> + Send + 'static {
    let (trying, what) = Trying::begin(account, key);
    assert!(!matches!(what, Try::PanicsAtOnce), "on purpose");
    async move {
        // The whole of it, not only what is changed of it.
        let mut trying = trying;
        match what {
            Try::Ends(outcome, millis) => {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                trying.done = outcome == Outcome::Done;
                outcome
            }
            Try::Panics | Try::PanicsAtOnce => panic!("on purpose"),
            Try::Hangs => pending().await,
        }
    }
}

async fn stop_and_go_on(tries: Vec<Try>, stops: Vec<(Option<Stop>, u64)>) -> Result<(), TestCaseError> {
    let account = Arc::new(Mutex::new(Account { tries, ..Account::default() }));
    let queue = Arc::new(WorkQueue::new(Backoff::default(), 1));
    let keys: Vec<Key> = ["a", "b", "c"]
        .into_iter()
        .flat_map(|lane| (0..2).map(move |number| Key(lane.parse().unwrap(), number)))
        .collect();
    let run = async |stop: Option<Stop>, after: Duration| {
        let account = account.clone();
        let stopped = async {
            match stop {
                Some(stop) => {
                    tokio::time::sleep(after).await;
                    stop
                }
                None => pending().await,
            }
        };
        let workers =
            run_workers(queue.clone(), LIMITS, metrics(), stopped, |key| attempt(account.clone(), key));
        tokio::select! {
            () = workers => {}
            () = tokio::time::sleep(after), if stop.is_none() => {}
        }
    };
    for (round, (stop, millis)) in stops.into_iter().enumerate() {
        for key in keys.iter().skip(round % 3) {
            account.lock().wanted.insert(key.clone());
            queue.add(key.clone());
        }
        run(stop, Duration::from_millis(millis)).await;
        let at_work = || account.lock().at_work.values().sum::<u32>();
        if stop.is_none() {
            // Nobody waits for what is dropped with the workers: their tasks' turn comes.
            while at_work() > 0 {
                tokio::task::yield_now().await;
            }
        }
        prop_assert_eq!(at_work(), 0, "something is at work after {:?}", stop);
    }
    // In an hour all that hangs is given up, and all is tried again.
    run(Some(Stop::Drain), Duration::from_secs(3600)).await;
    let account = account.lock();
    prop_assert!(account.wanted.is_empty(), "lost: {:?}", account.wanted);
    prop_assert!(account.most <= 1, "a lane had {} at work", account.most);
    prop_assert!(queue.is_empty(), "something is held for keys that are forgotten");
    Ok(())
}

proptest! {
    /// However the workers stop and whatever becomes of the tries: each key is done in the end, none is at work twice at a time, and
    /// none is still at work for the queue when it is not.
    #[test]
    fn workers_that_stop_lose_no_key(tries in tries(), stops in stops()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(stop_and_go_on(tries, stops))?;
    }
}

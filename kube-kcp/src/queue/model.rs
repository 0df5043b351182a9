//! The queue against an account of it that is too simple to be wrong, and too slow to be used.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proptest::prelude::*;

use super::{
    failing::Failing,
    tests::{Key, key, now},
    *,
};

const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(20) };
const LANES: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Clone, Debug)]
enum Step {
    Add(Key),
    AddAfter(Key, Duration),
    Take,
    /// One of those at work ends so.
    End(prop::sample::Index, Option<Outcome>),
    /// From its next turn on, the lane weighs so much.
    Weigh(&'static str, u32),
    Wait(Duration),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || (prop::sample::select(&LANES[..]), 0u32..4).prop_map(|(lane, number)| key(lane, number));
    let time = || {
        prop_oneof![Just(Duration::ZERO), (1u64..30_000).prop_map(Duration::from_millis), Just(Duration::MAX)]
    };
    let outcome = prop_oneof![
        2 => Just(Outcome::Done),
        1 => time().prop_map(Outcome::Again),
        4 => Just(Outcome::Failed),
        1 => time().prop_map(Outcome::FailedFor),
    ];
    let step = prop_oneof![
        5 => key().prop_map(Step::Add),
        2 => (key(), time()).prop_map(|(key, delay)| Step::AddAfter(key, delay)),
        8 => Just(Step::Take),
        6 => (any::<prop::sample::Index>(), prop::option::weighted(0.8, outcome))
            .prop_map(|(which, outcome)| Step::End(which, outcome)),
        1 => (prop::sample::select(&LANES[..]), 1u32..4).prop_map(|(lane, weight)| Step::Weigh(lane, weight)),
        4 => (1u64..5_000).prop_map(|time| Step::Wait(Duration::from_millis(time))),
    ];
    prop::collection::vec(step, 1..200)
}

/// What holds of a key that is in the queue.
#[derive(Clone, Debug, Default)]
struct Entry {
    /// Since when it is to be worked on, or from when on. None: only once it is at work no more, if at all.
    due: Option<Instant>,
    active: bool,
    /// It was asked for while at work.
    wish: Option<Instant>,
    failures: u32,
    /// The end of its backoff, and before when no trigger brings it forward. Drawn at random, so taken from the queue.
    backoff: Option<(Instant, Instant)>,
    /// The try that runs had begun when its backoff had run out.
    counts: bool,
}

#[derive(Default)]
struct Model {
    entries: BTreeMap<Key, Entry>,
    per_lane: usize,
    /// For each lane that might have been served and was not, how many keys each other lane has had since.
    passed_over: BTreeMap<ClusterName, BTreeMap<ClusterName, u32>>,
}

impl Model {
    fn ready(&self, lane: &ClusterName) -> impl Iterator<Item = (&Key, Instant)> {
        let (now, lane) = (Instant::now(), lane.clone());
        let due = self.entries.iter().filter_map(|(key, entry)| Some((key, entry.due?)));
        due.filter(move |(key, due)| key.0 == lane && *due <= now)
    }

    fn active(&self, lane: &ClusterName) -> usize {
        self.entries.iter().filter(|(key, entry)| key.0 == *lane && entry.active).count()
    }

    /// The lanes whose keys may be given out.
    fn eligible(&self) -> BTreeSet<ClusterName> {
        let lanes: BTreeSet<ClusterName> = self.entries.keys().map(|key| key.0.clone()).collect();
        let may = |lane: &ClusterName| self.active(lane) < self.per_lane && self.ready(lane).next().is_some();
        lanes.into_iter().filter(may).collect()
    }

    fn wish(&mut self, key: &Key, at: Instant) {
        let entry = self.entries.entry(key.clone()).or_default();
        if entry.active {
            entry.wish = Some(entry.wish.map_or(at, |wish| wish.min(at)));
            return;
        }
        let at = entry.backoff.map_or(at, |(until, not_before)| until.min(at.max(not_before)));
        // A backoff that ran out long ago makes it no older.
        let at = at.max(Instant::now());
        entry.due = Some(entry.due.map_or(at, |due| due.min(at)));
    }

    /// The lanes that may not be served lose what they had been passed over for.
    fn settle(&mut self) {
        let eligible = self.eligible();
        self.passed_over.retain(|lane, _| eligible.contains(lane));
        for lane in eligible {
            self.passed_over.entry(lane).or_default();
        }
    }

    fn taken(&mut self, key: &Key, weights: &BTreeMap<ClusterName, u32>) -> Result<(), TestCaseError> {
        let now = Instant::now();
        let lane = &key.0;
        prop_assert!(self.eligible().contains(lane), "{key:?} is not to be given out");
        let first = self.ready(lane).map(|(_, since)| since).min();
        let entry = self.entries.get_mut(key).unwrap();
        prop_assert!(!entry.active, "{key:?} is at work twice");
        prop_assert_eq!(entry.due, first, "{:?} is before one that is ready for longer", key);
        entry.active = true;
        entry.due = None;
        entry.wish = None;
        entry.counts = entry.backoff.is_none_or(|(until, _)| until <= now);

        self.passed_over.insert(lane.clone(), BTreeMap::new());
        for (other, had) in self.passed_over.iter_mut().filter(|(other, _)| *other != lane) {
            let had = had.entry(lane.clone()).or_default();
            *had += 1;
            let weight = weights[lane];
            prop_assert!(*had <= weight, "{lane}, which weighs {weight}, had {had} while {other} waited");
        }
        Ok(())
    }

    fn ended(
        &mut self,
        key: &Key,
        outcome: Option<Outcome>,
        failing: Option<Failing>,
    ) -> Result<(), TestCaseError> {
        let now = Instant::now();
        let entry = self.entries.get_mut(key).unwrap();
        let wish = entry.wish.take();
        entry.active = false;
        let before = entry.backoff;
        let mut again = None;
        match outcome {
            None => again = Some(now),
            Some(Outcome::Done) => (entry.failures, entry.backoff) = (0, None),
            Some(Outcome::Again(delay)) => {
                (entry.failures, entry.backoff) = (0, None);
                again = Some(later(now, delay));
            }
            Some(failed @ (Outcome::Failed | Outcome::FailedFor(_))) => {
                let told = if let Outcome::FailedFor(told) = failed {
                    told.min(BACKOFF.most)
                } else {
                    Duration::ZERO
                };
                let failing = failing.unwrap();
                let (until, not_before) = (failing.until(), failing.triggered(now));
                // Before the shorter of its backoff and the pause, it does not come.
                prop_assert!(not_before >= until.min(now + BACKOFF.first.max(told)));
                prop_assert!(not_before <= now + BACKOFF.first.max(told.mul_f64(1.5)));
                if entry.counts {
                    entry.failures += 1;
                    let doubled = BACKOFF.first * 2u32.pow(entry.failures.min(10) - 1);
                    let longest = doubled.min(BACKOFF.most);
                    prop_assert!(until >= now + (longest / 2).max(told));
                    prop_assert!(until <= now + longest.max(told.mul_f64(1.5)));
                } else {
                    prop_assert_eq!(until, before.unwrap().0.max(not_before));
                }
                entry.backoff = Some((until, not_before));
                again = Some(until);
            }
        }
        let wish = wish
            .map(|wish| entry.backoff.map_or(wish, |(until, not_before)| until.min(wish.max(not_before))));
        // What is due already is so from now on: it could not come before.
        entry.due = [wish, again].into_iter().flatten().min().map(|due| due.max(now));
        if entry.due.is_none() {
            self.entries.remove(key);
        }
        Ok(())
    }

    fn compare(&self, queue: &WorkQueue<Key>) -> Result<(), TestCaseError> {
        let now = Instant::now();
        let due = || self.entries.values().filter_map(|entry| entry.due);
        let figures = Figures {
            ready: due().filter(|due| *due <= now).count(),
            oldest: due().filter(|due| *due <= now).min().map(|since| now - since),
            delayed: due().filter(|due| *due > now).count(),
            stuck: self.entries.values().filter(|entry| entry.failures >= 10).count(),
        };
        prop_assert_eq!(queue.figures(), figures);
        for (key, entry) in &self.entries {
            prop_assert_eq!(queue.failures(key), entry.failures, "{:?}", key);
        }
        Ok(())
    }
}

/// The queue, the account of it, and what is at work.
struct Run {
    queue: WorkQueue<Key>,
    model: Model,
    active: Vec<Key>,
    /// What the lanes weigh, and what they weighed when they were last asked.
    weights: Arc<Mutex<BTreeMap<ClusterName, u32>>>,
    asked: Arc<Mutex<BTreeMap<ClusterName, u32>>>,
}

impl Run {
    fn new(per_lane: usize) -> Self {
        let weights: Arc<Mutex<BTreeMap<ClusterName, u32>>> = Arc::default();
        let asked: Arc<Mutex<BTreeMap<ClusterName, u32>>> = Arc::default();
        let (weigh, answers) = (weights.clone(), asked.clone());
        let queue = WorkQueue::new(BACKOFF, per_lane).weighed(move |lane| {
            let weight = weigh.lock().get(lane).copied().unwrap_or(1);
            answers.lock().insert(lane.clone(), weight);
            NonZeroU32::new(weight).unwrap()
        });
        Self { queue, model: Model { per_lane, ..Model::default() }, active: Vec::new(), weights, asked }
    }

    /// Whether there was a key.
    fn take(&mut self) -> Result<bool, TestCaseError> {
        let Some(taken) = now(self.queue.next()) else {
            prop_assert!(self.model.eligible().is_empty(), "a key that is due does not come");
            return Ok(false);
        };
        self.model.taken(&taken, &self.asked.lock())?;
        self.active.push(taken);
        Ok(true)
    }

    fn end(&mut self, which: usize, outcome: Option<Outcome>) -> Result<(), TestCaseError> {
        let key = self.active.remove(which);
        match outcome {
            Some(outcome) => self.queue.finish(&key, outcome),
            None => self.queue.put_back(&key),
        }
        let failing = self.queue.state.lock().failing(&key);
        self.model.ended(&key, outcome, failing)
    }

    async fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Add(key) => {
                self.queue.add(key.clone());
                self.model.wish(&key, Instant::now());
            }
            Step::AddAfter(key, delay) => {
                self.queue.add_after(key.clone(), delay);
                self.model.wish(&key, later(Instant::now(), delay));
            }
            Step::Take => {
                self.take()?;
            }
            Step::End(which, outcome) => {
                if !self.active.is_empty() {
                    self.end(which.index(self.active.len()), outcome)?;
                }
            }
            Step::Weigh(lane, weight) => {
                self.weights.lock().insert(lane.parse().unwrap(), weight);
            }
            Step::Wait(time) => tokio::time::advance(time).await,
        }
        self.model.settle();
        self.model.compare(&self.queue)
    }

    /// Everything is done, and what is not due yet comes once it is.
    async fn drain(&mut self) -> Result<(), TestCaseError> {
        loop {
            while !self.active.is_empty() {
                self.end(0, Some(Outcome::Done))?;
                self.model.settle();
            }
            if self.take()? {
                self.model.settle();
                continue;
            }
            let Some(next) = self.model.entries.values().filter_map(|entry| entry.due).min() else { break };
            tokio::time::advance(next - Instant::now()).await;
            self.model.settle();
        }
        prop_assert!(self.model.entries.is_empty());
        prop_assert!(self.queue.is_empty(), "something is held for keys that are forgotten");
        Ok(())
    }
}

proptest! {
    /// Whatever is added, whenever, and however it ends: no key is lost and none given out twice at a time; no lane is over its cap,
    /// and while one waits each other has at most one turn; failures are counted as they should; and nothing is kept for what is done.
    #[test]
    fn the_queue_does_as_its_account_says(per_lane in 1usize..4, steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut run = Run::new(per_lane);
            for step in steps {
                run.step(step).await?;
            }
            run.drain().await
        })?;
    }
}

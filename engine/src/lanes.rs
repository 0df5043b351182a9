//! Where guests get the processor.
//!
//! A call begins on the task of whoever called, which is the quickest way for one that is over in a moment. Two kinds of call go on in the
//! line instead: those that compute for long, and, while several tenants call, those of a tenant who has many already. The line's threads are
//! less urgent to the system than all others, so that what waits there takes the processor from nobody; and tenants take turns in it, so that
//! one who has put in a hundred calls is as far from the next turn as one who has put in one.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use annex_core::TenantId;
use async_task::Runnable;
use parking_lot::{Condvar, Mutex};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Handle;

/// How much less urgent than the process the line's threads are: a tenth of the weight. Not the least there is, because a call that
/// honestly computes for long is not to starve beside many quick ones.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// The line, and the threads that work on it. They end when it is dropped.
pub(crate) struct Lanes {
    line: Arc<Line>,
    quick: Duration,
}

#[derive(Default)]
struct Line {
    waiting: Mutex<Waiting>,
    more: Condvar,
}

#[derive(Default)]
struct Waiting {
    tenants: HashMap<TenantId, VecDeque<Runnable>>,
    /// Each tenant who has something in the line, once.
    turns: VecDeque<TenantId>,
    ended: bool,
}

impl Lanes {
    /// Starts so many threads. A call that has computed for less than `quick` is a quick one.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(threads: usize, quick: Duration) -> io::Result<Self> {
        let lanes = Self { line: Arc::default(), quick };
        for _ in 0..threads.max(1) {
            let line = Arc::clone(&lanes.line);
            thread::Builder::new().name("annex-line".to_owned()).spawn(move || {
                give_way();
                while let Some(next) = line.next() {
                    next.run();
                }
            })?;
        }
        Ok(lanes)
    }

    /// Runs a call of this tenant's: `crowded` says that it goes into the line at once. It is polled within the caller's runtime wherever
    /// it is.
    ///
    /// When what is returned is dropped, so is the call: at once where it is on the caller's task, and else when the line next comes to it.
    /// None: it was in the line still at `latest`, and is dropped.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        tenant: &TenantId,
        crowded: bool,
        latest: tokio::time::Instant,
        call: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let mut call = Box::pin(call);
        if !crowded {
            let mut computed = Duration::ZERO;
            // What a guest waits for is not counted, and the engine's ticks end what it computes.
            let here = poll_fn(|context| {
                let begun = processor_time();
                let polled = call.as_mut().poll(context);
                computed += processor_time().saturating_sub(begun);
                match polled {
                    Poll::Ready(ended) => Poll::Ready(Some(ended)),
                    Poll::Pending if computed >= self.quick => Poll::Ready(None),
                    Poll::Pending => Poll::Pending,
                }
            });
            if let Some(ended) = here.await {
                return Some(ended);
            }
        }
        let (line, tenant) = (Arc::clone(&self.line), tenant.clone());
        let call = Within { runtime: Handle::current(), call: Some(call) };
        let schedule = move |runnable| line.put(&tenant, runnable);
        // A panic is the caller's, as it would have been on the caller's task; it ends no thread.
        let (runnable, task) = async_task::Builder::new().propagate_panic(true).spawn(|()| call, schedule);
        runnable.schedule();
        tokio::time::timeout_at(latest, task).await.ok()
    }
}

impl Drop for Lanes {
    /// Not waited for: the last one to let go of an engine may be a call in the line.
    fn drop(&mut self) {
        let waiting = {
            let mut waiting = self.line.waiting.lock();
            waiting.ended = true;
            std::mem::take(&mut waiting.tenants)
        };
        self.line.more.notify_all();
        // Without the lock: what is dropped may put others into the line.
        drop(waiting);
    }
}

impl Line {
    fn put(&self, tenant: &TenantId, runnable: Runnable) {
        let refused = {
            let mut waiting = self.waiting.lock();
            if waiting.ended {
                Some(runnable)
            } else {
                waiting.put(tenant, runnable);
                None
            }
        };
        match refused {
            // There is nobody to run it. It ends by being dropped, and not under the lock.
            Some(runnable) => drop(runnable),
            None => {
                self.more.notify_one();
            }
        }
    }

    /// What runs next; none when the line has ended.
    fn next(&self) -> Option<Runnable> {
        let mut waiting = self.waiting.lock();
        loop {
            if waiting.ended {
                return None;
            }
            if let Some(next) = waiting.take() {
                return Some(next);
            }
            self.more.wait(&mut waiting);
        }
    }
}

impl Waiting {
    fn put(&mut self, tenant: &TenantId, runnable: Runnable) {
        match self.tenants.entry(tenant.clone()) {
            Entry::Occupied(mut own) => own.get_mut().push_back(runnable),
            Entry::Vacant(none) => {
                none.insert(VecDeque::from([runnable]));
                self.turns.push_back(tenant.clone());
            }
        }
    }

    fn take(&mut self) -> Option<Runnable> {
        let tenant = self.turns.pop_front()?;
        let own = self.tenants.get_mut(&tenant)?;
        let next = own.pop_front();
        if own.is_empty() {
            self.tenants.remove(&tenant);
        } else {
            self.turns.push_back(tenant);
        }
        next
    }
}

/// A call that is polled and dropped on another thread than its runtime's, and finds its timers and connections all the same.
struct Within<F> {
    runtime: Handle,
    /// Until it is dropped.
    call: Option<Pin<Box<F>>>,
}

impl<F: Future> Future for Within<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let _within = this.runtime.enter();
        match &mut this.call {
            Some(call) => call.as_mut().poll(context),
            None => Poll::Pending,
        }
    }
}

impl<F> Drop for Within<F> {
    fn drop(&mut self) {
        let _within = self.runtime.enter();
        let call = self.call.take();
        // Whoever hung up hears nothing of a panic, and it must not end the process, which it would from where the line drops calls.
        if catch_unwind(AssertUnwindSafe(move || drop(call))).is_err() {
            tracing::error!("a call that was hung up on panicked while it was dropped");
        }
    }
}

/// What this thread has had of the processor: what others had meanwhile is not the guest's.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // Neither is ever negative.
    Duration::new(time.tv_sec.try_into().unwrap_or_default(), time.tv_nsec.try_into().unwrap_or_default())
}

/// Makes this thread less urgent. Where the system does not do that, turns are still taken.
fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::warn!(%error, "long calls run as urgently as all else");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_millis(2);

    /// Than any test takes.
    fn later() -> tokio::time::Instant {
        tokio::time::Instant::now() + Duration::from_secs(600)
    }

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    /// Gives up the processor so many times, and says each time that it had it.
    fn steps(
        name: &'static str,
        count: usize,
        said: &Arc<Mutex<Vec<&'static str>>>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let said = Arc::clone(said);
        async move {
            for _ in 0..count {
                said.lock().push(name);
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn tenants_take_turns_however_many_calls_each_has() {
        // No thread works on it: what is in the line is taken out here.
        let line = Arc::<Line>::default();
        let said = Arc::default();
        let (many, one) = (tenant("many"), tenant("one"));
        let mut tasks = Vec::new();
        for (tenant, name) in [(&many, "many"), (&many, "many"), (&many, "many"), (&one, "one")] {
            let (line, tenant) = (Arc::clone(&line), tenant.clone());
            let (runnable, task) =
                async_task::spawn(steps(name, 1, &said), move |next| line.put(&tenant, next));
            runnable.schedule();
            tasks.push(task);
        }
        for _ in 0..4 {
            line.next().unwrap().run();
        }
        assert_eq!(*said.lock(), ["many", "one", "many", "many"]);
    }

    #[tokio::test]
    async fn a_call_that_has_computed_for_long_goes_on_in_the_line() {
        let lanes = Lanes::start(1, QUICK).unwrap();
        let here = thread::current().id();
        let (before, after) = lanes
            .run(&tenant("a"), false, later(), async move {
                let before = thread::current().id();
                let begun = processor_time();
                while processor_time() - begun < QUICK {}
                tokio::task::yield_now().await;
                // A timer, which wants a runtime.
                tokio::time::sleep(Duration::from_millis(1)).await;
                (before, thread::current().id())
            })
            .await
            .unwrap();
        assert_eq!(before, here);
        assert_ne!(after, here);
    }

    #[tokio::test]
    async fn a_call_that_only_waits_stays_where_it_is_unless_it_is_crowded() {
        let lanes = Lanes::start(1, Duration::from_secs(60)).unwrap();
        let here = thread::current().id();
        for (crowded, stays) in [(false, true), (true, false)] {
            let call = async {
                for _ in 0..3 {
                    tokio::time::sleep(QUICK).await;
                }
                thread::current().id()
            };
            assert_eq!(lanes.run(&tenant("a"), crowded, later(), call).await.unwrap() == here, stays);
        }
    }

    /// Hangs up on a call in the line that has begun, and holds `left`.
    async fn hang_up(lanes: &Lanes, left: impl Send + 'static) {
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let tenant = tenant("a");
        let call = lanes.run(&tenant, true, later(), async move {
            let _left = left;
            begun.send(()).unwrap();
            std::future::pending::<()>().await;
        });
        tokio::select! {
            _ = call => unreachable!(),
            begun = has_begun => begun.unwrap(),
        }
    }

    #[tokio::test]
    async fn whoever_hangs_up_ends_a_call_in_the_line() {
        struct Gone(Option<tokio::sync::oneshot::Sender<()>>);
        impl Drop for Gone {
            fn drop(&mut self) {
                let _ = self.0.take().unwrap().send(());
            }
        }
        let lanes = Lanes::start(1, QUICK).unwrap();
        let (gone, is_gone) = tokio::sync::oneshot::channel();
        hang_up(&lanes, Gone(Some(gone))).await;
        is_gone.await.unwrap();
    }

    #[tokio::test]
    async fn whoever_waits_in_a_line_that_does_not_move_hears_of_it_in_time() {
        // Nobody works on it.
        let lanes = Lanes { line: Arc::default(), quick: QUICK };
        let latest = tokio::time::Instant::now() + QUICK;
        assert_eq!(lanes.run(&tenant("a"), true, latest, async { 1 }).await, None);
    }

    /// As a client's connection does, which goes back to its pool: it has a runtime look after it.
    struct Spawns(Option<tokio::sync::oneshot::Sender<()>>);
    impl Drop for Spawns {
        fn drop(&mut self) {
            let dropped = self.0.take().unwrap();
            tokio::spawn(async move { dropped.send(()) });
        }
    }

    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("as asked");
        }
    }

    #[tokio::test]
    async fn what_a_call_leaves_behind_is_dropped_within_its_runtime_and_its_panic_ends_nothing() {
        let lanes = Lanes::start(1, QUICK).unwrap();
        let (dropped, is_dropped) = tokio::sync::oneshot::channel();
        hang_up(&lanes, (Spawns(Some(dropped)), Panics)).await;
        is_dropped.await.unwrap();
        assert_eq!(lanes.run(&tenant("a"), true, later(), async { 1 }).await, Some(1));
    }

    #[tokio::test]
    async fn a_panic_is_the_callers_and_the_line_goes_on() {
        let lanes = Arc::new(Lanes::start(1, QUICK).unwrap());
        let panics = tokio::spawn({
            let lanes = Arc::clone(&lanes);
            async move { lanes.run(&tenant("a"), true, later(), async { panic!("as asked") }).await }
        });
        assert!(panics.await.unwrap_err().is_panic());
        assert_eq!(lanes.run(&tenant("a"), true, later(), async { 1 }).await, Some(1));
    }
}

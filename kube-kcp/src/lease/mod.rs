//! One replica leads: a claim on a Lease, and a fence that lets nothing be written without it.

mod claim;
mod fence;
mod leadership;
mod metrics;
mod options;
#[cfg(test)]
mod process;
mod record;
#[cfg(test)]
mod server;
#[cfg(test)]
mod simulation;
mod store;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use futures::future::BoxFuture;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Duration, Instant},
};

pub use claim::Claim;
pub use fence::{Fence, Fenced, NotLeader};
pub use leadership::Leadership;
pub use metrics::LeaseMetrics;
pub use options::{LeaseError, LeaseOptions};

use leadership::Keeper;
use record::{Memory, Record, Verdict};
use store::{Failure, Store};

/// What the time of day is read from. It is written for people and decides nothing.
type Wall = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A candidate for leading: of all processes that stand for one Lease of `coordination.k8s.io/v1`, one leads.
///
/// ```no_run
/// # use kube_kcp::{Connection, Fence, Lease, LeaseError, LeaseMetrics, LeaseOptions};
/// # async fn work(_: &Connection, stop: impl Future<Output = ()>) { stop.await }
/// # async fn lead(
/// #     connection: Connection,
/// #     metrics: LeaseMetrics,
/// #     stopped: impl Future<Output = ()>,
/// # ) -> Result<(), LeaseError> {
/// # let mut stopped = std::pin::pin!(stopped);
/// let fence = Fence::default();
/// // What reconciles write with. It is closed until this process leads.
/// let writes = connection.fenced(&fence);
/// // Not through the fence: to lead is to write the Lease first.
/// let mut lease =
///     Lease::new(connection.home(), "default", "greetings", LeaseOptions::new("pod-name"), metrics)?;
/// loop {
///     let leadership = tokio::select! {
///         leadership = lease.acquire() => leadership,
///         () = &mut stopped => return Ok(()),
///     };
///     fence.open(leadership.claim());
///     let mut stopping = false;
///     let stop = async {
///         tokio::select! {
///             () = &mut stopped => stopping = true,
///             () = leadership.lost() => {}
///         }
///     };
///     // Like `run_workers`, it returns once nothing is at work any more.
///     work(&writes, stop).await;
///     lease = leadership.release().await;
///     if stopping {
///         return Ok(());
///     }
/// }
/// # }
/// ```
///
/// # What holds
/// Of the candidates for one Lease, at most one holds a [`Claim`] at any time, as long as no monotonic clock among them runs `duration` /
/// `renew_deadline` times as fast as another, 1.5 times with the defaults:
///
/// - The holder counts `renew_deadline` from *before* it sent the renewal that was answered. Another takes over only a Lease that it has
///   itself seen unchanged, by its resourceVersion, for `duration`, counted from *after* the answer in which it first saw it.
/// - Every write names the resourceVersion that it replaces. A renewal or a try that was long on the way, or whose answer was lost,
///   changes nothing once anybody else has written.
/// - The time of day decides nothing; the times in the Lease are for people. A clock may be put forward or back by years.
/// - Who has its own name in the Lease does not lead by that: only who has written it there, and was answered.
///
/// While a process is stopped its clock goes on; while the machine is suspended it does not. What is written in that moment of error, and
/// what was sent before and arrives late, is stopped by the resourceVersion that a write carries: see [`Fence`].
///
/// # What others do to the Lease
/// The Lease is made if it is not there. It may be deleted and edited by hand: the holder loses its claim at the next renewal, or keeps
/// it if no more was changed than labels, annotations, the duration or the time of renewal. A Lease that is new, empty or has another
/// holder's name is waited for like any other, so **the very first start takes `duration`**, and so does one after a crash. Only a
/// holder that [releases](Leadership::release) it lets the next one in at once. One that is in the hands of nobody, whatever it says,
/// is taken after [`LeaseOptions::LONGEST`] at the most. A server that says that there is no Lease is believed no sooner than the claim
/// ends by itself: one that has just started says so of what it does not serve yet.
///
/// The identity needs `get` and `update` on the Lease, and `create` on leases in its namespace.
pub struct Lease {
    candidate: Arc<Candidate>,
    memory: Memory,
    random: StdRng,
    claims: u64,
}

struct Candidate {
    store: Store,
    identity: String,
    options: LeaseOptions,
    metrics: LeaseMetrics,
    wall: Wall,
    holder: watch::Sender<Option<String>>,
    /// Namespace and name, for the log.
    lease: String,
}

impl Candidate {
    fn saw(&self, record: &Record) {
        self.holder.send_replace(record.holder().map(str::to_owned));
    }
}

impl Lease {
    /// A candidate for the Lease `name` in `namespace`, through `client`. Nothing is sent yet.
    ///
    /// # Errors
    /// The options contradict each other.
    pub fn new(
        client: Client,
        namespace: &str,
        name: &str,
        options: LeaseOptions,
        metrics: LeaseMetrics,
    ) -> Result<Self, LeaseError> {
        Self::with(client, namespace, name, options, metrics, Arc::new(Timestamp::now), StdRng::from_os_rng())
    }

    fn with(
        client: Client,
        namespace: &str,
        name: &str,
        options: LeaseOptions,
        metrics: LeaseMetrics,
        wall: Wall,
        mut random: StdRng,
    ) -> Result<Self, LeaseError> {
        options.check()?;
        // Two processes that were given one name must not take each other's claim for their own.
        let identity = format!("{}_{:016x}", options.identity, random.random::<u64>());
        // Half of what is left after a renewal: one answer that does not come leaves room for another try.
        let store = Store::new(client, namespace, name, options.renew_deadline / 2);
        let (holder, lease) = (watch::Sender::new(None), format!("{namespace}/{name}"));
        Ok(Self {
            candidate: Arc::new(Candidate { store, identity, options, metrics, wall, holder, lease }),
            memory: Memory::default(),
            random,
            claims: 0,
        })
    }

    /// Who this process is in the Lease: the given identity, and a suffix that no other process has.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.candidate.identity
    }

    /// Follows who holds the Lease, as of the last answer, for people: it is what the Lease says, be it true or not. `None` when
    /// nobody does, and before the first answer.
    #[must_use]
    pub fn holder(&self) -> watch::Receiver<Option<String>> {
        self.candidate.holder.subscribe()
    }

    /// Waits until this process leads. What fails on the way is logged and tried again.
    ///
    /// Dropping the future withdraws the candidate. If that is in the very moment of taking the Lease, it stays taken for its duration.
    pub async fn acquire(self) -> Leadership {
        self.acquire_on(|keeper| tokio::spawn(keeper)).await
    }

    async fn acquire_on(
        mut self,
        spawn: impl FnOnce(BoxFuture<'static, ()>) -> JoinHandle<()>,
    ) -> Leadership {
        let candidate = self.candidate.clone();
        let mut failing = false;
        loop {
            let pause = match self.attempt().await {
                Ok(Attempt::Taken(keeper)) => {
                    tracing::info!(lease = candidate.lease, identity = candidate.identity, "leads");
                    return Leadership::begin(self, keeper, spawn);
                }
                Ok(Attempt::Wait(until)) => {
                    failing = false;
                    self.pause().min(until.saturating_duration_since(Instant::now()))
                }
                Err(failure) => {
                    // Two candidates that try at once are no trouble; and of one trouble, one line is enough.
                    if !std::mem::replace(&mut failing, true) && !failure.is_conflict() {
                        tracing::warn!(
                            lease = candidate.lease,
                            error = %failure,
                            "the lease cannot be taken; tried again until it can"
                        );
                    }
                    self.pause()
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// One look, and one try if the time has come.
    async fn attempt(&mut self) -> Result<Attempt, Failure> {
        let Candidate { store, identity, options, wall, .. } = &*self.candidate;
        let record = store.read_or_create().await?;
        self.candidate.saw(&record);
        let term = match self.memory.judge(&record, Instant::now(), wall(), identity, options) {
            Verdict::Wait(until) => return Ok(Attempt::Wait(until)),
            Verdict::Take(term) => term,
        };
        let sent = Instant::now();
        let record = store.replace(&term.renew(&record, wall(), options.duration)).await?;
        self.candidate.saw(&record);
        self.claims += 1;
        let claim = Claim::new(sent, options.renew_deadline, self.claims);
        let random = StdRng::seed_from_u64(self.random.random());
        let keeper = Keeper::new(self.candidate.clone(), record, term, claim, random);
        Ok(Attempt::Taken(Box::new(keeper)))
    }

    fn pause(&mut self) -> Duration {
        jittered(self.candidate.options.retry, &mut self.random)
    }
}

enum Attempt {
    Taken(Box<Keeper>),
    Wait(Instant),
}

/// Between four fifths and six fifths, so that candidates do not stay in step.
fn jittered(retry: Duration, random: &mut StdRng) -> Duration {
    retry.mul_f64(random.random_range(0.8..=1.2))
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Candidate { lease, identity, .. } = &*self.candidate;
        f.debug_struct("Lease").field("lease", lease).field("identity", identity).finish_non_exhaustive()
    }
}

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use rand::rngs::StdRng;
use tokio::{sync::oneshot, task::JoinHandle, time::Instant};

use super::{
    Candidate, Claim, Lease, jittered,
    record::{Record, Term},
    store::Failure,
};

/// This process leads, until the claim is lost. A task renews the claim for as long as this value lives.
///
/// Dropped, it ends the claim at once, but the others wait until the Lease's duration is over: work that panics leaves it that way.
#[derive(Debug)]
pub struct Leadership {
    held: Held,
    end: oneshot::Sender<End>,
    keeper: JoinHandle<()>,
    lease: Lease,
}

#[derive(Debug)]
struct Held(Claim);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Leadership {
    pub(super) fn begin(
        lease: Lease,
        keeper: Box<Keeper>,
        spawn: impl FnOnce(BoxFuture<'static, ()>) -> JoinHandle<()>,
    ) -> Self {
        let (end, ended) = oneshot::channel();
        lease.candidate.metrics.held(&keeper.claim);
        let held = Held(keeper.claim.clone());
        Self { held, end, keeper: spawn(keeper.keep(ended).boxed()), lease }
    }

    /// The claim, for a [`Fence`](crate::Fence) and for whoever has to ask before it does something.
    #[must_use]
    pub fn claim(&self) -> Claim {
        self.held.0.clone()
    }

    /// Returns once the claim is lost.
    pub async fn lost(&self) {
        self.held.0.lost().await;
    }

    /// Ends the claim and lets the next one take the Lease at once. Call it when nothing is at work any more and nothing that was sent is
    /// unanswered: another leads from then on. A claim that is already lost has nothing to release.
    ///
    /// When the server does not answer, this returns when the claim would have ended by itself. Returns the candidate, to stand again.
    pub async fn release(self) -> Lease {
        let Self { held, end, keeper, lease } = self;
        let how = if held.0.is_held() { End::Released } else { End::Expired };
        // Before the claim ends: a keeper that sees just that would take it for lost, and leave the Lease to the others' patience. An error
        // means that the keeper has ended, because the claim was lost.
        let _ = end.send(how);
        drop(held);
        // The only error is a panic of the keeper, after which there is nobody to release it.
        let _ = keeper.await;
        lease
    }
}

/// Renews a claim.
pub(super) struct Keeper {
    candidate: Arc<Candidate>,
    /// As of the last write or look.
    record: Record,
    term: Term,
    claim: Claim,
    random: StdRng,
}

/// Why a claim is over.
#[derive(Debug)]
enum End {
    /// Its time is over without a renewal.
    Expired,
    /// Somebody else has taken the Lease, emptied it or made it anew.
    Taken,
    Dropped,
    Released,
}

impl Keeper {
    pub(super) fn new(
        candidate: Arc<Candidate>,
        record: Record,
        term: Term,
        claim: Claim,
        random: StdRng,
    ) -> Self {
        Self { candidate, record, term, claim, random }
    }

    async fn keep(mut self: Box<Self>, ended: oneshot::Receiver<End>) {
        let claim = self.claim.clone();
        let end = tokio::select! {
            // After a long stop all of them are due: the caller's word and the clock come before a renewal.
            biased;
            end = ended => end.unwrap_or(End::Dropped),
            () = claim.lost() => End::Expired,
            () = self.renew_until_taken() => End::Taken,
        };
        claim.end();
        let Candidate { metrics, lease, identity, .. } = &*self.candidate;
        let why = match end {
            End::Expired => "no renewal succeeded in time",
            End::Taken => "the Lease is no longer this process's",
            End::Dropped => "its leadership was dropped",
            End::Released => {
                metrics.ended("released");
                tracing::info!(lease, identity, "leads no longer: released");
                // The others do not wait for much longer than that anyway.
                let _ = tokio::time::timeout(self.candidate.options.renew_deadline, self.release()).await;
                return;
            }
        };
        metrics.ended("lost");
        tracing::warn!(lease, identity, "leads no longer: {why}");
    }

    async fn renew_until_taken(&mut self) {
        loop {
            tokio::time::sleep(jittered(self.candidate.options.retry, &mut self.random)).await;
            match self.renew().await {
                Ok(true) => {}
                Ok(false) => return,
                Err(failure) => {
                    self.candidate.metrics.renew_failed(failure.reason());
                    tracing::warn!(
                        lease = self.candidate.lease,
                        error = %failure,
                        "the lease cannot be renewed; tried again until the claim ends"
                    );
                }
            }
        }
    }

    /// Renews it once. Whether it is still this process's.
    async fn renew(&mut self) -> Result<bool, Failure> {
        match self.write_renewal().await {
            Err(failure) if failure.is_conflict() => {
                self.candidate.metrics.renew_failed(failure.reason());
                // An edit of something else, or this process's own write whose answer was lost.
                if !self.look().await? {
                    return Ok(false);
                }
                self.write_renewal().await.map(|()| true)
            }
            written => written.map(|()| true),
        }
    }

    async fn write_renewal(&mut self) -> Result<(), Failure> {
        let Candidate { store, options, wall, .. } = &*self.candidate;
        let wanted = self.term.renew(&self.record, wall(), options.duration);
        let sent = Instant::now();
        self.record = store.replace(&wanted).await?;
        self.claim.renew(sent);
        Ok(())
    }

    /// Reads the Lease. Whether it is still this process's.
    async fn look(&mut self) -> Result<bool, Failure> {
        self.record = self.candidate.store.read().await?;
        self.candidate.saw(&self.record);
        Ok(self.term.owns(&self.record))
    }

    async fn release(&mut self) {
        loop {
            match self.try_release().await {
                Ok(()) => return,
                Err(failure) => tracing::warn!(
                    lease = self.candidate.lease,
                    error = %failure,
                    "the lease cannot be released; tried again"
                ),
            }
            tokio::time::sleep(jittered(self.candidate.options.retry, &mut self.random)).await;
        }
    }

    /// Releases it, unless it is no longer this process's.
    async fn try_release(&mut self) -> Result<(), Failure> {
        match self.write_released().await {
            Err(failure) if failure.is_conflict() => {
                if self.look().await? {
                    self.write_released().await
                } else {
                    Ok(())
                }
            }
            Err(failure) if failure.is_absent() => Ok(()),
            written => written,
        }
    }

    async fn write_released(&mut self) -> Result<(), Failure> {
        let Candidate { store, wall, .. } = &*self.candidate;
        self.record = store.replace(&self.term.release(&self.record, wall())).await?;
        self.candidate.saw(&self.record);
        Ok(())
    }
}

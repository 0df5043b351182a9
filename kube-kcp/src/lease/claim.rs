use std::sync::Arc;

use tokio::{
    sync::watch,
    time::{Duration, Instant},
};

/// The right to write, for as long as it lasts. Cheap to clone and to ask; asking sends nothing.
///
/// A claim that is lost is lost for ever: who leads again has another one.
///
/// # Which clock
/// The monotonic one. On Linux it goes on while the process is stopped (SIGSTOP, a debugger, a cgroup's freezer): one that goes on after a
/// minute finds its claim lost at its first look. It does **not** go on while the machine is suspended or a virtual machine is paused:
/// such a process believes in its claim for as long as was left of it, though another may lead by then. What it writes in those
/// moments is stopped by nothing but the resourceVersion that it carries.
#[derive(Clone, Debug)]
pub struct Claim {
    /// When the last renewal that succeeded was sent; nothing once the claim is lost.
    renewed: Arc<watch::Sender<Option<Instant>>>,
    lasts: Duration,
    generation: u64,
}

impl Claim {
    /// A claim that was made by a request sent at `sent`, and lasts so long after each renewal.
    pub(super) fn new(sent: Instant, lasts: Duration, generation: u64) -> Self {
        Self { renewed: Arc::new(watch::Sender::new(Some(sent))), lasts, generation }
    }

    /// Whether it is held now.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.since_renewal().is_some()
    }

    /// Returns once it is lost.
    pub async fn lost(&self) {
        let mut changes = self.renewed.subscribe();
        loop {
            let Some(renewed) = *changes.borrow_and_update() else { return };
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(renewed + self.lasts) => {
                    if !self.is_held() {
                        return;
                    }
                }
                // An error means that the sender is gone, and it lives in self.
                _ = changes.changed() => {}
            }
        }
    }

    /// How many claims this [`Lease`](crate::Lease) had won when it won this one, itself included. To tell one's own claims apart; it
    /// says nothing about those of other processes.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How long ago the last successful renewal was sent, while the claim is held.
    pub(super) fn since_renewal(&self) -> Option<Duration> {
        let renewed = (*self.renewed.borrow())?;
        Some(renewed.elapsed()).filter(|elapsed| *elapsed < self.lasts)
    }

    /// A request that was sent at `sent` has renewed it. That comes too late for one that is no longer held.
    pub(super) fn renew(&self, sent: Instant) {
        self.renewed.send_modify(|renewed| {
            *renewed = renewed.filter(|former| former.elapsed() < self.lasts).map(|former| former.max(sent));
        });
    }

    /// It is lost now.
    pub(super) fn end(&self) {
        self.renewed.send_replace(None);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const LASTS: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_claim_counts_from_the_sending_and_ends_by_itself() {
        let sent = Instant::now();
        // The answer took three seconds.
        tokio::time::advance(Duration::from_secs(3)).await;
        let claim = Claim::new(sent, LASTS, 1);
        assert!(claim.is_held());
        claim.lost().await;
        assert_eq!(sent.elapsed().as_secs(), 10);
        assert!(!claim.is_held());
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_moves_the_end_and_wakes_nobody_in_vain() {
        let start = Instant::now();
        let claim = Claim::new(start, LASTS, 1);
        let waiting = tokio::spawn({
            let claim = claim.clone();
            async move { claim.lost().await }
        });
        tokio::time::advance(Duration::from_secs(9)).await;
        claim.renew(start + Duration::from_secs(8));
        // An answer that comes out of turn takes nothing away.
        claim.renew(start + Duration::from_secs(2));
        assert_eq!(claim.since_renewal(), Some(Duration::from_secs(1)));
        waiting.await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 18);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_lost_is_lost_for_ever() {
        let claim = Claim::new(Instant::now(), LASTS, 1);
        tokio::time::advance(LASTS).await;
        claim.renew(Instant::now());
        assert!(!claim.is_held());
        assert!(claim.lost().now_or_never().is_some());

        let claim = Claim::new(Instant::now(), LASTS, 2);
        let other = claim.clone();
        claim.end();
        claim.renew(Instant::now());
        assert!(!other.is_held());
        assert!(other.lost().now_or_never().is_some());
    }
}

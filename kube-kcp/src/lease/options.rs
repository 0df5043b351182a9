use std::time::Duration;

/// How a [`Lease`](crate::Lease) is held. All candidates for one Lease should have the same.
#[derive(Clone, Debug)]
pub struct LeaseOptions {
    /// Who this process is, for people: the name of its pod. It need not be unique.
    pub identity: String,
    /// How long another has to have seen the Lease unchanged before it takes over.
    pub duration: Duration,
    /// How long a claim lasts after the sending of its last renewal. Shorter than `duration`: the difference is what a write that was sent
    /// at the last moment has to arrive.
    pub renew_deadline: Duration,
    /// How often the holder renews and the others look, give or take a fifth.
    pub retry: Duration,
}

/// Options that contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// Nobody would see a renewal in time, or all would ask without a pause.
    #[error("a lease's retry must be more than nothing, and at most a quarter of its renew deadline")]
    Retry,
    /// Two would lead at once.
    #[error("a lease's renew deadline must be shorter than its duration")]
    RenewDeadline,
    /// Others would not wait for so long.
    #[error("a lease's duration must be at most {} s", LeaseOptions::LONGEST.as_secs())]
    Duration,
}

impl LeaseOptions {
    /// The longest `duration`, and the longest that anybody waits for a Lease that says it takes longer.
    pub const LONGEST: Duration = Duration::from_secs(300);

    /// 15 s, 10 s and 2 s.
    #[must_use]
    pub fn new(identity: impl Into<String>) -> Self {
        Self {
            identity: identity.into(),
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }

    pub(super) fn check(&self) -> Result<(), LeaseError> {
        if self.retry.is_zero() || self.retry > self.renew_deadline / 4 {
            return Err(LeaseError::Retry);
        }
        if self.renew_deadline >= self.duration {
            return Err(LeaseError::RenewDeadline);
        }
        if self.duration > Self::LONGEST {
            return Err(LeaseError::Duration);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        let check = |duration, renew_deadline, retry| {
            let [duration, renew_deadline, retry] =
                [duration, renew_deadline, retry].map(Duration::from_millis);
            LeaseOptions { duration, renew_deadline, retry, ..LeaseOptions::new("me") }.check()
        };
        assert_eq!(LeaseOptions::new("me").check(), Ok(()));
        assert_eq!(check(1500, 1000, 250), Ok(()));
        assert_eq!(check(1500, 1000, 251), Err(LeaseError::Retry));
        assert_eq!(check(1500, 1000, 0), Err(LeaseError::Retry));
        assert_eq!(check(1000, 1000, 200), Err(LeaseError::RenewDeadline));
        assert_eq!(check(300_000, 1000, 200), Ok(()));
        assert_eq!(check(300_001, 1000, 200), Err(LeaseError::Duration));
    }
}

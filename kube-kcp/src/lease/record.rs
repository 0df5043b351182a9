use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::{SignedDuration, Timestamp},
};
use tokio::time::Instant;

use super::LeaseOptions;

/// A Lease as the server has it, with the version that a write over it has to name. Without one a write would be unconditional, so
/// a Lease without one is none.
#[derive(Clone, Debug)]
pub(super) struct Record {
    lease: Lease,
    version: String,
}

impl Record {
    pub(super) fn of(lease: Lease) -> Option<Self> {
        let version = lease.metadata.resource_version.clone().filter(|version| !version.is_empty())?;
        Some(Self { lease, version })
    }

    fn spec(&self) -> Option<&LeaseSpec> {
        self.lease.spec.as_ref()
    }

    /// Who holds it, as it says. The empty name is nobody's.
    pub(super) fn holder(&self) -> Option<&str> {
        self.spec()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
    }

    /// Whether its holder has let go of it. Only [`Term::release`] writes this form. A Lease that is merely empty is not free: somebody
    /// may have emptied it, or deleted it and made it anew, under a holder that does not know it yet.
    fn is_released(&self) -> bool {
        self.spec().is_some_and(|spec| spec.acquire_time.is_none() && spec.renew_time.is_some())
            && self.holder().is_none()
    }

    /// How long it has to stay as it is before it may be taken. A holder that says it takes longer gets longer; what is longer than
    /// any holder may ask for is not believed, or one edit by hand would leave nobody in charge for years.
    fn term_of_grace(&self, options: &LeaseOptions) -> Duration {
        let said = self.spec().and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
        let said = Duration::from_secs(said.try_into().unwrap_or_default());
        said.min(LeaseOptions::LONGEST).max(options.duration)
    }
}

/// One taking of the lease: what tells that a record is still the one that this candidate wrote, whatever else was edited in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Term {
    identity: String,
    acquired: MicroTime,
    transitions: i32,
}

impl Term {
    fn after(record: &Record, identity: &str, wall: Timestamp) -> Self {
        let former = record.spec().and_then(|spec| spec.lease_transitions).unwrap_or_default();
        // A server takes no negative count, and the count decides nothing: it may begin anew.
        let transitions = former.max(0).checked_add(1).unwrap_or_default();
        Self { identity: identity.to_owned(), acquired: MicroTime(whole_micros(wall)), transitions }
    }

    /// Whether nobody has taken the lease since.
    pub(super) fn owns(&self, record: &Record) -> bool {
        record.spec().is_some_and(|spec| {
            spec.holder_identity.as_ref() == Some(&self.identity)
                && spec.acquire_time.as_ref() == Some(&self.acquired)
                && spec.lease_transitions == Some(self.transitions)
        })
    }

    /// What to write over `record` to hold the lease, for the first time or once more.
    pub(super) fn renew(&self, record: &Record, wall: Timestamp, duration: Duration) -> Lease {
        let mut lease = record.lease.clone();
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(self.identity.clone());
        spec.acquire_time = Some(self.acquired.clone());
        spec.lease_transitions = Some(self.transitions);
        spec.lease_duration_seconds = Some(whole_seconds(duration));
        spec.renew_time = Some(differing(wall, spec.renew_time.as_ref()));
        lease
    }

    /// What to write over `record` to let go of the lease.
    pub(super) fn release(&self, record: &Record, wall: Timestamp) -> Lease {
        let mut lease = record.lease.clone();
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(String::new());
        spec.acquire_time = None;
        spec.renew_time = Some(differing(wall, spec.renew_time.as_ref()));
        lease
    }
}

/// Another time than `former`: a write that changes nothing gives no new version, and the others take over what keeps its version. A
/// wall clock that stands still or was put back must not make a renewal such a write.
fn differing(wall: Timestamp, former: Option<&MicroTime>) -> MicroTime {
    let wall = MicroTime(whole_micros(wall));
    if former != Some(&wall) {
        return wall;
    }
    let step = SignedDuration::from_micros(1);
    MicroTime(wall.0.checked_add(step).or_else(|_| wall.0.checked_sub(step)).unwrap_or_default())
}

/// The server keeps no more than that, and what comes back is compared with what was sent.
fn whole_micros(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or_default()
}

/// Rounded up: others may wait too long, never too short.
fn whole_seconds(duration: Duration) -> i32 {
    let seconds = duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0));
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

/// What a candidate remembers from one look at the Lease to the next.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The version that was seen last, and when it was seen first: by this process's clock, after the answer had come.
    seen: Option<(String, Instant)>,
    attempt: Option<Attempt>,
}

/// A write that was to take the lease. It may have been applied although its answer was an error or none.
#[derive(Debug)]
struct Attempt {
    term: Term,
    /// The version that it replaces, if any.
    over: String,
}

/// What a candidate may do now.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Take it, with this term.
    Take(Term),
    /// Not before then, and only if it does not change until then.
    Wait(Instant),
}

impl Memory {
    /// Looks at the Lease as it was a moment before `now`.
    pub(super) fn judge(
        &mut self,
        record: &Record,
        now: Instant,
        wall: Timestamp,
        identity: &str,
        options: &LeaseOptions,
    ) -> Verdict {
        let since = match &self.seen {
            Some((version, since)) if *version == record.version => *since,
            _ => {
                self.seen = Some((record.version.clone(), now));
                now
            }
        };
        // Its own name in a record says nothing by itself: anybody can have written it there.
        if let Some(Attempt { term, over }) = &self.attempt
            && (term.owns(record) || *over == record.version)
        {
            return Verdict::Take(term.clone());
        }
        self.attempt = None;
        let free = since + record.term_of_grace(options);
        if !record.is_released() && now < free {
            return Verdict::Wait(free);
        }
        let term = Term::after(record, identity, wall);
        self.attempt = Some(Attempt { term: term.clone(), over: record.version.clone() });
        Verdict::Take(term)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use proptest::prelude::*;

    use super::*;

    const ME: &str = "me_1";

    fn record(version: &str, spec: Option<LeaseSpec>) -> Record {
        let metadata = ObjectMeta { resource_version: Some(version.to_owned()), ..ObjectMeta::default() };
        Record::of(Lease { metadata, spec }).unwrap()
    }

    fn held(holder: &str) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            acquire_time: Some(MicroTime(Timestamp::UNIX_EPOCH)),
            renew_time: Some(MicroTime(Timestamp::UNIX_EPOCH)),
            lease_duration_seconds: Some(15),
            lease_transitions: Some(3),
            ..LeaseSpec::default()
        }
    }

    fn stored(lease: Lease, version: &str) -> Record {
        record(version, lease.spec)
    }

    /// What a candidate with `memory` does about `record` at `now`: take it, or wait so long.
    fn wait(memory: &mut Memory, record: &Record, now: Instant) -> Option<Duration> {
        match memory.judge(record, now, Timestamp::UNIX_EPOCH, ME, &LeaseOptions::new("me")) {
            Verdict::Take(_) => None,
            Verdict::Wait(until) => Some(until - now),
        }
    }

    fn take(memory: &mut Memory, record: &Record, now: Instant) -> Term {
        match memory.judge(record, now, Timestamp::UNIX_EPOCH, ME, &LeaseOptions::new("me")) {
            Verdict::Take(term) => term,
            Verdict::Wait(until) => panic!("waits {:?}", until - now),
        }
    }

    #[test]
    fn a_record_is_taken_once_it_was_seen_unchanged_for_the_duration() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(
            wait(&mut memory, &record("1", Some(held("other"))), at(0)),
            Some(Duration::from_secs(15))
        );
        assert_eq!(
            wait(&mut memory, &record("1", Some(held("other"))), at(14)),
            Some(Duration::from_secs(1))
        );
        // Renewed: what was waited for counts no more.
        assert_eq!(
            wait(&mut memory, &record("2", Some(held("other"))), at(14)),
            Some(Duration::from_secs(15))
        );
        assert_eq!(
            wait(&mut memory, &record("2", Some(held("other"))), at(28)),
            Some(Duration::from_secs(1))
        );
        assert_eq!(take(&mut memory, &record("2", Some(held("other"))), at(29)).transitions, 4);
    }

    #[test]
    fn nothing_but_a_release_frees_a_record_at_once() {
        let start = Instant::now();
        let grace = |spec: Option<LeaseSpec>| wait(&mut Memory::default(), &record("1", spec), start);
        let held = || held("other");
        assert!(grace(None).is_some());
        assert!(grace(Some(LeaseSpec::default())).is_some());
        assert!(grace(Some(LeaseSpec { holder_identity: None, ..held() })).is_some());
        assert!(grace(Some(LeaseSpec { holder_identity: Some(String::new()), ..held() })).is_some());
        assert!(grace(Some(LeaseSpec { acquire_time: None, ..held() })).is_some());
        // The process's own name, which it did not write.
        assert!(grace(Some(LeaseSpec { holder_identity: Some(ME.to_owned()), ..held() })).is_some());

        let other = record("1", Some(held()));
        let term =
            Term { identity: "other".into(), acquired: MicroTime(Timestamp::UNIX_EPOCH), transitions: 3 };
        assert!(term.owns(&other));
        let released = stored(term.release(&other, Timestamp::UNIX_EPOCH), "2");
        assert_eq!(released.holder(), None);
        assert!(!term.owns(&released));
        assert_eq!(wait(&mut Memory::default(), &released, start), None);
    }

    #[test]
    fn a_duration_of_another_is_respected_within_reason() {
        let grace = |seconds: Option<i32>| {
            let spec = LeaseSpec { lease_duration_seconds: seconds, ..held("other") };
            wait(&mut Memory::default(), &record("1", Some(spec)), Instant::now()).unwrap()
        };
        for unusable in [None, Some(i32::MIN), Some(-1), Some(0), Some(1), Some(15)] {
            assert_eq!(grace(unusable), Duration::from_secs(15), "{unusable:?}");
        }
        assert_eq!(grace(Some(40)), Duration::from_secs(40));
        assert_eq!(grace(Some(i32::MAX)), LeaseOptions::LONGEST);
    }

    #[test]
    fn a_try_whose_answer_was_lost_is_known_again_and_only_that() {
        let start = Instant::now();
        let seen = record("1", Some(held("other")));
        let after_trying = || {
            let mut memory = Memory::default();
            assert!(wait(&mut memory, &seen, start).is_some());
            let term = take(&mut memory, &seen, start + Duration::from_secs(15));
            (memory, term)
        };
        let later = start + Duration::from_secs(16);
        // Not applied: the same try again, so that whichever of the two arrives is known.
        let (mut memory, term) = after_trying();
        assert_eq!(take(&mut memory, &seen, later), term);
        // Applied, and edited since by somebody else.
        let (mut memory, term) = after_trying();
        let mut applied = term.renew(&seen, Timestamp::UNIX_EPOCH, Duration::from_secs(15));
        applied.spec.as_mut().unwrap().lease_duration_seconds = Some(7);
        assert_eq!(take(&mut memory, &stored(applied.clone(), "3"), later), term);
        // Taken by another meanwhile; and what this one had written does not become its own again.
        let (mut memory, _) = after_trying();
        assert!(wait(&mut memory, &record("2", Some(held("third"))), later).is_some());
        assert!(wait(&mut memory, &stored(applied, "4"), later).is_some());
    }

    #[test]
    fn a_renewal_always_changes_the_record() {
        let term = Term { identity: ME.into(), acquired: MicroTime(Timestamp::UNIX_EPOCH), transitions: 1 };
        for wall in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
            let mut record = record("1", None);
            for version in 2..5 {
                let renewed = term.renew(&record, wall, Duration::from_secs(15));
                assert_ne!(renewed.spec, record.lease.spec, "{wall}");
                record = stored(renewed, &version.to_string());
                assert!(term.owns(&record));
            }
        }
    }

    #[test]
    fn a_lease_without_a_version_is_none() {
        for version in [None, Some(String::new())] {
            let metadata = ObjectMeta { resource_version: version, ..ObjectMeta::default() };
            assert!(Record::of(Lease { metadata, spec: None }).is_none());
        }
    }

    fn times() -> impl Strategy<Value = Option<MicroTime>> {
        let ends = (Timestamp::MIN.as_microsecond(), Timestamp::MAX.as_microsecond());
        proptest::option::of((ends.0..=ends.1).prop_map(|time| {
            MicroTime(Timestamp::from_microsecond(time).expect("within the bounds of a timestamp"))
        }))
    }

    proptest! {
        /// Whatever a record says: it can be judged and written over, it is never waited for in vain, and what is written is its
        /// writer's.
        #[test]
        fn any_record_can_be_taken_in_the_end(
            holder in proptest::option::of("|me_1|other|[^a]{0,9}"),
            acquire_time in times(),
            renew_time in times(),
            lease_duration_seconds in proptest::option::of(any::<i32>()),
            lease_transitions in proptest::option::of(any::<i32>()),
        ) {
            let spec = LeaseSpec {
                holder_identity: holder, acquire_time, renew_time, lease_duration_seconds, lease_transitions,
                ..LeaseSpec::default()
            };
            let (mut memory, start) = (Memory::default(), Instant::now());
            let record = record("1", Some(spec));
            let grace = wait(&mut memory, &record, start).unwrap_or_default();
            prop_assert!(grace <= LeaseOptions::LONGEST);
            let term = take(&mut memory, &record, start + grace);
            prop_assert!(term.transitions >= 0);
            let taken = stored(term.renew(&record, Timestamp::UNIX_EPOCH, Duration::from_millis(1500)), "2");
            prop_assert!(term.owns(&taken));
            prop_assert_eq!(taken.holder(), Some(ME));
            prop_assert_eq!(taken.spec().unwrap().lease_duration_seconds, Some(2));
        }
    }
}

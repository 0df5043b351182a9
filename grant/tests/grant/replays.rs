use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use annex_grant::{Nonce, Refusal, ReplayGuard, UnixMillis};
use proptest::prelude::*;

fn nonce(number: u8) -> Nonce {
    Nonce([number; 16])
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_forgotten_for_it() {
    let guard = ReplayGuard::new(2);
    let remember = |number, until, now| guard.remember(nonce(number), UnixMillis(until), UnixMillis(now));
    assert_eq!(remember(1, 100, 0), Ok(()));
    assert_eq!(remember(2, 50, 0), Ok(()));
    assert_eq!(remember(3, 100, 49), Err(Refusal::Full));
    assert_eq!(remember(2, 50, 49), Err(Refusal::Replayed), "which is said even then");
    assert_eq!(remember(3, 100, 50), Ok(()), "the second has expired");
    assert_eq!(guard.len(), 2);
    assert_eq!(remember(4, 1000, 900), Ok(()));
    assert_eq!(guard.len(), 1);
}

#[test]
fn a_clock_that_goes_back_makes_nothing_good_again() {
    let guard = ReplayGuard::new(10);
    assert_eq!(guard.remember(nonce(1), UnixMillis(100), UnixMillis(0)), Ok(()));
    assert_eq!(guard.remember(nonce(2), UnixMillis(300), UnixMillis(200)), Ok(()));
    assert_eq!(guard.remember(nonce(1), UnixMillis(100), UnixMillis(0)), Err(Refusal::Expired));
}

#[test]
fn of_many_who_come_at_once_one_is_first() {
    let (guard, first) = (ReplayGuard::new(10), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                if guard.remember(nonce(1), UnixMillis(100), UnixMillis(0)).is_ok() {
                    first.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(first.into_inner(), 1);
}

proptest! {
    /// Against the model, which never forgets: no nonce is accepted twice, and what is fresh is accepted unless there is no room.
    #[test]
    fn no_nonce_is_accepted_twice(events in prop::collection::vec((0..20_u8, 0..50_u64, 1..50_u64), 0..200), most in 1..8_usize) {
        let guard = ReplayGuard::new(most);
        let mut accepted: BTreeMap<u8, u64> = BTreeMap::new();
        let mut latest = 0;
        for (number, now, life) in events {
            let until = now + life;
            latest = latest.max(now);
            // A grant's end is its own: who comes with the nonce of another's comes with the end that was signed.
            let until = accepted.get(&number).copied().unwrap_or(until);
            let alive = accepted.values().filter(|until| **until > latest).count();
            let expected = if until <= latest {
                Err(Refusal::Expired)
            } else if accepted.contains_key(&number) {
                Err(Refusal::Replayed)
            } else if alive >= most {
                Err(Refusal::Full)
            } else {
                accepted.insert(number, until);
                Ok(())
            };
            prop_assert_eq!(guard.remember(nonce(number), UnixMillis(until), UnixMillis(now)), expected);
            prop_assert!(guard.len() <= most);
        }
    }
}

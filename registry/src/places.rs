//! How many uploads there may be at a time: each holds a file of up to 200 MiB.

use std::{collections::HashMap, sync::Arc};

use annex_answering::Refusal;
use axum::http::StatusCode;
use parking_lot::Mutex;

/// Uploads of one user at a time, so that one publisher does not keep the others out.
const OF_ONE: usize = 4;

/// The places for uploads. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Places {
    most: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: HashMap<String, usize>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    user: String,
    taken: Arc<Mutex<Taken>>,
}

impl Places {
    /// So many places.
    pub fn new(most: usize) -> Self {
        Self { most, taken: Arc::default() }
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.taken.lock().all
    }

    pub(crate) fn take(&self, user: &str) -> Result<Place, Refusal> {
        let mut taken = self.taken.lock();
        let refused = |message| Err(Refusal::busy(StatusCode::TOO_MANY_REQUESTS, "TooManyUploads", message));
        if taken.all >= self.most {
            return refused("the registry takes no more uploads at this time; try again");
        }
        if taken.by.get(user).is_some_and(|count| *count >= OF_ONE) {
            return refused("too many uploads of yours are under way; try again");
        }
        taken.all += 1;
        *taken.by.entry(user.to_owned()).or_default() += 1;
        Ok(Place { user: user.to_owned(), taken: self.taken.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock();
        taken.all = taken.all.saturating_sub(1);
        if let Some(count) = taken.by.get_mut(&self.user) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.by.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_for_all_and_for_each_and_given_back() {
        let places = Places::new(6);
        let alice: Vec<_> = (0..4).map(|_| places.take("alice").unwrap()).collect();
        assert_eq!(places.take("alice").unwrap_err().code, "TooManyUploads");
        let bob: Vec<_> = (0..2).map(|_| places.take("bob").unwrap()).collect();
        assert!(places.take("bob").is_err(), "all are taken");
        drop(alice);
        assert!(places.take("bob").is_ok());
        drop(bob);
        assert_eq!(places.taken(), 0);
        assert!(places.taken.lock().by.is_empty());
    }
}

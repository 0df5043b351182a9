use std::time::Duration;

/// When what has vanished is let go of only after a second look.
///
/// An object *vanishes* if a relist no longer holds it, or if its shard is gone, and it was never seen with a deletionTimestamp:
/// nobody said that it was deleted. One is nothing special, since a deletion may be missed while a watch is interrupted. Many at
/// once look like a fault of the server, and a controller that acts on that deletes what its tenants live on. So above a share
/// they are *held*: they stay in the index as they were last seen until a second list, some time later, does not hold them
/// either, or an operator says that they are gone; see [`VirtualWorkspace`](crate::VirtualWorkspace).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brake {
    /// Above how many percent of a shard's objects of the kind they are held.
    pub percent: u8,
    /// Fewer than this are never held.
    pub at_least: usize,
    /// How long after the first list the second is made.
    pub second_list: Duration,
}

impl Default for Brake {
    /// Above 20 %, from 10 on, for 30 s.
    fn default() -> Self {
        Self { percent: 20, at_least: 10, second_list: Duration::from_secs(30) }
    }
}

impl Brake {
    /// Whether `vanished` objects `of` so many that were there are held.
    pub(crate) fn holds(&self, vanished: usize, of: usize) -> bool {
        vanished >= self.at_least.max(1)
            && vanished.saturating_mul(100) > of.saturating_mul(self.percent.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_nothing_special_and_a_small_share_is_not() {
        let brake = Brake::default();
        assert!(!brake.holds(9, 9), "all of nine");
        assert!(brake.holds(10, 10));
        assert!(!brake.holds(20, 100), "just 20 %");
        assert!(brake.holds(21, 100));
        assert!(!brake.holds(0, 0));
        let off = Brake { percent: 100, ..brake };
        assert!(!off.holds(1_000, 1_000));
    }
}

//! Memory and tables of one instance, counted together.

use wasmtime::ResourceLimiter;

use crate::limits::CallLimits;

/// The core instances, memories and tables that a component may be made of. Components of known toolchains have up to six, one
/// and three.
pub(crate) const MAX_INSTANCES: u32 = 32;
pub(crate) const MAX_MEMORIES: u32 = 2;
pub(crate) const MAX_TABLES: u32 = 8;

/// Something that was asked for beyond its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Memory,
    Table,
}

/// Counts over all memories and all tables of a store: each alone could stay below what they must not have together.
///
/// Growth beyond the limit fails, as WebAssembly has it, and does not trap: some runtimes try for more and go on with less.
/// That it failed is remembered, so that a guest that dies of it is told why.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory: Count,
    table: Count,
    refused: Option<Refused>,
}

#[derive(Debug)]
struct Count {
    limit: usize,
    now: usize,
    /// What the last growth added. It is taken back if the growth then fails for another reason.
    added: usize,
}

impl Count {
    fn new(limit: usize) -> Self {
        Self { limit, now: 0, added: 0 }
    }

    fn grow(&mut self, current: usize, desired: usize) -> bool {
        let added = desired.saturating_sub(current);
        let after = self.now.saturating_add(added);
        if after > self.limit {
            return false;
        }
        (self.now, self.added) = (after, added);
        true
    }

    /// Whether it may grow. What is refused is noted in `refused`, as `what`.
    fn is_granted(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
        what: Refused,
        refused: &mut Option<Refused>,
    ) -> bool {
        // Its own maximum is the guest's choice. Growth beyond it fails without being counted.
        if maximum.is_some_and(|maximum| desired > maximum) && desired <= self.limit {
            return false;
        }
        let allowed = self.grow(current, desired);
        if !allowed {
            *refused = Some(what);
        }
        allowed
    }

    fn take_back(&mut self) {
        self.now -= std::mem::take(&mut self.added);
    }
}

impl Limiter {
    pub(crate) fn new(limits: &CallLimits) -> Self {
        Self {
            memory: Count::new(limits.memory_bytes),
            table: Count::new(limits.table_elements),
            refused: None,
        }
    }

    /// Bytes of linear memory. Memory never shrinks, so that this is also the most there was.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory.now
    }

    /// What was refused last.
    pub(crate) fn refused(&self) -> Option<Refused> {
        self.refused
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.memory.is_granted(current, desired, maximum, Refused::Memory, &mut self.refused))
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory.take_back();
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.table.is_granted(current, desired, maximum, Refused::Table, &mut self.refused))
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.table.take_back();
        Ok(())
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES as usize
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES as usize
    }

    fn tables(&self) -> usize {
        MAX_TABLES as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter() -> Limiter {
        Limiter::new(&CallLimits { memory_bytes: 100, table_elements: 10, ..CallLimits::default() })
    }

    #[test]
    fn memories_are_counted_together() {
        let mut limiter = limiter();
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(!limiter.memory_growing(0, 60, None).unwrap());
        assert_eq!(limiter.refused(), Some(Refused::Memory));
        assert!(limiter.memory_growing(0, 40, None).unwrap());
        assert_eq!(limiter.memory_bytes(), 100);
    }

    #[test]
    fn tables_are_counted_together() {
        let mut limiter = limiter();
        assert!(limiter.table_growing(0, 10, None).unwrap());
        assert_eq!(limiter.refused(), None);
        assert!(!limiter.table_growing(10, 11, None).unwrap());
        assert_eq!(limiter.refused(), Some(Refused::Table));
    }

    #[test]
    fn growth_that_fails_is_taken_back() {
        let mut limiter = limiter();
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(limiter.memory_growing(60, 90, None).unwrap());
        limiter.memory_grow_failed(wasmtime::Error::msg("the system has none")).unwrap();
        assert_eq!(limiter.memory_bytes(), 60);
    }

    #[test]
    fn the_guests_own_maximum_is_no_limit_of_ours() {
        let mut limiter = limiter();
        assert!(!limiter.memory_growing(0, 50, Some(40)).unwrap());
        assert_eq!((limiter.refused(), limiter.memory_bytes()), (None, 0));
    }

    #[test]
    fn overflow_is_too_much() {
        let mut limiter = limiter();
        assert!(limiter.memory_growing(0, 1, None).unwrap());
        assert!(!limiter.memory_growing(0, usize::MAX, None).unwrap());
    }
}

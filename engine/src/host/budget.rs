//! An amount that is spent over a call.

/// An amount that is spent over a call.
#[derive(Debug)]
pub(crate) struct Budget {
    left: usize,
    refused: usize,
}

impl Budget {
    pub(crate) fn new(amount: usize) -> Self {
        Self { left: amount, refused: 0 }
    }

    /// Takes all of it, or nothing.
    pub(crate) fn take(&mut self, amount: usize) -> bool {
        match self.left.checked_sub(amount) {
            Some(left) => {
                self.left = left;
                true
            }
            None => {
                self.refused = self.refused.saturating_add(amount);
                false
            }
        }
    }

    /// What was asked for and not given.
    pub(crate) fn refused(&self) -> usize {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_all_or_nothing() {
        let mut budget = Budget::new(10);
        assert!(budget.take(7));
        assert!(!budget.take(4));
        assert!(budget.take(3));
        assert!(budget.take(0));
        assert!(!budget.take(usize::MAX));
        assert!(!budget.take(usize::MAX));
        assert_eq!(budget.refused(), usize::MAX);
    }
}

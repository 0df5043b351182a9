use std::{collections::VecDeque, sync::Arc};

use hyper::body::Bytes;

use super::object::Object;

/// What a watch can be told of.
#[derive(Debug)]
pub(crate) enum Entry {
    Change {
        object: Arc<Object>,
        /// The version before: a list at an older revision has it, and a selector may have held it.
        previous: Option<Arc<Object>>,
    },
    /// A line for the watches that are open when it is said.
    Line { revision: u64, line: Bytes },
}

impl Entry {
    fn revision(&self) -> u64 {
        match self {
            Self::Change { object, .. } => object.revision,
            Self::Line { revision, .. } => *revision,
        }
    }
}

/// The changes of one kind, oldest first. Each has an index that stays the same while older ones are dropped.
#[derive(Debug)]
pub(crate) struct History {
    entries: VecDeque<Entry>,
    first: u64,
    /// The revision of the last entry that was dropped: what is asked for from before that is incomplete.
    dropped: u64,
    most: usize,
}

impl History {
    /// Keeps the last `most` entries.
    pub(crate) fn new(most: usize) -> Self {
        Self { entries: VecDeque::new(), first: 0, dropped: 0, most }
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        self.entries.push_back(entry);
        self.shorten();
    }

    pub(crate) fn keep(&mut self, most: usize) {
        self.most = most;
        self.shorten();
    }

    fn shorten(&mut self) {
        while self.entries.len() > self.most {
            if let Some(entry) = self.entries.pop_front() {
                self.dropped = entry.revision();
                self.first += 1;
            }
        }
    }

    /// Everything after `revision` is here if this is not greater than that.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The index of the first entry after `revision`.
    pub(crate) fn after(&self, revision: u64) -> u64 {
        self.first + self.entries.partition_point(|entry| entry.revision() <= revision) as u64
    }

    /// The index that the next entry gets.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// The entries from `index` on; none if some of them were dropped.
    pub(crate) fn from(&self, index: u64) -> Option<impl Iterator<Item = &Entry>> {
        let skipped = usize::try_from(index.checked_sub(self.first)?).ok()?;
        Some(self.entries.range(skipped.min(self.entries.len())..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(revision: u64) -> Entry {
        Entry::Line { revision, line: Bytes::new() }
    }

    fn revisions(history: &History, index: u64) -> Option<Vec<u64>> {
        history.from(index).map(|entries| entries.map(Entry::revision).collect())
    }

    #[test]
    fn an_index_stays_while_older_entries_are_dropped() {
        let mut history = History::new(100);
        for revision in [1, 3, 3, 7] {
            history.push(line(revision));
        }
        let index = history.after(2);
        assert_eq!(revisions(&history, index).unwrap(), [3, 3, 7]);
        history.keep(3);
        assert_eq!((history.dropped(), revisions(&history, index).unwrap()), (1, vec![3, 3, 7]));
        history.push(line(8));
        assert_eq!(revisions(&history, index), None);
        assert_eq!(revisions(&history, history.after(3)).unwrap(), [7, 8]);
        assert_eq!(revisions(&history, history.end()).unwrap(), [0; 0]);
    }
}

//! Whether a build is followed by another, because sources changed while it ran. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// How often in a row a file changes while a build runs before it is the build that is taken to write it. An author who saves a file
/// in each of three builds is not expected.
const IN_A_ROW: u32 = 3;

/// Keeps a build that writes among its own sources from being started over and over.
#[derive(Debug, Default)]
pub struct FollowUp {
    in_a_row: BTreeMap<PathBuf, u32>,
    outputs: BTreeSet<PathBuf>,
}

impl FollowUp {
    /// After a build: `written` are the sources that changed while it ran. Says whether to build again, and which files count as
    /// written by the build from now on.
    pub fn after_build(&mut self, written: &BTreeSet<PathBuf>) -> (bool, Vec<PathBuf>) {
        self.in_a_row.retain(|path, _| written.contains(path));
        let mut learned = Vec::new();
        for path in written.difference(&self.outputs) {
            let count = self.in_a_row.entry(path.clone()).or_default();
            *count += 1;
            if *count >= IN_A_ROW {
                learned.push(path.clone());
            }
        }
        self.outputs.extend(learned.iter().cloned());
        (!written.is_subset(&self.outputs), learned)
    }

    /// While nothing was built: what changed then was not written by a build.
    pub fn while_idle(&mut self, changed: &BTreeSet<PathBuf>) {
        self.in_a_row.clear();
        self.outputs.retain(|path| !changed.contains(path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(names: &[&str]) -> BTreeSet<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn what_is_saved_during_a_build_is_built() {
        let mut follow_up = FollowUp::default();
        for _ in 0..2 {
            assert_eq!(follow_up.after_build(&paths(&["lib.rs"])), (true, vec![]));
        }
        assert_eq!(follow_up.after_build(&paths(&[])), (false, vec![]));
        assert_eq!(follow_up.after_build(&paths(&["lib.rs"])), (true, vec![]), "the row was broken");
    }

    #[test]
    fn what_each_build_writes_is_its_output_until_somebody_else_changes_it() {
        let mut follow_up = FollowUp::default();
        let stamp = paths(&["stamp"]);
        assert!(follow_up.after_build(&stamp).0 && follow_up.after_build(&stamp).0);
        assert_eq!(follow_up.after_build(&stamp), (false, vec!["stamp".into()]));
        assert_eq!(follow_up.after_build(&stamp), (false, vec![]));
        assert_eq!(follow_up.after_build(&paths(&["stamp", "lib.rs"])), (true, vec![]));
        follow_up.while_idle(&stamp);
        assert_eq!(follow_up.after_build(&stamp), (true, vec![]));
    }
}

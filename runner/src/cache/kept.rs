//! What is in the cache, and what it knows besides. Pure but for its counting.

use std::collections::HashMap;
use std::sync::Arc;

use annex_bundle_client::{Held, LoadError};
use annex_core::ContentHash;
use tokio::time::Instant;

use super::Loading;
use super::bundle::Bundle;

/// Some hundred bytes each.
const MOST_REFUSED: usize = 4096;

/// The bundles of the cache: of those that do not fit, the ones go that were not asked for the longest.
#[derive(Debug)]
pub(super) struct Kept {
    max_bytes: u64,
    bytes: u64,
    /// Counts the uses.
    clock: u64,
    bundles: HashMap<ContentHash, (Arc<Bundle>, u64)>,
    /// Bounded by the installs: only what a lookup named is loaded.
    pub(super) loading: HashMap<ContentHash, Loading>,
    refused: HashMap<ContentHash, Refused>,
}

#[derive(Debug)]
struct Refused {
    error: LoadError,
    held: Held,
    until: Instant,
}

impl Kept {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self {
            max_bytes,
            bytes: 0,
            clock: 0,
            bundles: HashMap::new(),
            loading: HashMap::new(),
            refused: HashMap::new(),
        }
    }

    /// A bundle that is kept; it counts as used now.
    pub(super) fn get(&mut self, content: &ContentHash) -> Option<Arc<Bundle>> {
        let (bundle, used) = self.bundles.get_mut(content)?;
        self.clock += 1;
        *used = self.clock;
        Some(Arc::clone(bundle))
    }

    /// All bundles, and when each was asked for last: the larger, the later. They do not count as used.
    pub(super) fn all(&self) -> Vec<(Arc<Bundle>, u64)> {
        self.bundles.values().cloned().collect()
    }

    /// Adds a bundle. What is returned has made room for it, and is to be removed from the disk; that may be itself, where the bound was
    /// higher once.
    pub(super) fn insert(&mut self, bundle: Arc<Bundle>) -> Vec<ContentHash> {
        self.clock += 1;
        let content = *bundle.content();
        self.refused.remove(&content);
        self.bytes += bundle.space();
        if let Some((former, _)) = self.bundles.insert(content, (bundle, self.clock)) {
            self.bytes -= former.space();
        }
        let mut out = Vec::new();
        while self.bytes > self.max_bytes {
            let Some(oldest) =
                self.bundles.iter().min_by_key(|(_, (_, used))| *used).map(|(oldest, _)| *oldest)
            else {
                break;
            };
            if let Some((bundle, _)) = self.bundles.remove(&oldest) {
                self.bytes -= bundle.space();
            }
            out.push(oldest);
        }
        out
    }

    /// Removes exactly this one: another of the same content may have come meanwhile. Whether it was there.
    pub(super) fn remove(&mut self, bundle: &Arc<Bundle>) -> bool {
        let content = bundle.content();
        if !self.bundles.get(content).is_some_and(|(kept, _)| Arc::ptr_eq(kept, bundle)) {
            return false;
        }
        self.bundles.remove(content);
        self.bytes -= bundle.space();
        true
    }

    /// Why it was refused lately, under the same policy.
    pub(super) fn refusal(&self, content: &ContentHash, held: &Held) -> Option<LoadError> {
        let refused = self.refused.get(content)?;
        (refused.until > Instant::now() && refused.held.is_same(held)).then(|| refused.error.clone())
    }

    pub(super) fn refuse(&mut self, content: ContentHash, error: LoadError, held: Held, until: Instant) {
        if self.refused.len() >= MOST_REFUSED {
            self.refused.clear();
        }
        self.refused.insert(content, Refused { error, held, until });
    }

    pub(super) fn len(&self) -> usize {
        self.bundles.len()
    }

    /// How much there may be.
    pub(super) fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

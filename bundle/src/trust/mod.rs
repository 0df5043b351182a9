//! Whom to trust: anchors, pinned keys, and the publishers that each may speak for.

mod anchor;
mod binding;
mod bundle;
mod certificate;
mod chain;

pub use bundle::{TrustBundle, TrustError};
pub use certificate::Certificate;

pub(crate) use chain::{Chain, ChainRefusal, verify as verify_chain};

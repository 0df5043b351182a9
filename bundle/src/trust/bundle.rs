//! `SIGNING_TRUST_BUNDLE`: a PEM file.

use std::collections::{BTreeMap, BTreeSet};

use super::anchor::Anchor;
use super::binding::Binding;
use crate::code::codes;
use crate::digest::KeyId;
use crate::keys::{Block, Comment, KeyError, PemError, PublicKey, read_blocks};
use crate::shown::shown;

/// The largest trust bundle.
pub const MAX_TRUST_BUNDLE: usize = 1 << 20;
/// The most blocks in it.
const MAX_BLOCKS: usize = 1000;

/// What a comment begins with that says something.
const DIRECTIVE: &str = "annex-";
const PUBLISHER: &str = "annex-publisher:";

/// Whom to trust. The empty one trusts nobody, so that without a trust bundle nothing verifies.
#[derive(Debug, Clone, Default)]
pub struct TrustBundle {
    anchors: Vec<Anchor>,
    keys: BTreeMap<KeyId, Pinned>,
}

/// A key that is trusted by itself.
#[derive(Debug, Clone)]
pub(crate) struct Pinned {
    pub(crate) key: PublicKey,
    pub(super) binding: Binding,
}

/// Why a text is no trust bundle. All of it is refused then: half of a trust bundle is another one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Too many bytes.
    #[error("the trust bundle has {length} bytes, more than {MAX_TRUST_BUNDLE}")]
    TooLarge {
        /// How many it has.
        length: usize,
    },
    /// No PEM.
    #[error("the trust bundle is no PEM: {0}")]
    Pem(PemError),
    /// A private key, which now has to be made anew.
    #[error(
        "line {line} of the trust bundle begins a private key, which belongs to its publisher alone; make a new one"
    )]
    PrivateKey {
        /// Where.
        line: usize,
    },
    /// A block of another kind.
    #[error("line {line} of the trust bundle begins {label}, which is neither CERTIFICATE nor PUBLIC KEY")]
    UnknownBlock {
        /// Where.
        line: usize,
        /// What it says it is.
        label: String,
    },
    /// A comment that says something which is not understood.
    #[error("line {line} of the trust bundle {reason}")]
    Directive {
        /// Where.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A pinned key without a publisher.
    #[error(
        "line {line} of the trust bundle pins a key for nobody; write `# annex-publisher: example.com` above it"
    )]
    UnboundKey {
        /// Where.
        line: usize,
    },
    /// A pinned key that is not accepted.
    #[error("the key in line {line} of the trust bundle {error}")]
    Key {
        /// Where.
        line: usize,
        /// What is wrong with it.
        error: KeyError,
    },
    /// A certificate that is no anchor.
    #[error("the certificate in line {line} of the trust bundle {reason}")]
    Anchor {
        /// Where.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The same anchor or key twice.
    #[error(
        "line {line} of the trust bundle says again what another one says; name all publishers above one block"
    )]
    Repeated {
        /// Where.
        line: usize,
    },
}

codes!(TrustError {
    TooLarge => "TrustTooLarge",
    Pem => "TrustPemInvalid",
    PrivateKey => "TrustHasPrivateKey",
    UnknownBlock => "TrustUnknownBlock",
    Directive => "TrustDirectiveInvalid",
    UnboundKey => "TrustKeyUnbound",
    Key => "TrustKeyInvalid",
    Anchor => "TrustAnchorInvalid",
    Repeated => "TrustRepeated",
});

impl TrustBundle {
    /// Reads a trust bundle.
    ///
    /// # Errors
    /// [`TrustError`] where anything in it is not understood.
    pub fn parse(bytes: &[u8]) -> Result<Self, TrustError> {
        if bytes.len() > MAX_TRUST_BUNDLE {
            return Err(TrustError::TooLarge { length: bytes.len() });
        }
        let (blocks, rest) = read_blocks(bytes, MAX_BLOCKS).map_err(TrustError::Pem)?;
        if let Some((line, _)) = rest.iter().find(|(_, comment)| comment.starts_with(DIRECTIVE)) {
            let reason = "speaks of a block that does not follow".to_owned();
            return Err(TrustError::Directive { line: *line, reason });
        }
        let mut trust = Self::default();
        blocks.iter().try_for_each(|block| trust.add(block))?;
        Ok(trust)
    }

    /// Whether nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.anchors.is_empty() && self.keys.is_empty()
    }

    pub(crate) fn pinned(&self, id: &KeyId) -> Option<&Pinned> {
        self.keys.get(id)
    }

    pub(super) fn anchors(&self) -> &[Anchor] {
        &self.anchors
    }

    fn add(&mut self, block: &Block) -> Result<(), TrustError> {
        let line = block.line;
        let binding = binding(&block.comments)?;
        match block.label.as_str() {
            "CERTIFICATE" => {
                let anchor = Anchor::new(&block.der, binding.unwrap_or(Binding::Leaf))
                    .map_err(|reason| TrustError::Anchor { line, reason })?;
                // One key under one name, whatever else two certificates of it say: a path is found by these two.
                if self.anchors.iter().any(|known| known.is_like(&anchor)) {
                    return Err(TrustError::Repeated { line });
                }
                self.anchors.push(anchor);
            }
            "PUBLIC KEY" => {
                let key = PublicKey::from_der(&block.der).map_err(|error| TrustError::Key { line, error })?;
                let binding = binding.ok_or(TrustError::UnboundKey { line })?;
                if self.keys.insert(key.id(), Pinned { key, binding }).is_some() {
                    return Err(TrustError::Repeated { line });
                }
            }
            label if label.ends_with("PRIVATE KEY") => return Err(TrustError::PrivateKey { line }),
            label => return Err(TrustError::UnknownBlock { line, label: label.to_owned() }),
        }
        Ok(())
    }
}

impl Pinned {
    pub(crate) fn speaks_for(&self, publisher: &crate::publisher::Publisher) -> bool {
        self.binding.key_speaks_for(publisher)
    }
}

/// What the comments above a block say of whom it speaks for; `None` where they say nothing.
fn binding(comments: &[Comment]) -> Result<Option<Binding>, TrustError> {
    let mut publishers = BTreeSet::new();
    let mut anyone = false;
    for (line, comment) in comments {
        // Other comments are for people. One that was misspelled must not be taken for one of those.
        if !comment.starts_with(DIRECTIVE) {
            continue;
        }
        let bad = |reason: String| TrustError::Directive { line: *line, reason };
        let name = comment.strip_prefix(PUBLISHER).map(str::trim);
        let name =
            name.ok_or_else(|| bad(format!("has {}, which says nothing", shown(comment.as_bytes()))))?;
        if name == "*" {
            anyone = true;
        } else {
            let publisher = name.parse().map_err(|error| bad(format!("names a publisher that {error}")))?;
            publishers.insert(publisher);
        }
        if anyone && !publishers.is_empty() {
            return Err(bad("names a publisher beside *, which is everyone".to_owned()));
        }
    }
    Ok(match (anyone, publishers.is_empty()) {
        (true, _) => Some(Binding::Anyone),
        (false, true) => None,
        (false, false) => Some(Binding::Named(publishers)),
    })
}

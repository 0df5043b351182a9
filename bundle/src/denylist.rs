//! What is not trusted any more, whoever signed it.

use std::collections::BTreeSet;
use std::fmt;

use annex_core::ContentHash;

use crate::code::codes;
use crate::digest::{ArchiveDigest, Fingerprint, KeyId};
use crate::publisher::Publisher;

/// The largest denylist: a hundred thousand lines.
pub const MAX_DENYLIST: usize = 16 << 20;

/// What is revoked: contents, archives, keys, certificates, publishers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Denylist {
    contents: BTreeSet<ContentHash>,
    archives: BTreeSet<ArchiveDigest>,
    keys: BTreeSet<KeyId>,
    certificates: BTreeSet<Fingerprint>,
    publishers: BTreeSet<Publisher>,
}

/// What was found on the denylist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeniedThing {
    /// The content hash.
    Content,
    /// The archive's digest.
    Archive,
    /// A key: the signer's, that of a certificate above it, or the registry's.
    Key,
    /// A certificate of the chain.
    Certificate,
    /// The publisher.
    Publisher,
}

impl fmt::Display for DeniedThing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Content => "the content",
            Self::Archive => "the archive",
            Self::Key => "a key that signed",
            Self::Certificate => "a certificate of the signer",
            Self::Publisher => "the publisher",
        })
    }
}

/// Why a text is no denylist. All of it is refused then: a line that is not understood might be what keeps an attacker out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DenylistError {
    /// Too many bytes.
    #[error("the denylist has {length} bytes, more than {MAX_DENYLIST}")]
    TooLarge {
        /// How many it has.
        length: usize,
    },
    /// A line that is not understood.
    #[error("line {line} of the denylist {reason}")]
    Line {
        /// Which, counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

codes!(DenylistError {
    TooLarge => "DenylistTooLarge",
    Line => "DenylistInvalid",
});

impl Denylist {
    /// Reads a denylist: on each line `content`, `archive`, `key` or `certificate` with a digest, or `publisher` with a name; `#` begins a
    /// comment.
    ///
    /// # Errors
    /// [`DenylistError`] where any line is something else.
    pub fn parse(bytes: &[u8]) -> Result<Self, DenylistError> {
        if bytes.len() > MAX_DENYLIST {
            return Err(DenylistError::TooLarge { length: bytes.len() });
        }
        let text = str::from_utf8(bytes)
            .map_err(|_| DenylistError::Line { line: 1, reason: "or a later one is no UTF-8".to_owned() })?;
        let mut list = Self::default();
        for (index, line) in text.lines().enumerate() {
            list.add(line).map_err(|reason| DenylistError::Line { line: index + 1, reason })?;
        }
        Ok(list)
    }

    fn add(&mut self, line: &str) -> Result<(), String> {
        let said = line.split_once('#').map_or(line, |(said, _)| said);
        let words: Vec<_> = said.split_whitespace().collect();
        let (kind, value) = match words.as_slice() {
            [] => return Ok(()),
            [kind, value] => (*kind, *value),
            _ => return Err("is not one word for what is denied and one for which".to_owned()),
        };
        let digest = |error: annex_core::ContentHashError| format!("has a digest that {error}");
        match kind {
            "content" => self.contents.insert(value.parse().map_err(digest)?),
            "archive" => self.archives.insert(value.parse().map_err(digest)?),
            "key" => self.keys.insert(value.parse().map_err(digest)?),
            "certificate" => self.certificates.insert(value.parse().map_err(digest)?),
            "publisher" => {
                self.publishers.insert(value.parse().map_err(|error: crate::publisher::PublisherError| {
                    format!("has a publisher that {error}")
                })?)
            }
            _ => {
                return Err("begins with none of content, archive, key, certificate and publisher".to_owned());
            }
        };
        Ok(())
    }

    /// Whether nothing is denied.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the content is denied.
    pub fn has_content(&self, content: &ContentHash) -> bool {
        self.contents.contains(content)
    }

    /// Whether the archive is denied.
    pub fn has_archive(&self, archive: &ArchiveDigest) -> bool {
        self.archives.contains(archive)
    }

    /// Whether the key is denied.
    pub fn has_key(&self, key: &KeyId) -> bool {
        self.keys.contains(key)
    }

    /// Whether the certificate is denied.
    pub fn has_certificate(&self, certificate: &Fingerprint) -> bool {
        self.certificates.contains(certificate)
    }

    /// Whether the publisher is denied.
    pub fn has_publisher(&self, publisher: &Publisher) -> bool {
        self.publishers.contains(publisher)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_denied_by_itself() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for kind in ["content", "archive", "key", "certificate"] {
            let list =
                Denylist::parse(format!("# why\n\n  {kind}\t{digest} # leaked\r\n").as_bytes()).unwrap();
            let found = [
                list.has_content(&digest.parse().unwrap()),
                list.has_archive(&digest.parse().unwrap()),
                list.has_key(&digest.parse().unwrap()),
                list.has_certificate(&digest.parse().unwrap()),
            ];
            assert_eq!(found.iter().filter(|found| **found).count(), 1, "{kind}");
        }
        let list = Denylist::parse(b"publisher example.com").unwrap();
        assert!(list.has_publisher(&"example.com".parse().unwrap()));
        assert!(!list.has_publisher(&"example.org".parse().unwrap()));
        assert!(Denylist::parse(b"# nothing").unwrap().is_empty());
    }

    #[test]
    fn one_line_that_is_not_understood_refuses_all() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for line in [
            "digest sha256:00".to_owned(),
            "content sha256:00".to_owned(),
            format!("content {}", digest.to_uppercase()),
            format!("content {digest} {digest}"),
            digest.clone(),
            "publisher Example.com".to_owned(),
            "publisher".to_owned(),
        ] {
            let text = format!("key {digest}\n{line}\n");
            let error = Denylist::parse(text.as_bytes()).unwrap_err();
            assert!(matches!(error, DenylistError::Line { line: 2, .. }), "{line}: {error}");
        }
        assert!(Denylist::parse(b"\xff").is_err());
        assert!(Denylist::parse(&vec![b'\n'; MAX_DENYLIST + 1]).is_err());
    }
}

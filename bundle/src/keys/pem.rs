//! PEM (RFC 7468) with the comments before each block.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::code::codes;
use crate::shown::shown;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// Why a text is no PEM.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// A line that does not belong there.
    #[error("line {line}: {reason}")]
    Line {
        /// Which, counted from 1.
        line: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// Too many blocks.
    #[error("there are more than {limit} PEM blocks")]
    TooMany {
        /// How many there may be.
        limit: usize,
    },
}

codes!(PemError {
    Line => "PemInvalid",
    TooMany => "PemTooMany",
});

/// What stands behind a `#`, and the number of its line.
pub(crate) type Comment = (usize, String);

/// One block.
pub(crate) struct Block {
    /// What it says it is, such as `CERTIFICATE`.
    pub(crate) label: String,
    /// Its content. It may be a private key.
    pub(crate) der: Zeroizing<Vec<u8>>,
    /// The comments before it.
    pub(crate) comments: Vec<Comment>,
    /// Where it begins, counted from 1.
    pub(crate) line: usize,
    /// It has header lines, as encrypted keys of old have.
    pub(crate) has_headers: bool,
}

/// The blocks of a text, and the comments that follow the last one. Other text between blocks is ignored, as openssl writes some.
pub(crate) fn read_blocks(bytes: &[u8], limit: usize) -> Result<(Vec<Block>, Vec<Comment>), PemError> {
    let mut blocks = Vec::new();
    let mut comments = Vec::new();
    let text =
        str::from_utf8(bytes).map_err(|_| PemError::Line { line: 1, reason: "the text is no UTF-8" })?;
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim_end()));
    while let Some((line, text)) = lines.next() {
        if let Some(comment) = text.strip_prefix('#') {
            comments.push((line, comment.trim().to_owned()));
        }
        let bad = |reason| PemError::Line { line, reason };
        if text.starts_with(END) {
            return Err(bad("a block ends that did not begin"));
        }
        let Some(label) = text.strip_prefix(BEGIN) else { continue };
        let label = label.strip_suffix(DASHES).ok_or_else(|| bad("the line does not end in five dashes"))?;
        if blocks.len() == limit {
            return Err(PemError::TooMany { limit });
        }
        let mut body = Zeroizing::new(String::new());
        let mut has_headers = false;
        loop {
            let (_, text) = lines.next().ok_or_else(|| bad("the block does not end"))?;
            if let Some(end) = text.strip_prefix(END) {
                if end.strip_suffix(DASHES) != Some(label) {
                    return Err(bad("the block does not end as it begins"));
                }
                break;
            }
            if text.starts_with(BEGIN) {
                return Err(bad("the block does not end"));
            }
            if text.contains(':') {
                has_headers = true;
            } else {
                body.push_str(text);
            }
        }
        // With headers the content may be encrypted, and whoever asked decides by them.
        let der = match STANDARD.decode(body.as_bytes()) {
            Ok(der) => Zeroizing::new(der),
            Err(_) if has_headers => Zeroizing::new(Vec::new()),
            Err(_) => return Err(bad("the block is no base64")),
        };
        let comments = std::mem::take(&mut comments);
        blocks.push(Block { label: shown(label.as_bytes()), der, comments, line, has_headers });
    }
    Ok((blocks, comments))
}

/// One block of PEM.
pub(crate) fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(der));
    // All at once, so that growing leaves no copy behind.
    let mut text = Zeroizing::new(String::with_capacity(body.len() + body.len() / 64 + 2 * label.len() + 40));
    text.push_str(&format!("{BEGIN}{label}{DASHES}\n"));
    let mut rest = body.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII, so that every place is a boundary.
        let (line, next) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = next;
    }
    text.push_str(&format!("{END}{label}{DASHES}\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_with_its_comments() {
        let one = encode("CERTIFICATE", &[7; 100]);
        let two = encode("PUBLIC KEY", b"");
        let text = format!("# a: b\nCertificate:\n  x\n{}#c\n# d\r\n{}# e", *one, *two);
        let (blocks, rest) = read_blocks(text.as_bytes(), 2).unwrap();
        assert_eq!(blocks[0].label, "CERTIFICATE");
        assert_eq!(*blocks[0].der, vec![7; 100]);
        assert_eq!(blocks[0].comments, [(1, "a: b".to_owned())]);
        assert_eq!(blocks[0].line, 4);
        assert_eq!(blocks[1].comments.len(), 2);
        assert_eq!(rest.len(), 1);
        assert_eq!(read_blocks(text.as_bytes(), 1).err(), Some(PemError::TooMany { limit: 1 }));
    }

    #[test]
    fn broken_blocks_are_refused() {
        for text in [
            "-----BEGIN X-----\nAAAA\n",
            "-----BEGIN X-----\nAAAA\n-----END Y-----\n",
            "-----BEGIN X-----\nAAAA\n-----BEGIN X-----\nAAAA\n-----END X-----\n",
            "-----BEGIN X----\nAAAA\n-----END X-----\n",
            "-----BEGIN X-----\nA*AA\n-----END X-----\n",
            // Not canonical: bits after the end.
            "-----BEGIN X-----\nAB==\n-----END X-----\n",
            "-----END X-----\n",
        ] {
            assert!(matches!(read_blocks(text.as_bytes(), 10), Err(PemError::Line { .. })), "{text}");
        }
        assert!(read_blocks(b"\xff", 10).is_err());
    }
}

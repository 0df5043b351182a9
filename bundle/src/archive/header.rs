//! A header of the POSIX ustar format (IEEE Std 1003.1, pax, "ustar Interchange Format"), and nothing that came after it.
//!
//! The tar crate resolves what GNU and pax entries say of the next one before anybody can refuse it. A bundle has none, and
//! then a header is 512 bytes with fixed fields.

use super::error::ArchiveError;
use crate::shown::shown;

/// Headers and the contents of files come in blocks of this size.
pub(super) const BLOCK: usize = 512;

/// The largest file that eleven octal digits can say.
pub(super) const MAX_SIZE: u64 = 0o777_7777_7777;

// Where each field is: offset and length.
const NAME: (usize, usize) = (0, 100);
const MODE: (usize, usize) = (100, 8);
const UID: (usize, usize) = (108, 8);
const GID: (usize, usize) = (116, 8);
const SIZE: (usize, usize) = (124, 12);
const MTIME: (usize, usize) = (136, 12);
const CHECKSUM: (usize, usize) = (148, 8);
const TYPE: (usize, usize) = (156, 1);
const LINK_NAME: (usize, usize) = (157, 100);
const MAGIC: (usize, usize) = (257, 8);
const DEVICE_MAJOR: (usize, usize) = (329, 8);
const DEVICE_MINOR: (usize, usize) = (337, 8);
const PREFIX: (usize, usize) = (345, 155);
const REST: (usize, usize) = (500, 12);

/// What a header says of its file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) path: Vec<u8>,
    pub(super) size: u64,
}

/// Reads a header of a regular file; `entry` counts from 1.
pub(super) fn read(block: &[u8; BLOCK], entry: usize) -> Result<Header, ArchiveError> {
    let bad = |reason| ArchiveError::BadHeader { entry, reason };
    if octal(field(block, CHECKSUM)) != Some(checksum(block)) {
        return Err(bad("has a wrong checksum"));
    }
    match field(block, MAGIC) {
        b"ustar\x0000" => {}
        b"ustar  \0" => return Err(ArchiveError::TarExtension { kind: "a GNU header" }),
        _ => return Err(bad("is not in the ustar format")),
    }
    let name = text(field(block, NAME)).ok_or_else(|| bad("has bytes behind the end of its name"))?;
    let prefix = text(field(block, PREFIX)).ok_or_else(|| bad("has bytes behind the end of its name"))?;
    let path = if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() };

    let kind = match field(block, TYPE) {
        b"0" => None,
        b"1" => Some("a hard link"),
        b"2" => Some("a symbolic link"),
        b"3" | b"4" => Some("a device"),
        b"5" => Some("a directory"),
        b"6" => Some("a fifo"),
        b"S" => Some("a sparse file"),
        b"x" | b"X" => return Err(ArchiveError::TarExtension { kind: "a pax header" }),
        b"g" => return Err(ArchiveError::TarExtension { kind: "a global pax header" }),
        b"L" | b"N" => return Err(ArchiveError::TarExtension { kind: "a GNU long name" }),
        b"K" => return Err(ArchiveError::TarExtension { kind: "a GNU long link name" }),
        _ => Some("of an unknown type"),
    };
    if let Some(kind) = kind {
        return Err(ArchiveError::NotAFile { path: shown(&path), kind });
    }
    let size = field(block, SIZE);
    if size.first().is_some_and(|byte| byte & 0x80 != 0) {
        return Err(ArchiveError::TarExtension { kind: "a size in base 256" });
    }
    let size = octal(size).ok_or_else(|| bad("has no octal size"))?;
    if field(block, LINK_NAME).iter().chain(field(block, REST)).any(|byte| *byte != 0) {
        return Err(bad("has bytes where a regular file has none"));
    }
    Ok(Header { path, size })
}

/// Writes the header of a regular file: of nobody, at no time. `None` where the path does not fit.
pub(super) fn write(path: &str, size: u64) -> Option<[u8; BLOCK]> {
    let (prefix, name) = split(path)?;
    let mut block = [0; BLOCK];
    put(&mut block, NAME, name.as_bytes());
    put(&mut block, MODE, b"0000644\0");
    put(&mut block, UID, b"0000000\0");
    put(&mut block, GID, b"0000000\0");
    put(&mut block, SIZE, format!("{size:011o}\0").as_bytes());
    put(&mut block, MTIME, b"00000000000\0");
    put(&mut block, TYPE, b"0");
    put(&mut block, MAGIC, b"ustar\x0000");
    put(&mut block, DEVICE_MAJOR, b"0000000\0");
    put(&mut block, DEVICE_MINOR, b"0000000\0");
    put(&mut block, PREFIX, prefix.as_bytes());
    let sum = checksum(&block);
    put(&mut block, CHECKSUM, format!("{sum:06o}\0 ").as_bytes());
    Some(block)
}

/// The path in two at a slash, so that each part fits: the shortest prefix that does, as one path has to have one header.
fn split(path: &str) -> Option<(&str, &str)> {
    if path.len() <= NAME.1 {
        return Some(("", path));
    }
    path.match_indices('/')
        .map(|(at, _)| (path.get(..at).unwrap_or_default(), path.get(at + 1..).unwrap_or_default()))
        .find(|(prefix, name)| prefix.len() <= PREFIX.1 && name.len() <= NAME.1)
}

fn field(block: &[u8; BLOCK], (offset, length): (usize, usize)) -> &[u8] {
    // The constants above are all within a block.
    block.get(offset..offset + length).unwrap_or_default()
}

fn put(block: &mut [u8; BLOCK], (offset, length): (usize, usize), bytes: &[u8]) {
    for (to, from) in block.iter_mut().skip(offset).take(length).zip(bytes) {
        *to = *from;
    }
}

/// The text up to the first NUL; `None` where something follows that, which some readers would take for a part of it.
fn text(field: &[u8]) -> Option<&[u8]> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    let (text, rest) = field.split_at(end);
    rest.iter().all(|byte| *byte == 0).then_some(text)
}

/// Octal digits up to the end or a NUL or space.
fn octal(field: &[u8]) -> Option<u64> {
    let end = field.iter().position(|byte| matches!(byte, 0 | b' ')).unwrap_or(field.len());
    let (digits, rest) = field.split_at(end);
    if digits.is_empty() || rest.iter().any(|byte| !matches!(byte, 0 | b' ')) {
        return None;
    }
    // At most twelve digits, so that 64 bits hold them.
    digits.iter().try_fold(0_u64, |number, digit| match digit {
        b'0'..=b'7' => Some(number << 3 | u64::from(digit - b'0')),
        _ => None,
    })
}

/// The sum of all bytes, with those of the checksum itself taken for spaces.
fn checksum(block: &[u8; BLOCK]) -> u64 {
    let all: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    let own: u64 = field(block, CHECKSUM).iter().map(|byte| u64::from(*byte)).sum();
    all - own + u64::from(b' ') * CHECKSUM.1 as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forged(change: impl FnOnce(&mut [u8; BLOCK])) -> [u8; BLOCK] {
        let mut block = write("ui/a", 5).unwrap();
        change(&mut block);
        let sum = checksum(&block);
        put(&mut block, CHECKSUM, format!("{sum:06o}\0 ").as_bytes());
        block
    }

    #[test]
    fn what_is_written_is_read() {
        for (path, size) in [
            ("a".to_owned(), 0),
            (format!("ui/{}", "b".repeat(96)), 1),
            (format!("{}/{}", "c".repeat(150), "d".repeat(100)), MAX_SIZE),
        ] {
            let header = read(&write(&path, size).unwrap(), 1).unwrap();
            assert_eq!(header, Header { path: path.into_bytes(), size });
        }
        assert_eq!(write(&"e".repeat(101), 0), None);
        assert_eq!(write(&format!("{}/x", "e".repeat(156)), 0), None);
    }

    #[test]
    fn a_header_is_that_of_gnu_tar() {
        // tar --format=ustar --owner=0 --group=0 --numeric-owner --mtime=@0 --mode=0644, size 3.
        let block = write("ui/a", 3).unwrap();
        assert_eq!(&block[..4], b"ui/a");
        assert_eq!(
            &block[100..157],
            b"0000644\x000000000\x000000000\x0000000000003\x0000000000000\x00007756\0 0"
        );
    }

    #[test]
    fn tricks_are_refused() {
        let code = |block: [u8; BLOCK]| read(&block, 1).unwrap_err().code();
        for (flag, expected) in [
            (b'1', "NotAFile"),
            (b'2', "NotAFile"),
            (b'3', "NotAFile"),
            (b'4', "NotAFile"),
            (b'5', "NotAFile"),
            (b'6', "NotAFile"),
            (b'7', "NotAFile"),
            (b'S', "NotAFile"),
            (b'V', "NotAFile"),
            (0, "NotAFile"),
            (b'x', "TarExtension"),
            (b'g', "TarExtension"),
            (b'L', "TarExtension"),
            (b'K', "TarExtension"),
        ] {
            assert_eq!(code(forged(|block| block[156] = flag)), expected, "{}", char::from(flag));
        }
        assert_eq!(code(forged(|block| put(block, MAGIC, b"ustar  \0"))), "TarExtension");
        assert_eq!(code(forged(|block| put(block, MAGIC, &[0; 8]))), "BadHeader");
        assert_eq!(code(forged(|block| block[124] = 0x80)), "TarExtension");
        assert_eq!(code(forged(|block| block[124] = b'-')), "BadHeader");
        assert_eq!(code(forged(|block| block[126] = b' ')), "BadHeader");
        assert_eq!(code(forged(|block| block[90] = b'x')), "BadHeader", "a name behind the name");
        assert_eq!(code(forged(|block| block[157] = b'x')), "BadHeader", "a link name");
        assert_eq!(code(forged(|block| block[511] = 1)), "BadHeader");
        let mut wrong = write("ui/a", 5).unwrap();
        wrong[0] ^= 1;
        assert_eq!(code(wrong), "BadHeader");
    }
}

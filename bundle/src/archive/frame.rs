//! The header of a zstd frame (RFC 8878, section 3.1.1), looked at before zstd sees it.

use super::error::ArchiveError;

/// The most that a header has.
pub(super) const MAX_HEADER: usize = 18;

/// zstd keeps so much of what it has read: 2^23 bytes, which every level up to 19 is content with.
pub(super) const MAX_WINDOW_LOG: u32 = 23;

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Refuses what a bundle's frame never is. Gives the size of the content where the header says it.
pub(super) fn check(beginning: &[u8]) -> Result<Option<u64>, ArchiveError> {
    let mut bytes = beginning.iter().copied();
    let mut next = |count: usize| -> Result<u64, ArchiveError> {
        (0..count).try_fold(0, |number, index| {
            let byte = bytes.next().ok_or(ArchiveError::Truncated)?;
            Ok(number | u64::from(byte) << (8 * index))
        })
    };
    let magic = next(4)?;
    if magic & !0xf == 0x184d_2a50 {
        return Err(ArchiveError::SkippableFrame);
    }
    if magic != u64::from(u32::from_le_bytes(MAGIC)) {
        return Err(ArchiveError::NotZstd);
    }
    let descriptor = next(1)?;
    if descriptor & 0b11 != 0 {
        return Err(ArchiveError::UnsupportedFrame { reason: "needs a dictionary" });
    }
    if descriptor & 0b1000 != 0 {
        return Err(ArchiveError::UnsupportedFrame { reason: "has a reserved bit set" });
    }
    let single_segment = descriptor & 0b10_0000 != 0;
    let window = if single_segment {
        None
    } else {
        let byte = next(1)?;
        let base = 1_u64 << (10 + (byte >> 3));
        Some(base + base / 8 * (byte & 0b111))
    };
    let content = match descriptor >> 6 {
        0 if single_segment => Some(next(1)?),
        0 => None,
        1 => Some(next(2)? + 256),
        2 => Some(next(4)?),
        _ => Some(next(8)?),
    };
    if window.or(content).unwrap_or_default() > 1 << MAX_WINDOW_LOG {
        return Err(ArchiveError::UnsupportedFrame {
            reason: "needs a window of more than 8 MiB; compress with a level up to 19 and without --long",
        });
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(bytes: &[u8]) -> &'static str {
        check(bytes).unwrap_err().code()
    }

    #[test]
    fn only_plain_frames_pass() {
        let frame = |rest: &[u8]| [&MAGIC, rest].concat();
        // Single segment, content size in one byte.
        assert_eq!(check(&frame(&[0b10_0000, 7])).unwrap(), Some(7));
        // A window of 8 MiB, no content size.
        assert_eq!(check(&frame(&[0, 13 << 3])).unwrap(), None);
        assert_eq!(check(&frame(&[0b1000_0000, 13 << 3, 1, 2, 0, 0])).unwrap(), Some(0x201));
        assert_eq!(code(&frame(&[0, (13 << 3) | 1])), "UnsupportedFrame");
        assert_eq!(code(&frame(&[0, 0xff])), "UnsupportedFrame");
        assert_eq!(code(&frame(&[0b1110_0000, 0, 0, 0, 0, 0, 0, 0, 0xff])), "UnsupportedFrame");
        assert_eq!(code(&frame(&[1, 0, 0])), "UnsupportedFrame");
        assert_eq!(code(&frame(&[0b1000, 0])), "UnsupportedFrame");
        assert_eq!(code(&frame(&[])), "Truncated");
        assert_eq!(code(b"\x5f\x2a\x4d\x18\0\0\0\0"), "SkippableFrame");
        assert_eq!(code(b"PK\x03\x04"), "NotZstd");
        // The format of zstd 0.7.
        assert_eq!(code(b"\x27\xb5\x2f\xfd"), "NotZstd");
        assert_eq!(code(b""), "Truncated");
    }
}

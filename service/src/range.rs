//! Which bytes of a file a request asks for (RFC 9110, 14). Pure.

use std::ops::Range;

use axum::http::{
    HeaderMap, HeaderName,
    header::{IF_NONE_MATCH, IF_RANGE, RANGE},
};

/// Which bytes of a file are to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// 200.
    Whole,
    /// 206, with these bytes.
    Part(Range<u64>),
    /// 304.
    NotModified,
    /// 416.
    Unsatisfiable,
}

/// `etag` is that of the file, which has `size` bytes.
#[must_use]
pub fn asked(headers: &HeaderMap, etag: &str, size: u64) -> Asked {
    let values = |name: HeaderName| headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let matches = |value: &str| {
        let value = value.trim();
        value == "*" || value.strip_prefix("W/").unwrap_or(value) == etag
    };
    if values(IF_NONE_MATCH).flat_map(|value| value.split(',')).any(matches) {
        return Asked::NotModified;
    }
    // A weak one, or a date, says nothing of bytes.
    if values(IF_RANGE).any(|value| value.trim() != etag) {
        return Asked::Whole;
    }
    let mut ranges = values(RANGE);
    match (ranges.next(), ranges.next()) {
        (Some(range), None) => part(range, size),
        _ => Asked::Whole,
    }
}

/// Whoever asks for several ranges, or for something that is none, gets the whole file, as the RFC allows.
fn part(range: &str, size: u64) -> Asked {
    let Some((first, last)) = range
        .trim()
        .strip_prefix("bytes=")
        .filter(|ranges| !ranges.contains(','))
        .and_then(|range| range.trim().split_once('-'))
    else {
        return Asked::Whole;
    };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // Further than any file.
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    match (number(first), number(last)) {
        (Some(first), None) if last.is_empty() => within(first, u64::MAX, size),
        (Some(first), Some(last)) if first <= last => within(first, last, size),
        (None, Some(suffix)) if first.is_empty() => {
            if suffix == 0 {
                Asked::Unsatisfiable
            } else {
                within(size.saturating_sub(suffix), u64::MAX, size)
            }
        }
        _ => Asked::Whole,
    }
}

fn within(first: u64, last: u64, size: u64) -> Asked {
    if first >= size {
        return Asked::Unsatisfiable;
    }
    Asked::Part(first..last.saturating_add(1).min(size))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ETAG: &str = "\"sha256:ab\"";

    fn ask(headers: &[(&'static str, &str)], size: u64) -> Asked {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        asked(&map, ETAG, size)
    }

    #[test]
    fn ranges_are_as_the_rfc_has_them() {
        for (range, expected) in [
            ("bytes=0-0", Asked::Part(0..1)),
            ("bytes=2-4", Asked::Part(2..5)),
            ("bytes=2-", Asked::Part(2..10)),
            ("bytes=2-99999999999999999999999", Asked::Part(2..10)),
            ("bytes=-3", Asked::Part(7..10)),
            ("bytes=-30", Asked::Part(0..10)),
            ("bytes=-0", Asked::Unsatisfiable),
            ("bytes=10-", Asked::Unsatisfiable),
            ("bytes=99-100", Asked::Unsatisfiable),
            ("bytes=4-2", Asked::Whole),
            ("bytes=0-1,3-4", Asked::Whole),
            ("bytes=", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("lines=1-2", Asked::Whole),
        ] {
            assert_eq!(ask(&[("range", range)], 10), expected, "{range}");
        }
        assert_eq!(ask(&[("range", "bytes=0-")], 0), Asked::Unsatisfiable);
        assert_eq!(ask(&[], 10), Asked::Whole);
    }

    #[test]
    fn conditions_come_first() {
        for value in [ETAG, "*", "W/\"sha256:ab\"", "\"x\", \"sha256:ab\""] {
            assert_eq!(
                ask(&[("if-none-match", value), ("range", "bytes=0-1")], 10),
                Asked::NotModified,
                "{value}"
            );
        }
        assert_eq!(ask(&[("if-none-match", "\"x\"")], 10), Asked::Whole);
        let part = ("range", "bytes=0-1");
        assert_eq!(ask(&[part, ("if-range", ETAG)], 10), Asked::Part(0..2));
        for other in ["\"x\"", "W/\"sha256:ab\"", "Tue, 03 Nov 2026 12:00:00 GMT"] {
            assert_eq!(ask(&[part, ("if-range", other)], 10), Asked::Whole, "{other}");
        }
    }

    proptest! {
        /// Whatever is asked for, what is answered lies in the file.
        #[test]
        fn a_part_is_never_empty_and_never_beyond_the_end(text in "(bytes=)?[0-9]{0,4}-?[0-9]{0,4}", size in 0u64..2000) {
            if let Asked::Part(range) = ask(&[("range", &text)], size) {
                prop_assert!(range.start < range.end && range.end <= size);
            }
        }
    }
}

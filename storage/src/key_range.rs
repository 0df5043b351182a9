//! Which keys a listing may name, as a range of bytes: there is no pattern, so there is nothing to escape.

/// Keys from `from` on, and before `before`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyRange {
    pub(crate) from: Vec<u8>,
    pub(crate) before: Vec<u8>,
}

/// No byte of UTF-8 is as large.
const ABOVE_ALL: u8 = 0xff;

impl KeyRange {
    /// The keys that begin with `prefix` and come after `after`.
    pub(crate) fn new(prefix: &str, after: Option<&str>) -> Self {
        let prefix = prefix.as_bytes();
        // The least that is more than `after`.
        let after = after.map(|after| [after.as_bytes(), &[0]].concat());
        let from = prefix.to_vec().max(after.unwrap_or_default());
        let mut before = prefix.to_vec();
        match before.last_mut() {
            Some(last) => *last = last.saturating_add(1),
            None => before.push(ABOVE_ALL),
        }
        Self { from, before }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn has(range: &KeyRange, key: &str) -> bool {
        key.as_bytes() >= range.from.as_slice() && key.as_bytes() < range.before.as_slice()
    }

    // Few characters, so that one text is often the beginning of another; among them the least, the largest, and those that
    // mean something in LIKE.
    const TEXT: &str = "[\u{0}a%_\\\\\u{7f}é\u{d7ff}\u{10ffff}]{0,4}";

    proptest! {
        #[test]
        fn is_what_it_says(prefix in TEXT, after in proptest::option::of(TEXT), key in TEXT) {
            let range = KeyRange::new(&prefix, after.as_deref());
            let expected = key.starts_with(&prefix) && after.is_none_or(|after| key > after);
            prop_assert_eq!(has(&range, &key), expected);
        }
    }

    #[test]
    fn no_prefix_is_everything() {
        let all = KeyRange::new("", None);
        for key in ["\0", "a", "\u{10ffff}\u{10ffff}"] {
            assert!(has(&all, key), "{key:?}");
        }
    }
}

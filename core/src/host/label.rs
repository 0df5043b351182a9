//! One label of a DNS name.

/// Why a label is none (RFC 1123, section 2.1: letters, digits, inner hyphens, 1 to 63 characters).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// Two dots in a row, or one at an end.
    #[error("has an empty label: two dots in a row, or one at an end")]
    Empty,
    /// More than 63 characters.
    #[error("has a label of {length} characters, more than 63")]
    TooLong {
        /// How many it has.
        length: usize,
    },
    /// Something other than a letter, a digit or a hyphen.
    #[error("has the character {character:?}: a label is made of letters a-z, digits and hyphens")]
    Character {
        /// The first one that does not belong there.
        character: char,
    },
    /// A hyphen at an end.
    #[error("has a label that begins or ends with a hyphen")]
    Hyphen,
}

const MAX_LABEL_LENGTH: usize = 63;

/// Checks every label of `name`, upper or lower case, and says how many there are.
///
/// # Errors
/// One of them is no label of a DNS name. How long the name may be is for the caller to check.
pub fn check_labels(name: &str) -> Result<usize, LabelError> {
    let mut count = 0;
    for label in name.split('.') {
        check_label(label)?;
        count += 1;
    }
    Ok(count)
}

/// Checks one label, upper or lower case.
///
/// # Errors
/// It is no label of a DNS name.
pub fn check_label(label: &str) -> Result<(), LabelError> {
    if label.is_empty() {
        return Err(LabelError::Empty);
    }
    // Characters before length: the length of a label in another script means nothing to the one who reads the error.
    if let Some(character) = label.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '-') {
        return Err(LabelError::Character { character });
    }
    if label.len() > MAX_LABEL_LENGTH {
        return Err(LabelError::TooLong { length: label.len() });
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(LabelError::Hyphen);
    }
    Ok(())
}

/// Whether `label`, as the last of a name, makes the name an IPv4 address in the eyes of URL parsers and resolvers (the WHATWG URL
/// standard's "ends in a number"): it is decimal, or hexadecimal after `0x`.
#[must_use]
pub fn is_number(label: &str) -> bool {
    let hexadecimal = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    match hexadecimal {
        Some(digits) => digits.chars().all(|c| c.is_ascii_hexdigit()),
        None => label.chars().all(|c| c.is_ascii_digit()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_labels() {
        assert_eq!(check_labels("localhost"), Ok(1));
        assert_eq!(check_labels("a-1.EXAMPLE.com"), Ok(3));
        assert_eq!(check_labels(&"a".repeat(63)), Ok(1));
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(check_labels(""), Err(LabelError::Empty));
        assert_eq!(check_labels("a..b"), Err(LabelError::Empty));
        assert_eq!(check_labels(".a"), Err(LabelError::Empty));
        assert_eq!(check_labels(&"a".repeat(64)), Err(LabelError::TooLong { length: 64 }));
        assert_eq!(check_labels("a_b"), Err(LabelError::Character { character: '_' }));
        assert_eq!(check_labels("bücher.de"), Err(LabelError::Character { character: 'ü' }));
        assert_eq!(check_labels("a.-b"), Err(LabelError::Hyphen));
        assert_eq!(check_labels("a-.b"), Err(LabelError::Hyphen));
    }

    #[test]
    fn numbers_are_told_from_names() {
        for number in ["0", "127", "0177", "0x7f", "0X7F", "0x"] {
            assert!(is_number(number), "{number}");
        }
        for name in ["com", "1a", "0xz", "x1", "7f"] {
            assert!(!is_number(name), "{name}");
        }
    }
}

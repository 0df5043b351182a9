//! The short form of a name that fits into a host name.

use std::fmt;

/// One to twelve characters of a–z, 0–9 and single inner dashes: safe as a part of a DNS label.
///
/// The rule is issue 3's, "Host names". A slug of a slug is the same slug.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slug(String);

/// Why no slug can be made of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SlugError {
    /// Nothing is left once every other character is dropped.
    #[error("has no letter a-z and no digit 0-9, so it gives an empty slug")]
    Empty,
}

impl Slug {
    /// The most characters that a slug has.
    pub const MAX_LENGTH: usize = 12;

    /// The slug of `text`: lower case, every run of other characters than a–z and 0–9 becomes one `-`, none at either
    /// end, then cut to [`Self::MAX_LENGTH`] without leaving a `-` at the cut.
    ///
    /// Different texts may share a slug; whoever needs them apart must look for conflicts.
    ///
    /// # Errors
    /// [`SlugError::Empty`] when `text` has no letter a–z and no digit.
    pub fn of(text: &str) -> Result<Self, SlugError> {
        let mut slug = String::with_capacity(Self::MAX_LENGTH);
        let mut dash_due = false;
        // Dashes are written only before a character that follows, so that none is ever at an end, and what lies
        // behind the cut is never looked at: a megabyte of input costs no more than its lower-casing up to there.
        for character in text.chars().flat_map(char::to_lowercase) {
            if !character.is_ascii_lowercase() && !character.is_ascii_digit() {
                dash_due = !slug.is_empty();
                continue;
            }
            if slug.len() + usize::from(dash_due) >= Self::MAX_LENGTH {
                break;
            }
            if dash_due {
                slug.push('-');
                dash_due = false;
            }
            slug.push(character);
        }
        if slug.is_empty() { Err(SlugError::Empty) } else { Ok(Self(slug)) }
    }

    /// The slug as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl AsRef<str> for Slug {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slug(text: &str) -> String {
        Slug::of(text).unwrap().to_string()
    }

    #[test]
    fn runs_of_other_characters_become_one_dash() {
        assert_eq!(slug("Acme Corp."), "acme-corp");
        assert_eq!(slug("a___b"), "a-b");
        assert_eq!(slug("a -- b"), "a-b");
        assert_eq!(slug("größe"), "gr-e");
    }

    #[test]
    fn no_dash_at_either_end() {
        assert_eq!(slug("--acme--"), "acme");
        assert_eq!(slug("!!!a!!!"), "a");
    }

    #[test]
    fn is_cut_to_twelve() {
        assert_eq!(slug("abcdefghijklmnop"), "abcdefghijkl");
        assert_eq!(slug("--abcdefghijklmnop"), "abcdefghijkl", "the ends are trimmed before the cut");
    }

    #[test]
    fn a_cut_leaves_no_dash_at_the_end() {
        assert_eq!(slug("abcdefghijk-lmn"), "abcdefghijk");
        assert_eq!(slug("abcdefghijk--------lmn"), "abcdefghijk");
        assert_eq!(slug("abcdefghij-klmn"), "abcdefghij-k");
    }

    #[test]
    fn nothing_left_is_an_error() {
        for text in ["", "-", "---", "  ", "日本", "._~"] {
            assert_eq!(Slug::of(text), Err(SlugError::Empty), "{text:?}");
        }
    }
}

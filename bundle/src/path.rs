//! Names of files in a bundle.

use std::fmt;

use icu_casemap::CaseMapper;
use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};

use crate::shown::{is_invisible, shown};

/// Where the manifest is.
pub const MANIFEST: &str = "manifest.json";
/// Where the component is.
pub const COMPONENT: &str = "main.wasm";
/// Where the software bill of materials is, if there is one.
pub const SBOM: &str = "sbom.json";
/// What the files of the UI begin with.
pub const UI: &str = "ui/";

/// A path that means one file in a bundle, on every file system and in every URL: relative, below the bundle's root, in Unicode's form NFC.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundlePath(String);

/// Why a path is unsafe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// No UTF-8.
    #[error("is no UTF-8")]
    NotUtf8,
    /// It begins with a slash.
    #[error("is absolute")]
    Absolute,
    /// A segment `..`.
    #[error("has a segment .., which leads out")]
    Parent,
    /// A segment `.`, or one with nothing in it.
    #[error("has an empty segment or one that is a dot")]
    Segment,
    /// A control character, NUL among them.
    #[error("has a control character")]
    Control,
    /// A character that is not seen or turns the direction of writing.
    #[error("has an invisible character")]
    Invisible,
    /// A character that a file system or a URL gives a meaning.
    #[error("has {character:?}, which file systems or URLs read as something else")]
    Character {
        /// The character.
        character: char,
    },
    /// It ends in what Windows drops.
    #[error("has a segment that ends in a dot or begins or ends with a space, which Windows drops")]
    Trimmed,
    /// The name of a device on Windows.
    #[error("has a segment that Windows takes for a device")]
    Device,
    /// A segment that file systems do not hold.
    #[error("has a segment of more than 255 bytes")]
    SegmentTooLong,
    /// Another Unicode form of the same name.
    #[error("is not in Unicode's form NFC; rename the file")]
    NotNfc,
}

/// A backslash separates on Windows and a colon names its drives and streams; the others are what URLs and shells read,
/// and `%` would be decoded once more by whoever decodes twice.
const REFUSED: &[char] = &['\\', ':', '*', '?', '"', '<', '>', '|', '%', '#'];

impl BundlePath {
    /// Reads a path as an archive has it.
    ///
    /// # Errors
    /// [`PathError`] says why the path is unsafe.
    pub fn parse(bytes: &[u8]) -> Result<Self, PathError> {
        let text = str::from_utf8(bytes).map_err(|_| PathError::NotUtf8)?;
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        if text.starts_with('/') {
            return Err(PathError::Absolute);
        }
        for character in text.chars() {
            if character.is_control() {
                return Err(PathError::Control);
            }
            if is_invisible(character) {
                return Err(PathError::Invisible);
            }
            if REFUSED.contains(&character) {
                return Err(PathError::Character { character });
            }
        }
        text.split('/').try_for_each(check_segment)?;
        if !ComposingNormalizerBorrowed::new_nfc().is_normalized(text) {
            return Err(PathError::NotNfc);
        }
        Ok(Self(text.to_owned()))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How many segments it has.
    pub fn depth(&self) -> usize {
        self.0.split('/').count()
    }

    /// Whether a bundle may have a file there.
    pub fn is_known(&self) -> bool {
        matches!(self.as_str(), MANIFEST | COMPONENT | SBOM) || self.0.starts_with(UI)
    }

    /// What two paths have in common that some file system takes for one: the path without case and without the
    /// differences that Unicode calls compatible (UAX #15 and the default caseless matching of the standard's chapter 3.13).
    pub(crate) fn collision_key(&self) -> String {
        let decompose = DecomposingNormalizerBorrowed::new_nfkd();
        // Folding can bring forth what decomposes, and decomposing what folds: twice is what the standard asks for.
        (0..2).fold(decompose.normalize(&self.0).into_owned(), |text, _| {
            decompose.normalize(&CaseMapper::new().fold_string(&text)).into_owned()
        })
    }
}

fn check_segment(segment: &str) -> Result<(), PathError> {
    if segment == ".." {
        return Err(PathError::Parent);
    }
    if matches!(segment, "" | ".") {
        return Err(PathError::Segment);
    }
    if segment.len() > 255 {
        return Err(PathError::SegmentTooLong);
    }
    if segment.ends_with('.')
        || segment.starts_with(char::is_whitespace)
        || segment.ends_with(char::is_whitespace)
    {
        return Err(PathError::Trimmed);
    }
    if is_device(segment) {
        return Err(PathError::Device);
    }
    Ok(())
}

/// Windows opens the device for `con`, `CON.txt` and `com¹` in any folder.
fn is_device(segment: &str) -> bool {
    let stem = segment.split('.').next().unwrap_or(segment).trim_end().to_ascii_lowercase();
    if matches!(stem.as_str(), "con" | "prn" | "aux" | "nul" | "conin$" | "conout$") {
        return true;
    }
    let number = stem.strip_prefix("com").or_else(|| stem.strip_prefix("lpt"));
    number.is_some_and(|number| {
        let mut characters = number.chars();
        matches!((characters.next(), characters.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
    })
}

impl serde::Serialize for BundlePath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Display for BundlePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&shown(self.0.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_pass() {
        for path in [
            "manifest.json",
            "ui/index.html",
            "ui/a b/.well-known/x.tar.gz",
            "ui/größe/日本.js",
            "ui/~[id]@2x.png",
        ] {
            assert_eq!(BundlePath::parse(path.as_bytes()).unwrap().as_str(), path);
        }
    }

    #[test]
    fn unsafe_names_are_refused() {
        use PathError::{
            Absolute, Character, Control, Device, Empty, Invisible, NotNfc, NotUtf8, Parent, Segment,
            SegmentTooLong, Trimmed,
        };
        let long = format!("ui/{}", "a".repeat(256));
        let cases: &[(&[u8], PathError)] = &[
            (b"", Empty),
            (b"ui/\xff", NotUtf8),
            // An overlong slash.
            (b"ui/..\xc0\xafx", NotUtf8),
            (b"/etc/passwd", Absolute),
            (b"//host/share", Absolute),
            (b"../x", Parent),
            (b"ui/../../x", Parent),
            (b"ui/..", Parent),
            (b"./ui/x", Segment),
            (b"ui/./x", Segment),
            (b"ui//x", Segment),
            (b"ui/", Segment),
            (b".", Segment),
            (b"ui/a\0b", Control),
            (b"ui/a\nb", Control),
            ("ui/a\u{85}b".as_bytes(), Control),
            ("ui/a\u{200d}b".as_bytes(), Invisible),
            ("ui/\u{202e}lmth.x".as_bytes(), Invisible),
            (b"C:\\x", Character { character: ':' }),
            (b"ui\\x", Character { character: '\\' }),
            (b"ui\\..\\x", Character { character: '\\' }),
            (b"ui/x:stream", Character { character: ':' }),
            (b"ui/%2e%2e/x", Character { character: '%' }),
            (b"ui/x.", Trimmed),
            (b"ui/x ", Trimmed),
            (b"ui/ x", Trimmed),
            (b"ui/...", Trimmed),
            (b"ui/con", Device),
            (b"ui/AUX.js", Device),
            (b"ui/Com1", Device),
            ("ui/lpt².txt".as_bytes(), Device),
            (b"ui/nul .txt", Device),
            (long.as_bytes(), SegmentTooLong),
            ("ui/e\u{301}".as_bytes(), NotNfc),
        ];
        for (path, error) in cases {
            assert_eq!(BundlePath::parse(path), Err(*error), "{:?}", String::from_utf8_lossy(path));
        }
        assert!(BundlePath::parse(b"ui/com10").is_ok());
        assert!(BundlePath::parse(b"ui/console.js").is_ok());
    }

    #[test]
    fn names_that_some_file_system_takes_for_one_share_a_key() {
        let key = |path: &str| BundlePath::parse(path.as_bytes()).unwrap().collision_key();
        for (one, other) in [
            ("ui/README", "ui/readme"),
            ("ui/straße", "ui/STRASSE"),
            ("ui/É", "ui/é"),
            // The Kelvin sign is not NFC, but its like, the long s, is.
            ("ui/ſ", "ui/S"),
            ("ui/ﬁle", "ui/FILE"),
            ("ui/x²", "ui/x2"),
            ("ui/Ａ", "ui/a"),
        ] {
            assert_eq!(key(one), key(other), "{one} {other}");
        }
        assert_ne!(key("ui/a"), key("ui/b"));
        assert_ne!(key("ui/é"), key("ui/e"));
    }
}

//! Names that strangers chose, made fit for a message.

/// Longer names are cut: a message is read by a person, and may be stored in an object's status.
const MAX_SHOWN: usize = 120;

/// `bytes` as text that can neither forge a log line nor turn a terminal around.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == MAX_SHOWN {
            shown.push('…');
            break;
        }
        if character.is_control() || is_invisible(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Characters that are not seen, or that change how others are seen: with them two names look like one.
pub(crate) fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_is_short_and_on_one_line() {
        assert_eq!(shown(b"ui/index.html"), "ui/index.html");
        assert_eq!(shown("a\nb\u{202e}c".as_bytes()), "a\\u{a}b\\u{202e}c");
        assert_eq!(shown(b"\xff"), "\u{fffd}");
        assert_eq!(shown("é".repeat(200).as_bytes()).chars().count(), MAX_SHOWN + 1);
    }
}

//! Texts of others on a person's terminal.

/// `text` in one line: what moves the cursor, changes colours, breaks lines or turns the direction of writing becomes
/// a space, and runs of spaces one. Messages come from the API, and whoever can write one must not draw on a terminal.
pub(crate) fn one_line(text: &str) -> String {
    let harmless = |c: char| if c.is_control() || is_invisible(c) { ' ' } else { c };
    let text: String = text.chars().map(harmless).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Line and paragraph separators, zero-width characters and the marks that turn the direction of writing.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{61c}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_draws_on_the_terminal() {
        assert_eq!(one_line("a\x1b[31mred\r\nb\u{202e}c\u{9b}d"), "a [31mred b c d");
        assert_eq!(one_line("  größe – 日本  "), "größe – 日本");
    }
}

//! What others chose, made fit for a message.

/// One line of at most 200 characters: text of a publisher or of the compiler about them can be long, and can try to look like
/// another line of the log.
pub(crate) fn line(text: impl std::fmt::Display) -> String {
    let text = text.to_string();
    let mut shown = String::new();
    for character in text.chars().take(200) {
        shown.push(if character.is_control() { ' ' } else { character });
    }
    if text.chars().nth(200).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_short_line() {
        assert_eq!(line("a\nb\u{1b}[2J"), "a b [2J");
        assert_eq!(line("é".repeat(200)), "é".repeat(200));
        assert_eq!(line("é".repeat(201)), format!("{}…", "é".repeat(200)));
    }
}

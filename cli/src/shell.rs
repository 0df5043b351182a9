//! Words for a shell.

/// The word as a POSIX shell reads it back unchanged.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_for_the_shell() {
        for (word, expected) in [
            ("a-b.c/d:e", "a-b.c/d:e"),
            ("", "''"),
            ("a b", "'a b'"),
            ("$(reboot)", "'$(reboot)'"),
            ("it's", r"'it'\''s'"),
            (r#"{"spec":{}}"#, r#"'{"spec":{}}'"#),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}

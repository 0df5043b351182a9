//! What the extension answers. Nothing here knows WebAssembly, so that `cargo test` tries it on your machine.

use std::fmt::Write as _;

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// JSON.
    pub body: String,
}

/// Answers a request: its method, and its path as the manifest's endpoints have it, without a query.
pub fn answer(method: &str, path: &str) -> Answer {
    match (method, path.strip_prefix("/hello/")) {
        // One segment, as the parameter of the endpoint is.
        ("GET", Some(who)) if !who.is_empty() && !who.contains('/') => Answer {
            status: 200,
            body: [
                "{\"greeting\":",
                &json_text(&format!("Hello, {}!", decoded(who))),
                "}",
            ]
            .concat(),
        },
        _ => Answer {
            status: 404,
            body: "{\"error\":\"there is nothing here\"}".to_owned(),
        },
    }
}

/// A segment of a path without its percent signs.
fn decoded(segment: &str) -> String {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail.get(..2).and_then(|code| str::from_utf8(code).ok());
        let code = code.filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A text as JSON has it.
fn json_text(text: &str) -> String {
    let mut json = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            character if character < ' ' => {
                // A String takes whatever is written.
                let _ = write!(json, "\\u{:04x}", u32::from(character));
            }
            character => json.push(character),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greets_by_name() {
        let said = |path| answer("GET", path).body;
        assert_eq!(said("/hello/Ada"), r#"{"greeting":"Hello, Ada!"}"#);
        assert_eq!(
            said("/hello/J%C3%BCrgen%20%22x%22"),
            r#"{"greeting":"Hello, Jürgen \"x\"!"}"#
        );
        assert_eq!(said("/hello/100%"), r#"{"greeting":"Hello, 100%!"}"#);
    }

    #[test]
    fn knows_nothing_else() {
        for (method, path) in [
            ("GET", "/"),
            ("POST", "/hello/Ada"),
            ("GET", "/hello/"),
            ("GET", "/hello/a/b"),
        ] {
            assert_eq!(answer(method, path).status, 404, "{method} {path}");
        }
    }
}

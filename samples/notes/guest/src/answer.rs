//! What the extension answers.

use serde::{Deserialize, Serialize};

use crate::{Store, StoreError};

/// The longest note, in bytes.
pub const MAX_TEXT_BYTES: usize = 2000;

/// The most notes of a workspace. Each is a value of its own, and a page shows all of them.
pub const MAX_NOTES: u32 = 100;

const PREFIX: &str = "note/";

/// What was asked.
pub struct Request<'a> {
    pub method: &'a str,
    /// As the manifest's endpoints have it, without a query.
    pub path: &'a str,
    pub body: &'a [u8],
    /// The tenant, as the host names it. What a caller says of themselves is not asked.
    pub tenant: &'a str,
    /// The id that a new note gets: unique, and in the order of time.
    pub new_id: &'a str,
}

/// What is answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// JSON, or nothing.
    pub body: String,
}

#[derive(Serialize, Deserialize)]
struct Note {
    id: String,
    text: String,
}

#[derive(Serialize)]
struct Notes<'a> {
    tenant: &'a str,
    notes: Vec<Note>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewNote {
    text: String,
}

/// Answers a request.
pub fn answer(store: &mut impl Store, request: &Request<'_>) -> Answer {
    let segments: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
    let answered = match (request.method, segments.as_slice()) {
        ("GET", ["notes"]) => list(store, request),
        ("POST", ["notes"]) => add(store, request),
        ("DELETE", ["notes", id]) => delete(store, id),
        _ => return problem(404, "there is nothing here"),
    };
    answered.unwrap_or_else(|error| match error {
        StoreError::Full => problem(507, "this workspace has no more room for notes"),
        StoreError::Unavailable => problem(503, "notes cannot be read or written now"),
    })
}

fn list(store: &impl Store, request: &Request<'_>) -> Result<Answer, StoreError> {
    let mut notes = Vec::new();
    for key in store.keys(PREFIX, MAX_NOTES)? {
        // One that was deleted meanwhile is not there any more, and one that is no note is left out: the page is for the rest.
        let Some(value) = store.get(&key)? else { continue };
        notes.extend(serde_json::from_slice::<Note>(&value));
    }
    Ok(json(200, &Notes { tenant: request.tenant, notes }))
}

fn add(store: &mut impl Store, request: &Request<'_>) -> Result<Answer, StoreError> {
    let Ok(NewNote { text }) = serde_json::from_slice(request.body) else {
        return Ok(problem(400, "the body is not {\"text\": \"…\"}"));
    };
    let text = text.trim();
    if text.is_empty() || text.len() > MAX_TEXT_BYTES {
        return Ok(problem(400, "a note has 1 to 2000 bytes"));
    }
    if store.keys(PREFIX, MAX_NOTES)?.len() >= MAX_NOTES as usize {
        return Ok(problem(409, "this workspace has 100 notes already; delete one first"));
    }
    let note = Note { id: request.new_id.to_owned(), text: text.to_owned() };
    let value = serde_json::to_vec(&note).unwrap_or_default();
    if store.insert(&format!("{PREFIX}{}", note.id), &value)? {
        Ok(json(201, &note))
    } else {
        Ok(problem(409, "two notes in one moment; try again"))
    }
}

fn delete(store: &mut impl Store, id: &str) -> Result<Answer, StoreError> {
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Ok(problem(404, "there is no such note"));
    }
    store.delete(&format!("{PREFIX}{id}"))?;
    Ok(Answer { status: 204, body: String::new() })
}

fn json(status: u16, value: &impl Serialize) -> Answer {
    // Texts and lists of them can always be written.
    Answer { status, body: serde_json::to_string(value).unwrap_or_default() }
}

fn problem(status: u16, error: &str) -> Answer {
    json(status, &serde_json::json!({ "error": error }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Default)]
    struct Memory {
        values: BTreeMap<String, Vec<u8>>,
        broken: Option<StoreError>,
    }

    impl Memory {
        fn works(&self) -> Result<(), StoreError> {
            self.broken.map_or(Ok(()), Err)
        }
    }

    impl Store for Memory {
        fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
            self.works().map(|()| self.values.get(key).cloned())
        }

        fn insert(&mut self, key: &str, value: &[u8]) -> Result<bool, StoreError> {
            self.works()?;
            if self.values.contains_key(key) {
                return Ok(false);
            }
            self.values.insert(key.to_owned(), value.to_vec());
            Ok(true)
        }

        fn delete(&mut self, key: &str) -> Result<(), StoreError> {
            self.works()?;
            self.values.remove(key);
            Ok(())
        }

        fn keys(&self, prefix: &str, limit: u32) -> Result<Vec<String>, StoreError> {
            self.works()?;
            let keys = self.values.keys().filter(|key| key.starts_with(prefix));
            Ok(keys.take(limit as usize).cloned().collect())
        }
    }

    fn ask(store: &mut Memory, method: &str, path: &str, body: &str, new_id: &str) -> Answer {
        let request = Request { method, path, body: body.as_bytes(), tenant: "acme", new_id };
        answer(store, &request)
    }

    #[test]
    fn what_is_written_is_listed_in_order_and_can_be_deleted() {
        let mut store = Memory::default();
        assert_eq!(ask(&mut store, "POST", "/notes", r#"{"text":" second "}"#, "2").status, 201);
        let made = ask(&mut store, "POST", "/notes", r#"{"text":"first"}"#, "1");
        assert_eq!((made.status, made.body.as_str()), (201, r#"{"id":"1","text":"first"}"#));
        let listed = ask(&mut store, "GET", "/notes", "", "");
        assert_eq!(
            listed.body,
            r#"{"tenant":"acme","notes":[{"id":"1","text":"first"},{"id":"2","text":"second"}]}"#
        );
        assert_eq!(ask(&mut store, "DELETE", "/notes/1", "", "").status, 204);
        assert_eq!(ask(&mut store, "DELETE", "/notes/1", "", "").status, 204);
        let listed = ask(&mut store, "GET", "/notes", "", "");
        assert_eq!(listed.body, r#"{"tenant":"acme","notes":[{"id":"2","text":"second"}]}"#);
    }

    #[test]
    fn what_is_no_note_is_refused() {
        let mut store = Memory::default();
        let long = format!(r#"{{"text":"{}"}}"#, "x".repeat(MAX_TEXT_BYTES + 1));
        for body in ["", "text", "{}", r#"{"text":" "}"#, r#"{"text":"a","id":"b"}"#, &long] {
            assert_eq!(ask(&mut store, "POST", "/notes", body, "1").status, 400, "{body}");
        }
        assert!(store.values.is_empty());
    }

    #[test]
    fn there_are_only_so_many_and_none_is_overwritten() {
        let mut store = Memory::default();
        for number in 0..MAX_NOTES {
            let id = format!("{number:03}");
            assert_eq!(ask(&mut store, "POST", "/notes", r#"{"text":"a"}"#, &id).status, 201);
        }
        assert_eq!(ask(&mut store, "POST", "/notes", r#"{"text":"a"}"#, "999").status, 409);
        assert_eq!(ask(&mut store, "DELETE", "/notes/000", "", "").status, 204);
        assert_eq!(ask(&mut store, "POST", "/notes", r#"{"text":"b"}"#, "001").status, 409);
        assert_eq!(ask(&mut store, "POST", "/notes", r#"{"text":"b"}"#, "999").status, 201);
    }

    #[test]
    fn nothing_else_is_there() {
        let mut store = Memory::default();
        for (method, path) in [
            ("GET", "/"),
            ("PUT", "/notes"),
            ("GET", "/notes/1"),
            ("DELETE", "/notes/../x"),
            ("DELETE", "/notes/"),
        ] {
            assert_eq!(ask(&mut store, method, path, "", "").status, 404, "{method} {path}");
        }
    }

    #[test]
    fn a_store_that_fails_is_told() {
        for (broken, status) in [(StoreError::Full, 507), (StoreError::Unavailable, 503)] {
            let mut store = Memory { broken: Some(broken), ..Memory::default() };
            assert_eq!(ask(&mut store, "GET", "/notes", "", "").status, status);
            assert_eq!(ask(&mut store, "POST", "/notes", r#"{"text":"a"}"#, "1").status, status);
        }
    }
}

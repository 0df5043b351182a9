//! What the extension answers, on your machine: `cargo test`.

use std::collections::BTreeMap;

use annex_sample_notes::{MAX_BODY_BYTES, MAX_NOTES, MAX_TEXT, PAGE, Request, Store, StoreError, answer};
use serde_json::{Value, json};

/// Keeps values in memory, where the host would keep them in its store.
#[derive(Default)]
struct Memory {
    values: BTreeMap<String, Vec<u8>>,
    /// Every operation fails with this.
    broken: Option<StoreError>,
    /// What somebody else writes at each key, just before we do.
    faster: Option<Option<Vec<u8>>>,
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

    fn replace(&mut self, key: &str, expected: Option<&[u8]>, value: &[u8]) -> Result<bool, StoreError> {
        self.works()?;
        match self.faster.take() {
            Some(Some(theirs)) => drop(self.values.insert(key.to_owned(), theirs)),
            Some(None) => drop(self.values.remove(key)),
            None => {}
        }
        if self.values.get(key).map(Vec::as_slice) != expected {
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

    fn keys(&self, prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<String>, StoreError> {
        self.works()?;
        let keys = self
            .values
            .keys()
            .filter(|key| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after));
        Ok(keys.take(limit as usize).cloned().collect())
    }
}

/// Someone who asks, one millisecond after the other.
#[derive(Default)]
struct Caller {
    store: Memory,
    now: u64,
}

impl Caller {
    fn ask(&mut self, method: &str, target: &str, body: &str) -> (u16, Value) {
        self.now += 1;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let body = body.as_bytes();
        let request = Request { method, path, query, body, tenant: "acme", now: self.now, random: 7 };
        let answer = answer(&mut self.store, &request);
        let body =
            if answer.body.is_empty() { Value::Null } else { serde_json::from_str(&answer.body).unwrap() };
        (answer.status, body)
    }

    fn add(&mut self, text: &str) -> Value {
        let (status, note) = self.ask("POST", "/notes", &json!({ "text": text }).to_string());
        assert_eq!(status, 201, "{note}");
        note
    }

    fn change(&mut self, id: &str, text: &str, version: u32) -> (u16, Value) {
        self.ask("PUT", &format!("/notes/{id}"), &json!({ "text": text, "version": version }).to_string())
    }

    fn is_refused(&mut self, method: &str, target: &str, body: &str, status: u16, code: &str) {
        let (answered, told) = self.ask(method, target, body);
        assert_eq!((answered, told["code"].as_str()), (status, Some(code)), "{method} {target} {body}");
        assert!(told["message"].as_str().is_some_and(|message| !message.is_empty()));
    }
}

fn id(note: &Value) -> String {
    note["id"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_written_is_listed_the_newest_first_and_can_be_deleted() {
    let mut caller = Caller::default();
    let first = caller.add("first");
    let second = caller.add(" second\r\nline ");
    assert_eq!(
        (&second["text"], &second["written"], &second["version"]),
        (&json!("second\nline"), &json!(2), &json!(1))
    );
    let (status, listed) = caller.ask("GET", "/notes", "");
    assert_eq!((status, &listed), (200, &json!({ "tenant": "acme", "notes": [second, first] })));
    let path = format!("/notes/{}", id(&first));
    assert_eq!(caller.ask("DELETE", &path, ""), (204, Value::Null));
    assert_eq!(caller.ask("DELETE", &path, ""), (204, Value::Null), "it is as good as deleted");
    assert_eq!(caller.ask("GET", "/notes", "").1["notes"], json!([second]));
}

#[test]
fn pages_follow_one_another_and_miss_none() {
    let mut caller = Caller::default();
    let mut written: Vec<String> =
        (0..PAGE * 2 + 1).map(|number| id(&caller.add(&number.to_string()))).collect();
    written.reverse();
    let (mut seen, mut sizes, mut target) = (Vec::new(), Vec::new(), "/notes".to_owned());
    loop {
        let (status, page) = caller.ask("GET", &target, "");
        assert_eq!(status, 200);
        let notes = page["notes"].as_array().unwrap();
        seen.extend(notes.iter().map(id));
        sizes.push(notes.len());
        let Some(next) = page["next"].as_str() else { break };
        target = format!("/notes?x=y&after={next}");
    }
    assert_eq!((seen, sizes), (written, vec![PAGE as usize, PAGE as usize, 1]));
    caller.is_refused("GET", "/notes?after=..%2Fsecret", "", 404, "NotFound");
}

#[test]
fn nobody_writes_over_what_they_have_not_seen() {
    let mut caller = Caller::default();
    let note = caller.add("one");
    let (status, changed) = caller.change(&id(&note), "two", 1);
    assert_eq!((status, &changed["text"], &changed["version"]), (200, &json!("two"), &json!(2)));
    let (status, told) = caller.change(&id(&note), "three", 1);
    assert_eq!((status, &told["code"], &told["note"]), (409, &json!("Changed"), &changed));

    // The same, by somebody who comes between reading and writing.
    let theirs = json!({ "id": note["id"], "text": "theirs", "written": 1, "version": 3 });
    caller.store.faster = Some(Some(theirs.to_string().into_bytes()));
    let (status, told) = caller.change(&id(&note), "mine", 2);
    assert_eq!((status, &told["note"]), (409, &theirs));
    caller.store.faster = Some(None);
    assert_eq!(caller.change(&id(&note), "mine", 3).0, 404);
    assert!(caller.store.values.is_empty());
}

#[test]
fn what_is_no_note_is_refused() {
    let mut caller = Caller::default();
    for body in [
        "",
        "text",
        "{}",
        r#"{"text":" "}"#,
        r#"{"text":"a","id":"b"}"#,
        r#"{"text":"\u0000"}"#,
        r#"{"text":1}"#,
    ] {
        caller.is_refused("POST", "/notes", body, 400, "Invalid");
    }
    // A character outside the basic plane counts twice, as it does in a browser.
    let longest = "😀".repeat(MAX_TEXT / 2);
    let long = json!({ "text": format!("{longest}x") }).to_string();
    caller.is_refused("POST", "/notes", &long, 413, "TooLarge");
    caller.is_refused("POST", "/notes", &format!("\"{}\"", "x".repeat(MAX_BODY_BYTES)), 413, "TooLarge");
    assert!(caller.store.values.is_empty());
    let note = caller.add(&longest);
    for body in [r#"{"text":"a"}"#, r#"{"version":1}"#, r#"{"text":"","version":1}"#] {
        caller.is_refused("PUT", &format!("/notes/{}", id(&note)), body, 400, "Invalid");
    }
    assert_eq!(caller.ask("GET", "/notes", "").1["notes"], json!([note]));
}

#[test]
fn there_are_only_so_many() {
    let mut caller = Caller::default();
    let first = caller.add("a");
    for _ in 1..MAX_NOTES {
        caller.add("a");
    }
    caller.is_refused("POST", "/notes", r#"{"text":"a"}"#, 409, "TooMany");
    caller.ask("DELETE", &format!("/notes/{}", id(&first)), "");
    caller.add("a");
}

#[test]
fn two_of_one_moment_are_not_one() {
    let mut caller = Caller::default();
    let note = caller.add("mine");
    caller.now -= 1;
    caller.is_refused("POST", "/notes", r#"{"text":"theirs"}"#, 503, "Unavailable");
    assert_eq!(caller.ask("GET", "/notes", "").1["notes"], json!([note]));
}

#[test]
fn nothing_else_is_there() {
    let mut caller = Caller::default();
    for (method, path) in [
        ("GET", "/"),
        ("PUT", "/notes"),
        ("GET", "/notes/1"),
        ("DELETE", "/notes/../x"),
        ("DELETE", "/notes/"),
        ("DELETE", &format!("/notes/{}", "1".repeat(41))),
    ] {
        caller.is_refused(method, path, "", 404, "NotFound");
    }
    assert_eq!(caller.change("1", "a", 1).0, 404);
}

#[test]
fn a_store_that_fails_is_told_and_what_is_no_note_is_left_out() {
    let mut caller = Caller::default();
    caller.store.values.insert("note/0".into(), b"rubbish".to_vec());
    assert_eq!(caller.ask("GET", "/notes", ""), (200, json!({ "tenant": "acme", "notes": [] })));
    for (broken, status, code) in
        [(StoreError::Full, 507, "Full"), (StoreError::Unavailable, 503, "Unavailable")]
    {
        caller.store.broken = Some(broken);
        caller.is_refused("GET", "/notes", "", status, code);
        caller.is_refused("POST", "/notes", r#"{"text":"a"}"#, status, code);
        caller.is_refused("PUT", "/notes/1", r#"{"text":"a","version":1}"#, status, code);
        caller.is_refused("DELETE", "/notes/1", "", status, code);
    }
}

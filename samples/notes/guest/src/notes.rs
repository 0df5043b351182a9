//! What notes are, and what can be done with them.

use serde::{Deserialize, Serialize};

use crate::answer::Problem;
use crate::{Store, StoreError};

/// The longest note, in UTF-16 units: so counts `maxlength` in the page, too.
pub const MAX_TEXT: usize = 500;
/// The most notes of a workspace. With an end, nobody fills the storage of all by mistake.
pub const MAX_NOTES: u32 = 500;
/// Notes on a page. Each is a value of its own, and takes a read.
pub const PAGE: u32 = 20;

const PREFIX: &str = "note/";
/// Above every moment that this code will see, in 14 digits.
const END_OF_TIME: u64 = 99_999_999_999_999;

/// A note, as it is stored and as it is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    pub id: String,
    pub text: String,
    /// Milliseconds since 1970.
    pub written: u64,
    /// Counts up with each change.
    pub version: u32,
}

/// Some of the notes, the newest first.
#[derive(Serialize)]
pub struct Page {
    notes: Vec<Note>,
    /// After which one the next page begins. None: this was the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewNote {
    text: String,
}

/// Another text for a note that was read at a version.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    text: String,
    version: u32,
}

pub fn list(store: &impl Store, after: Option<&str>) -> Result<Page, Problem> {
    let after = after.map(key).transpose()?;
    // One more than is shown tells whether there are more.
    let mut keys = store.keys(PREFIX, after.as_deref(), PAGE + 1)?;
    let is_last = keys.len() <= PAGE as usize;
    keys.truncate(PAGE as usize);
    let next = keys.last().filter(|_| !is_last).and_then(|key| key.strip_prefix(PREFIX)).map(str::to_owned);
    let mut notes = Vec::new();
    for key in keys {
        // One that was deleted meanwhile is not there any more, and one that is no note is left out: the page is for the rest.
        let Some(value) = store.get(&key)? else { continue };
        notes.extend(serde_json::from_slice::<Note>(&value));
    }
    Ok(Page { notes, next })
}

pub fn add(store: &mut impl Store, new: NewNote, now: u64, random: u32) -> Result<Note, Problem> {
    let text = checked(&new.text)?;
    // Two at one time can both be the last. One too many does no harm, and a lock would.
    if store.keys(PREFIX, None, MAX_NOTES)?.len() >= MAX_NOTES as usize {
        return Err(Problem::TooMany);
    }
    // Keys are listed in their order, and the newest note comes first: so its key counts down.
    let id = format!("{:014}-{random:08x}", END_OF_TIME.saturating_sub(now));
    let note = Note { id, text, written: now, version: 1 };
    if store.replace(&key(&note.id)?, None, &bytes(&note))? {
        Ok(note)
    } else {
        // There is one of this very moment and number. To the caller it is a fault that is over when they try again.
        Err(Problem::Store(StoreError::Unavailable))
    }
}

/// Nobody's change is lost: who changes a note says which version they have seen, and the store writes only over the value that was
/// compared with it.
pub fn change(store: &mut impl Store, id: &str, change: Change) -> Result<Note, Problem> {
    let text = checked(&change.text)?;
    let key = key(id)?;
    let Some((old, note)) = read(store, &key)? else { return Err(NOT_THERE) };
    if note.version != change.version {
        return Err(Problem::Changed(note));
    }
    let changed = Note { text, version: note.version.saturating_add(1), ..note };
    if store.replace(&key, Some(&old), &bytes(&changed))? {
        return Ok(changed);
    }
    // Somebody was faster, between the two lines above.
    match read(store, &key)? {
        Some((_, note)) => Err(Problem::Changed(note)),
        None => Err(NOT_THERE),
    }
}

/// A note that is not there is as good as deleted.
pub fn delete(store: &mut impl Store, id: &str) -> Result<(), Problem> {
    Ok(store.delete(&key(id)?)?)
}

const NOT_THERE: Problem = Problem::NotFound("there is no such note");

/// The key of a note. What could be no id leads to no key of ours.
fn key(id: &str) -> Result<String, Problem> {
    let is_id =
        (1..=40).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if is_id { Ok(format!("{PREFIX}{id}")) } else { Err(NOT_THERE) }
}

/// The value, and the note that it is.
fn read(store: &impl Store, key: &str) -> Result<Option<(Vec<u8>, Note)>, StoreError> {
    let Some(value) = store.get(key)? else { return Ok(None) };
    Ok(serde_json::from_slice(&value).ok().map(|note| (value, note)))
}

fn bytes(note: &Note) -> Vec<u8> {
    // Texts and numbers can always be written.
    serde_json::to_vec(note).unwrap_or_default()
}

fn checked(text: &str) -> Result<String, Problem> {
    let text = text.trim().replace("\r\n", "\n");
    if text.is_empty() {
        return Err(Problem::Invalid("a note has some text"));
    }
    if text.encode_utf16().count() > MAX_TEXT {
        return Err(Problem::TooLarge);
    }
    if text.chars().any(|character| character.is_control() && !matches!(character, '\n' | '\t')) {
        return Err(Problem::Invalid("a note is text, without control characters"));
    }
    Ok(text)
}

//! From a request to an answer.

use serde::Serialize;
use serde_json::json;

use crate::notes::{self, NewNote, Note, Page};
use crate::{Store, StoreError};

/// The longest body that is read: more than the longest note takes, whatever of it is escaped.
pub const MAX_BODY_BYTES: usize = 16 << 10;

/// What was asked.
pub struct Request<'a> {
    pub method: &'a str,
    /// As the manifest's endpoints have it.
    pub path: &'a str,
    /// What follows the `?`.
    pub query: &'a str,
    pub body: &'a [u8],
    /// The tenant, as the host names it. What a caller says of themselves is not asked.
    pub tenant: &'a str,
    /// Milliseconds since 1970.
    pub now: u64,
    /// So that two notes of one millisecond are two.
    pub random: u32,
}

/// What is answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// JSON, or nothing.
    pub body: String,
}

/// Why a request is not done. It is told as the platform tells its own refusals: `{"code": …, "message": …}`.
#[derive(Debug)]
pub enum Problem {
    /// The request says something that no note is.
    Invalid(&'static str),
    TooLarge,
    NotFound(&'static str),
    /// The workspace has as many notes as it may.
    TooMany,
    /// Somebody else was faster. What the note is now, so that nobody has to ask for it.
    Changed(Note),
    Store(StoreError),
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

#[derive(Serialize)]
struct Listed<'a> {
    tenant: &'a str,
    #[serde(flatten)]
    page: Page,
}

/// Answers a request.
pub fn answer(store: &mut impl Store, request: &Request<'_>) -> Answer {
    answered(store, request).unwrap_or_else(told)
}

fn answered(store: &mut impl Store, request: &Request<'_>) -> Result<Answer, Problem> {
    let segments: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
    match (request.method, segments.as_slice()) {
        ("GET", ["notes"]) => {
            let page = notes::list(store, after(request.query))?;
            Ok(json(200, &Listed { tenant: request.tenant, page }))
        }
        ("POST", ["notes"]) => {
            let new: NewNote = parsed(request.body)?;
            Ok(json(201, &notes::add(store, new, request.now, request.random)?))
        }
        ("PUT", ["notes", id]) => Ok(json(200, &notes::change(store, id, parsed(request.body)?)?)),
        ("DELETE", ["notes", id]) => {
            notes::delete(store, id)?;
            Ok(Answer { status: 204, body: String::new() })
        }
        _ => Err(Problem::NotFound("there is nothing here")),
    }
}

/// `after` of the query. An id is of letters, digits and hyphens, which nobody has to escape.
fn after(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| pair.strip_prefix("after="))
}

fn parsed<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    if body.len() > MAX_BODY_BYTES {
        return Err(Problem::TooLarge);
    }
    serde_json::from_slice(body).map_err(|_| Problem::Invalid("the body is not as this endpoint has it"))
}

fn told(problem: Problem) -> Answer {
    let (status, code, message) = match &problem {
        Problem::Invalid(message) => (400, "Invalid", *message),
        Problem::TooLarge => (413, "TooLarge", "a note has 500 characters at the most"),
        Problem::NotFound(message) => (404, "NotFound", *message),
        Problem::TooMany => (409, "TooMany", "this workspace has 500 notes already; delete one first"),
        Problem::Changed(_) => (409, "Changed", "somebody else has changed this note meanwhile"),
        Problem::Store(StoreError::Full) => {
            (507, "Full", "this workspace has no more room; delete a note first")
        }
        Problem::Store(StoreError::Unavailable) => {
            (503, "Unavailable", "notes cannot be read or written now; try again")
        }
    };
    match problem {
        Problem::Changed(note) => json(status, &json!({ "code": code, "message": message, "note": note })),
        _ => json(status, &json!({ "code": code, "message": message })),
    }
}

fn json(status: u16, value: &impl Serialize) -> Answer {
    // Texts, numbers and lists of them can always be written.
    Answer { status, body: serde_json::to_string(value).unwrap_or_default() }
}

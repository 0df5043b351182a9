use std::{sync::Arc, time::Duration};

use hyper::body::Bytes;
use serde_json::Value;

use crate::{form::event_line, gate::Gate, status::Status};

/// How an answer ends that is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As if that were all: the HTTP message is complete.
    Complete,
    /// The HTTP message is not complete. Over HTTP/2 its stream is reset and others go on; over HTTP/1.1 the connection closes.
    Broken,
    /// The connection is closed as TLS wants it, with a close_notify, while the HTTP message is not complete.
    Closed,
    /// The connection is closed without a close_notify. TLS calls that an unexpected end of file.
    Unnotified,
    /// The TCP connection is reset.
    Reset,
    /// Nothing more comes, and the connection stays: no event, no bookmark, and no `timeoutSeconds` ends it.
    Silence,
}

type Edit = Arc<dyn Fn(&mut Value) + Send + Sync>;
type Hide = Arc<dyn Fn(&Value) -> bool + Send + Sync>;

/// What goes wrong with a request. See [`Shard::next`](crate::Shard::next).
#[derive(Clone, Default)]
pub struct Fault {
    pub(crate) acts: Vec<Act>,
}

#[derive(Clone)]
pub(crate) enum Act {
    Status(Status),
    Answer { status: u16, headers: Vec<(&'static str, String)>, body: Bytes },
    Malformed,
    Silence,
    Reset,
    HeldBefore(Gate),
    Held(Gate),
    Lost,
    GoAway,
    IgnoreInitialEvents,
    WithoutEndBookmark,
    Hide(Hide),
    Edit(Edit),
    Twice,
    Swapped,
    Line { before: usize, line: Bytes },
    AfterLines(usize, End),
    AfterBytes(usize, End),
    Slow(usize, Duration),
    EndlessLine,
    ContentType(String),
}

impl Fault {
    fn of(act: Act) -> Self {
        Self { acts: vec![act] }
    }

    /// Both.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.acts.extend(other.acts);
        self
    }

    /// This is answered, and the request not done.
    #[must_use]
    pub fn status(status: Status) -> Self {
        Self::of(Act::Status(status))
    }

    /// Anything is answered, and the request not done: a page of a proxy, for one.
    #[must_use]
    pub fn answer(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        let headers = vec![("content-type", content_type.to_owned())];
        Self::of(Act::Answer { status, headers, body: body.into() })
    }

    /// The client is sent elsewhere with such a 3xx status, and the request not done.
    #[must_use]
    pub fn redirect(status: u16, location: &str) -> Self {
        let headers = vec![("location", location.to_owned())];
        Self::of(Act::Answer { status, headers, body: Bytes::new() })
    }

    /// The answer is as it should be, but says that it is something else.
    #[must_use]
    pub fn content_type(content_type: &str) -> Self {
        Self::of(Act::ContentType(content_type.to_owned()))
    }

    /// A watch's first line, or the body of any other answer, is no JSON.
    #[must_use]
    pub fn malformed() -> Self {
        Self::of(Act::Malformed)
    }

    /// No answer comes, not even its head, and the request is not done.
    #[must_use]
    pub fn silence() -> Self {
        Self::of(Act::Silence)
    }

    /// The head of the answer comes, and nothing else.
    #[must_use]
    pub fn stall() -> Self {
        Self::after_bytes(0, End::Silence)
    }

    /// The TCP connection is reset, and the request not done.
    #[must_use]
    pub fn reset() -> Self {
        Self::of(Act::Reset)
    }

    /// The request is done, and the connection closes without an answer.
    #[must_use]
    pub fn lost_answer() -> Self {
        Self::of(Act::Lost)
    }

    /// The request is done, and its answer is held until the gate opens.
    #[must_use]
    pub fn held(gate: &Gate) -> Self {
        Self::of(Act::Held(gate.clone()))
    }

    /// The request is held until the gate opens, and then done.
    #[must_use]
    pub fn held_before(gate: &Gate) -> Self {
        Self::of(Act::HeldBefore(gate.clone()))
    }

    /// The server takes no further request on this connection: a GOAWAY over HTTP/2. This one is answered.
    #[must_use]
    pub fn go_away() -> Self {
        Self::of(Act::GoAway)
    }

    /// Objects for which `hidden` are missing, in lists and in watches.
    #[must_use]
    pub fn hide(hidden: impl Fn(&Value) -> bool + Send + Sync + 'static) -> Self {
        Self::of(Act::Hide(Arc::new(hidden)))
    }

    /// A list is empty though there are objects; a watch says nothing of any.
    #[must_use]
    pub fn empty() -> Self {
        Self::hide(|_| true)
    }

    /// Each object is changed on its way, in lists, in watches and in what is answered to a get. So one can be sent that does not
    /// fit its type.
    #[must_use]
    pub fn edit(edit: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        Self::of(Act::Edit(Arc::new(edit)))
    }

    /// The objects of this name do not say which cluster they are in.
    #[must_use]
    pub fn without_cluster(name: &str) -> Self {
        let name = name.to_owned();
        Self::edit(move |object| {
            if object.pointer("/metadata/name").and_then(Value::as_str) == Some(&name)
                && let Some(annotations) = object.pointer_mut("/metadata/annotations")
                && let Some(annotations) = annotations.as_object_mut()
            {
                annotations.remove("kcp.io/cluster");
            }
        })
    }

    /// A watch's initial events come, but never the bookmark that ends them.
    #[must_use]
    pub fn without_end_bookmark() -> Self {
        Self::of(Act::WithoutEndBookmark)
    }

    /// `sendInitialEvents` is overlooked, as by a server that does not know it: the watch begins after its resourceVersion.
    #[must_use]
    pub fn ignore_initial_events() -> Self {
        Self::of(Act::IgnoreInitialEvents)
    }

    /// Each line of the watch comes twice.
    #[must_use]
    pub fn twice() -> Self {
        Self::of(Act::Twice)
    }

    /// Of each two lines of the watch, the second comes first.
    #[must_use]
    pub fn swapped() -> Self {
        Self::of(Act::Swapped)
    }

    /// After so many lines, the watch has this one too, whatever it is. A line ends with `\n`.
    #[must_use]
    pub fn line(before: usize, line: impl Into<Bytes>) -> Self {
        Self::of(Act::Line { before, line: line.into() })
    }

    /// After so many lines, the watch has an `ERROR` event, and ends as a real one does.
    #[must_use]
    pub fn error_event(after_lines: usize, status: &Status) -> Self {
        let line = event_line("ERROR", &status.to_value());
        Self::line(after_lines, line).and(Self::after_lines(after_lines, End::Complete))
    }

    /// The watch ends so after so many lines, bookmarks among them.
    #[must_use]
    pub fn after_lines(lines: usize, end: End) -> Self {
        Self::of(Act::AfterLines(lines, end))
    }

    /// The answer ends so after so many bytes of its body.
    #[must_use]
    pub fn after_bytes(bytes: usize, end: End) -> Self {
        Self::of(Act::AfterBytes(bytes, end))
    }

    /// The body of the answer comes in pieces of so many bytes, with this time before each.
    #[must_use]
    pub fn slow(bytes: usize, every: Duration) -> Self {
        Self::of(Act::Slow(bytes.max(1), every))
    }

    /// The body is one string of a JSON event that never ends, as fast as it is read.
    #[must_use]
    pub fn endless_line() -> Self {
        Self::of(Act::EndlessLine)
    }

    pub(crate) fn has(&self, is_it: impl Fn(&Act) -> bool) -> bool {
        self.acts.iter().any(is_it)
    }

    /// Whether a watch has to be looked at line by line.
    pub(crate) fn concerns_lines(&self) -> bool {
        self.has(|act| {
            matches!(
                act,
                Act::Malformed
                    | Act::WithoutEndBookmark
                    | Act::Hide(_)
                    | Act::Edit(_)
                    | Act::Twice
                    | Act::Swapped
                    | Act::Line { .. }
                    | Act::AfterLines(..)
            )
        })
    }

    /// Whether objects have to be looked at one by one.
    pub(crate) fn concerns_objects(&self) -> bool {
        self.has(|act| matches!(act, Act::Hide(_) | Act::Edit(_)))
    }

    /// What is sent of an object that would be sent as `sent`; nothing if it is hidden.
    pub(crate) fn change_object(&self, sent: &Bytes) -> Option<Bytes> {
        let mut object: Value = serde_json::from_slice(sent).unwrap_or_default();
        for act in &self.acts {
            match act {
                Act::Hide(hidden) if hidden(&object) => return None,
                Act::Edit(edit) => edit(&mut object),
                _ => {}
            }
        }
        Some(object.to_string().into())
    }
}

impl std::fmt::Debug for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fault of {} acts", self.acts.len())
    }
}

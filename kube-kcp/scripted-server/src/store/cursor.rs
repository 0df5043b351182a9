use std::sync::Arc;

use hyper::body::Bytes;

use super::{
    history::Entry,
    object::{EventType, Object},
    resource::Resource,
    selector::Selection,
};
use crate::form::Form;

/// Where a watch is in the history.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    next: u64,
    /// What was changed at this revision or before is not for this watch.
    after: u64,
    /// Lines that were said before are not for this watch.
    opened: u64,
}

/// The watch is so slow that the history no longer has what it should be told next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overtaken;

impl Cursor {
    /// After `revision`, which the history must reach back to.
    pub(crate) fn after(resource: &Resource, revision: u64) -> Self {
        Self { next: resource.history.after(revision), after: revision, opened: resource.history.end() }
    }

    /// Takes the lines that come next, until they are `most_bytes` or more.
    pub(crate) fn read(
        &mut self,
        resource: &Resource,
        selection: &Selection,
        form: Form,
        most_bytes: usize,
        lines: &mut Vec<Bytes>,
    ) -> Result<(), Overtaken> {
        let entries = resource.history.from(self.next).ok_or(Overtaken)?;
        let mut bytes = 0;
        for entry in entries {
            if bytes >= most_bytes {
                break;
            }
            let line = match entry {
                Entry::Line { line, .. } => (self.next >= self.opened).then(|| line.clone()),
                Entry::Change { object, .. } if object.revision <= self.after => None,
                Entry::Change { object, previous } => said(selection, form, object, previous.as_ref()),
            };
            self.next += 1;
            if let Some(line) = line {
                bytes += line.len();
                lines.push(line);
            }
        }
        Ok(())
    }
}

/// What a watch with this selection says of a change: what enters the selection is new to it, and what leaves it is gone.
fn said(
    selection: &Selection,
    form: Form,
    object: &Arc<Object>,
    previous: Option<&Arc<Object>>,
) -> Option<Bytes> {
    let now = selection.matches(object);
    if object.event != EventType::Modified || !selection.depends_on_content() {
        return now.then(|| form.line(object.event, object));
    }
    let before = previous.filter(|previous| selection.matches(previous));
    match (before, now) {
        (Some(_), true) => Some(form.line(EventType::Modified, object)),
        (None, true) => Some(form.line(EventType::Added, object)),
        (Some(before), false) => Some(form.line(EventType::Deleted, &left(before, object.revision))),
        (None, false) => None,
    }
}

/// As it was when it was last selected, with the revision at which it left.
fn left(previous: &Object, revision: u64) -> Object {
    let mut fields = previous.fields();
    super::set_revision(&mut fields, revision);
    Object::new(previous.key.clone(), revision, EventType::Deleted, &fields)
}

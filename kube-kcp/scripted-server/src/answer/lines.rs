use std::{collections::VecDeque, sync::Arc};

use futures::{StreamExt as _, stream};
use hyper::body::Bytes;
use serde_json::Value;

use super::{
    body::{Chunks, CutOff},
    end::end,
    watch::Watch,
};
use crate::{
    fault::{Act, Fault},
    form::event_line,
    network::Control,
};

/// No JSON in whatever way it is read. A line that only breaks off would be taken for the end of the watch.
pub(super) const MALFORMED: &[u8] = b"{\"type\":\"ADDED\",\"object\":}\n";

/// The lines of a watch with what is wrong with them.
pub(super) struct Lines {
    watch: Watch,
    fault: Fault,
    connection: Arc<Control>,
    /// Lines of the watch that were sent.
    sent: usize,
    /// Lines that go next.
    ready: VecDeque<Bytes>,
    /// The first of two that are swapped.
    first: Option<Bytes>,
    /// Which of the fault's own lines were sent.
    inserted: Vec<usize>,
}

impl Lines {
    pub(super) fn new(watch: Watch, fault: &Fault, connection: Arc<Control>) -> Self {
        let (ready, fault) = (VecDeque::new(), fault.clone());
        Self { watch, fault, connection, sent: 0, ready, first: None, inserted: Vec::new() }
    }

    pub(super) fn chunks(self) -> Chunks {
        stream::unfold(self, async |mut lines| Some((lines.next().await?, lines))).boxed()
    }

    async fn next(&mut self) -> Option<Result<Bytes, CutOff>> {
        loop {
            if let Some(line) = self.insertion() {
                return Some(Ok(line));
            }
            let due = self.fault.acts.iter().find_map(|act| match act {
                Act::AfterLines(lines, how) if *lines <= self.sent => Some(*how),
                _ => None,
            });
            if let Some(how) = due {
                return end(how, &self.connection).await.map(Err);
            }
            if let Some(line) = self.ready.pop_front() {
                self.sent += 1;
                return Some(Ok(line));
            }
            match self.watch.next_line().await {
                Some(line) => self.take(line),
                None => self.ready.push_back(self.first.take()?),
            }
        }
    }

    /// A line of the fault's own that is due.
    fn insertion(&mut self) -> Option<Bytes> {
        let mut acts = self.fault.acts.iter().enumerate().filter(|(at, _)| !self.inserted.contains(at));
        let (at, line) = acts.find_map(|(at, act)| match act {
            Act::Line { before, line } if *before <= self.sent => Some((at, line.clone())),
            Act::Malformed => Some((at, Bytes::from_static(MALFORMED))),
            _ => None,
        })?;
        self.inserted.push(at);
        Some(line)
    }

    fn take(&mut self, line: Bytes) {
        let Some(line) = self.changed(line) else { return };
        let mut lines = vec![line];
        if self.fault.has(|act| matches!(act, Act::Swapped)) {
            match self.first.take() {
                Some(first) => lines.push(first),
                None => {
                    self.first = lines.pop();
                    return;
                }
            }
        }
        let times = if self.fault.has(|act| matches!(act, Act::Twice)) { 2 } else { 1 };
        for line in lines {
            self.ready.extend(std::iter::repeat_n(line, times));
        }
    }

    fn changed(&self, line: Bytes) -> Option<Bytes> {
        if !self.fault.concerns_objects() && !self.fault.has(|act| matches!(act, Act::WithoutEndBookmark)) {
            return Some(line);
        }
        let Ok(event) = serde_json::from_slice::<Value>(&line) else { return Some(line) };
        match event.get("type").and_then(Value::as_str) {
            Some("BOOKMARK") => {
                let is_end =
                    event.pointer("/object/metadata/annotations/k8s.io~1initial-events-end").is_some();
                let kept = self.fault.has(|act| matches!(act, Act::WithoutEndBookmark));
                (!is_end || !kept).then_some(line)
            }
            Some(name @ ("ADDED" | "MODIFIED" | "DELETED")) => {
                let object = self.fault.change_object(&event.get("object")?.to_string().into())?;
                let object: Value = serde_json::from_slice(&object).unwrap_or_default();
                Some(event_line(name, &object))
            }
            _ => Some(line),
        }
    }
}

use std::{collections::VecDeque, sync::Arc, time::Duration, vec};

use futures::{StreamExt as _, stream};
use http::Response;
use hyper::body::Bytes;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::{Body, json, lines::Lines, query::Query};
use crate::{
    fault::{Act, Fault},
    form::{Form, event_line},
    network::Control,
    request::{Place, Request},
    shard::{Guarded, ShardState, TooOld},
    status::Status,
    store::{Cursor, EventType, ListOptions, Object, Selection},
};

/// How much is put together for one write. Small events would cost more in frames than in bytes.
const CHUNK: usize = 16 << 10;

pub(super) fn watch(
    shard: &Arc<ShardState>,
    place: &Place,
    request: &Request,
    fault: &Fault,
    connection: &Arc<Control>,
) -> Result<Response<Body>, Status> {
    let query = Query(request);
    let mut guarded = shard.guarded.lock();
    let start = match start(&guarded, place, request, fault) {
        Err(status) if status.code == 410 && guarded.too_old == TooOld::Event => {
            return Ok(json(200, event_line("ERROR", &status.to_value()).into()));
        }
        start => start?,
    };
    let bookmarks = query.is_true("allowWatchBookmarks");
    let timeout = query.number("timeoutSeconds")?.filter(|seconds| *seconds > 0);
    let watch = Watch {
        shard: shard.clone(),
        group: place.group.clone(),
        plural: place.plural.clone(),
        selection: start.selection,
        form: request.form,
        initial: start.initial.into_iter(),
        cursor: start.cursor,
        lines: VecDeque::new(),
        end_of_initial: start.end_of_initial.filter(|_| bookmarks),
        bookmarks: bookmarks.then_some(guarded.bookmarks),
        ends: guarded.ends,
        deadline: timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds)),
        tick: guarded.bookmark_every.filter(|_| bookmarks).map(interval),
        over: false,
    };
    guarded.open_watches += 1;
    drop(guarded);
    shard.changes.wake();
    let open = OpenWatch(shard.clone());
    let body = if fault.concerns_lines() {
        Body::chunks(Lines::new(watch, fault, connection.clone()).chunks())
    } else {
        let chunks = stream::unfold(watch, async |mut watch| Some((Ok(watch.next_chunk().await?), watch)));
        Body::chunks(chunks.boxed())
    };
    Ok(json(200, body.with(open)))
}

fn interval(time: Duration) -> Interval {
    let mut interval = tokio::time::interval_at(Instant::now() + time, time);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    interval
}

struct Start {
    selection: Selection,
    initial: Vec<Arc<Object>>,
    cursor: Cursor,
    end_of_initial: Option<Bytes>,
}

fn start(guarded: &Guarded, place: &Place, request: &Request, fault: &Fault) -> Result<Start, Status> {
    let query = Query(request);
    let store = &guarded.store;
    let resource = store.resource(&place.group, &place.plural).ok_or_else(Status::not_served)?;
    let selection = query.selection(super::scope(place, &resource.kind, store.home())?)?;
    let revision = query.number("resourceVersion")?.unwrap_or(0);
    let streams_list = query.is_true("sendInitialEvents");
    check_streaming_list(&query, guarded.streaming_lists)?;
    let streams_list = streams_list && !fault.has(|act| matches!(act, Act::IgnoreInitialEvents));
    // Without a revision, a watch begins with what is there too, only that nothing marks the end of it.
    if revision > 0 && !streams_list {
        let cursor = store.watch_after(resource, revision)?;
        return Ok(Start { selection, initial: Vec::new(), cursor, end_of_initial: None });
    }
    let options = ListOptions { not_older_than: Some(revision), ..ListOptions::default() };
    let (page, revision) = store.list(resource, &selection, &options)?;
    let cursor = store.watch_after(resource, revision)?;
    let end = streams_list.then(|| request.form.bookmark(&resource.kind, revision, true));
    Ok(Start { selection, initial: page.objects, cursor, end_of_initial: end })
}

fn check_streaming_list(query: &Query<'_>, known: bool) -> Result<(), Status> {
    let invalid = |because: &str| {
        Err(Status::new(422, "Invalid", format!("ListOptions.meta.k8s.io \"\" is invalid: {because}")))
    };
    let matching = query.text("resourceVersionMatch");
    match (query.text("sendInitialEvents"), matching) {
        (None, None) => Ok(()),
        (None, Some(_)) => invalid(
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless \
             sendInitialEvents is provided",
        ),
        (Some(_), _) if !known => invalid(
            "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList \
             feature gate is enabled",
        ),
        (Some(_), Some("NotOlderThan")) => Ok(()),
        (Some(_), _) => invalid(
            "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to \
             NotOlderThan",
        ),
    }
}

/// A watch counts as open until its body is dropped.
struct OpenWatch(Arc<ShardState>);

impl Drop for OpenWatch {
    fn drop(&mut self) {
        self.0.change(|guarded| guarded.open_watches = guarded.open_watches.saturating_sub(1));
    }
}

pub(super) struct Watch {
    shard: Arc<ShardState>,
    group: String,
    plural: String,
    selection: Selection,
    form: Form,
    /// What is there, to be said first.
    initial: vec::IntoIter<Arc<Object>>,
    end_of_initial: Option<Bytes>,
    cursor: Cursor,
    /// What was read and is not sent yet.
    lines: VecDeque<Bytes>,
    /// How many bookmarks were asked for when it last sent one; none if it does not allow any.
    bookmarks: Option<u64>,
    ends: u64,
    deadline: Option<Instant>,
    tick: Option<Interval>,
    over: bool,
}

impl Watch {
    /// The next lines. No more after the end.
    async fn next_chunk(&mut self) -> Option<Bytes> {
        if self.lines.is_empty() {
            self.wait().await;
        }
        if self.lines.len() > 1 {
            let parts = std::mem::take(&mut self.lines);
            return Some(parts.into_iter().collect::<Vec<_>>().concat().into());
        }
        self.lines.pop_front()
    }

    /// The next line. No more after the end.
    pub(super) async fn next_line(&mut self) -> Option<Bytes> {
        if self.lines.is_empty() {
            self.wait().await;
        }
        self.lines.pop_front()
    }

    /// Until there are lines, or it is over.
    async fn wait(&mut self) {
        if self.over {
            return;
        }
        self.take_initial();
        if !self.lines.is_empty() {
            return;
        }
        let shard = self.shard.clone();
        let (deadline, mut tick) = (self.deadline, self.tick.take());
        loop {
            let due = tokio::select! {
                biased;
                () = shard.changes.until(|| self.read(&mut shard.guarded.lock())) => Due::Nothing,
                () = sleep_until(deadline) => Due::End,
                () = ticked(&mut tick) => Due::Bookmark,
            };
            match due {
                Due::Nothing => break,
                Due::End => {
                    self.over = true;
                    break;
                }
                Due::Bookmark => {
                    if self.push_bookmark(&shard.guarded.lock()) {
                        break;
                    }
                }
            }
        }
        self.tick = tick;
    }

    fn take_initial(&mut self) {
        let mut bytes = 0;
        while bytes < CHUNK
            && let Some(object) = self.initial.next()
        {
            let line = self.form.line(EventType::Added, &object);
            bytes += line.len();
            self.lines.push_back(line);
        }
        if self.initial.as_slice().is_empty() {
            self.lines.extend(self.end_of_initial.take());
        }
    }

    /// Takes what there is to say; nothing if there is nothing.
    fn read(&mut self, guarded: &mut Guarded) -> Option<()> {
        let Some(resource) = guarded.store.resource(&self.group, &self.plural) else {
            self.over = true;
            return Some(());
        };
        let mut lines = Vec::new();
        if self.cursor.read(resource, &self.selection, self.form, CHUNK, &mut lines).is_err() {
            let status = Status::expired("too old resource version: the watch is slower than the changes");
            self.lines.push_back(event_line("ERROR", &status.to_value()));
            self.over = true;
            return Some(());
        }
        self.lines.extend(lines);
        if self.lines.is_empty() && self.bookmarks.is_some_and(|sent| sent < guarded.bookmarks) {
            self.push_bookmark(guarded);
        }
        if self.lines.is_empty() && self.ends < guarded.ends {
            self.lines.extend(guarded.last_words.clone());
            self.over = true;
            return Some(());
        }
        (!self.lines.is_empty()).then_some(())
    }

    fn push_bookmark(&mut self, guarded: &Guarded) -> bool {
        let Some(resource) = guarded.store.resource(&self.group, &self.plural) else { return false };
        self.bookmarks = self.bookmarks.map(|_| guarded.bookmarks);
        let bookmark = self.form.bookmark(&resource.kind, guarded.store.revision(), false);
        self.lines.push_back(bookmark);
        true
    }
}

enum Due {
    Nothing,
    End,
    Bookmark,
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn ticked(tick: &mut Option<Interval>) {
    match tick {
        Some(tick) => {
            tick.tick().await;
        }
        None => std::future::pending().await,
    }
}

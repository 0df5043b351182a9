use std::{sync::Arc, time::Duration};

use hyper::body::Bytes;
use parking_lot::Mutex;
use serde_json::Value;

use crate::{
    changes::Changes,
    fault::Fault,
    form::event_line,
    kind::Kind,
    matching::Match,
    script::Scripted,
    server::Shared,
    status::Status,
    store::{Invalid, Key, Store, set_cluster},
};

/// The name of the logical cluster of objects that do not name one, and of paths without `/clusters/`.
pub const HOME_CLUSTER: &str = "home";

#[derive(Debug)]
pub(crate) struct ShardState {
    pub(crate) prefix: String,
    pub(crate) guarded: Mutex<Guarded>,
    pub(crate) changes: Changes,
}

#[derive(Debug)]
pub(crate) struct Guarded {
    pub(crate) store: Store,
    /// How many bookmarks were asked for.
    pub(crate) bookmarks: u64,
    /// How often all watches were ended, and what they are told last.
    pub(crate) ends: u64,
    pub(crate) last_words: Option<Bytes>,
    pub(crate) open_watches: usize,
    pub(crate) bookmark_every: Option<Duration>,
    pub(crate) too_old: TooOld,
    pub(crate) streaming_lists: bool,
}

/// How a watch is answered that asks for what was forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TooOld {
    /// With 200 and an `ERROR` event of code 410, as an API server with a watch cache does.
    #[default]
    Event,
    /// With HTTP status 410.
    Status,
}

impl ShardState {
    pub(crate) fn new(prefix: &str, number: u32) -> Self {
        Self {
            prefix: prefix.to_owned(),
            guarded: Mutex::new(Guarded {
                store: Store::new(HOME_CLUSTER, number),
                bookmarks: 0,
                ends: 0,
                last_words: None,
                open_watches: 0,
                bookmark_every: None,
                too_old: TooOld::default(),
                streaming_lists: true,
            }),
            changes: Changes::default(),
        }
    }

    /// Changes something, and wakes who waits for that.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Guarded) -> T) -> T {
        let changed = change(&mut self.guarded.lock());
        self.changes.wake();
        changed
    }
}

/// One set of objects under one path, with resourceVersions of its own: a shard's virtual workspace, or a plain API server.
///
/// What it does here happens at once; watches that are open tell it as soon as their clients read.
#[derive(Clone)]
pub struct Shard {
    state: Arc<ShardState>,
    server: Arc<Shared>,
}

impl Shard {
    pub(crate) fn new(state: Arc<ShardState>, server: Arc<Shared>) -> Self {
        Self { state, server }
    }

    /// Its URL. `/clusters/*` of it is the wildcard.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}{}", self.server.url(), self.state.prefix)
    }

    /// Serves a kind, before there are objects of it. The kinds of objects that are put are served by themselves, and ConfigMaps,
    /// Secrets, Events, Namespaces and Leases are from the beginning. Any other kind is 404.
    pub fn serve(&self, kind: Kind) {
        self.state.change(|guarded| guarded.store.serve(kind));
    }

    /// Serves a kind no longer, and forgets its objects without an event, as when an API is unbound. Its watches end.
    pub fn withdraw(&self, plural: &str) {
        self.state.change(|guarded| guarded.store.withdraw(plural));
    }

    /// Creates an object or changes it to this, whatever its resourceVersion is, and returns the new one. Its cluster is that of its
    /// annotation `kcp.io/cluster`, or [`HOME_CLUSTER`].
    ///
    /// # Errors
    /// It does not say what it is, or has a namespace although its kind has none.
    pub fn put(&self, object: Value) -> Result<u64, Invalid> {
        self.state.change(|guarded| guarded.store.put(object))
    }

    /// Puts an object into a cluster.
    ///
    /// # Errors
    /// As [`Shard::put`].
    pub fn put_in(&self, cluster: &str, mut object: Value) -> Result<u64, Invalid> {
        let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
        set_cluster(metadata.ok_or(Invalid::Nameless)?, cluster);
        self.put(object)
    }

    /// Puts many objects. Watches that are open see them in one burst.
    ///
    /// # Errors
    /// As [`Shard::put`] of the first that cannot be put; those before it were.
    pub fn put_many(&self, objects: impl IntoIterator<Item = Value>) -> Result<u64, Invalid> {
        self.state.change(|guarded| {
            objects.into_iter().try_for_each(|object| guarded.store.put(object).map(drop))?;
            Ok(guarded.store.revision())
        })
    }

    /// Changes an object that is there, and returns its new resourceVersion; none if it is not there or is made no object.
    pub fn edit(
        &self,
        plural: &str,
        cluster: &str,
        namespace: &str,
        name: &str,
        edit: impl FnOnce(&mut Value),
    ) -> Option<u64> {
        let mut object = self.get(plural, cluster, namespace, name)?;
        edit(&mut object);
        self.put(object).ok()
    }

    /// Removes an object, whatever its finalizers. Whether it was there.
    pub fn delete(&self, plural: &str, cluster: &str, namespace: &str, name: &str) -> bool {
        self.state.change(|guarded| guarded.store.remove(plural, &Key::new(cluster, namespace, name)))
    }

    /// An object as it is now. `namespace` is empty for what has none.
    #[must_use]
    pub fn get(&self, plural: &str, cluster: &str, namespace: &str, name: &str) -> Option<Value> {
        let guarded = self.state.guarded.lock();
        let object = guarded.store.by_plural(plural)?.get(&Key::new(cluster, namespace, name))?;
        Some(Value::Object(object.fields()))
    }

    /// How many objects of a kind there are.
    #[must_use]
    pub fn count(&self, plural: &str) -> usize {
        self.state.guarded.lock().store.by_plural(plural).map_or(0, |resource| resource.objects.len())
    }

    /// Its last resourceVersion.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.state.guarded.lock().store.revision()
    }

    /// Sends a bookmark on the open watches that allow them, after what they have yet to say.
    pub fn bookmark(&self) {
        self.state.change(|guarded| guarded.bookmarks += 1);
    }

    /// Sends a bookmark every so often on the watches that are opened from now on and allow them. There are none otherwise.
    pub fn bookmark_every(&self, time: Option<Duration>) {
        self.state.change(|guarded| guarded.bookmark_every = time);
    }

    /// Forgets the history: later watches from an older resourceVersion, and pages of older lists, get 410. Watches that are open do
    /// not notice.
    pub fn compact(&self) {
        self.state.change(|guarded| guarded.store.compact());
    }

    /// Keeps at most so many events of each kind. A watch that is slower than that ends with 410.
    pub fn keep_history(&self, events: usize) {
        self.state.change(|guarded| guarded.store.keep_history(events));
    }

    /// How later watches that are too old are answered.
    pub fn answer_too_old(&self, with: TooOld) {
        self.state.change(|guarded| guarded.too_old = with);
    }

    /// Whether `sendInitialEvents` is known. If not, it is answered with 422, as by an API server that has the feature off.
    pub fn streaming_lists(&self, known: bool) {
        self.state.change(|guarded| guarded.streaming_lists = known);
    }

    /// Says a line, whatever it is, on the open watches of a kind, after what they have yet to say. A line ends with `\n`.
    pub fn say(&self, plural: &str, line: impl Into<Bytes>) {
        let line = line.into();
        self.state.change(|guarded| guarded.store.say(plural, &line));
    }

    /// Ends the open watches, after what they have yet to say.
    pub fn end_watches(&self) {
        self.state.change(|guarded| {
            guarded.ends += 1;
            guarded.last_words = None;
        });
    }

    /// Ends the open watches with an `ERROR` event.
    pub fn fail_watches(&self, status: &Status) {
        let line = event_line("ERROR", &status.to_value());
        self.state.change(|guarded| {
            guarded.ends += 1;
            guarded.last_words = Some(line);
        });
    }

    /// How many watches are open.
    #[must_use]
    pub fn open_watches(&self) -> usize {
        self.state.guarded.lock().open_watches
    }

    /// Waits until just so many watches are open. It does not time out.
    pub async fn watches(&self, open: usize) {
        self.state.changes.until(|| (self.open_watches() == open).then_some(())).await;
    }

    /// The next so many requests to this shard that match meet this fault. Scripts that were made earlier go first.
    pub fn next(&self, times: usize, matching: Match, fault: Fault) -> Scripted {
        self.server.scripts.add(times, matching.on_shard(&self.state.prefix), fault)
    }
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard").field("url", &self.url()).finish_non_exhaustive()
    }
}

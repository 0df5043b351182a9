use std::time::Duration;

use kube::{Resource, core::error_boundary::InvalidObject};
use rand::Rng as _;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    WatchError,
    wire::{Line, Lines, Source},
};
use crate::backoff::WatchBackoff;

/// How a kind is watched.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// Ask for streaming lists (`sendInitialEvents`, KEP-3157): an object at a time instead of pages. Off by default, because kcp
    /// has had faults there. A server that does not say where such a list ends is asked for pages from then on.
    pub streaming_lists: bool,
    /// How many objects are asked for at a time.
    pub page: u32,
    /// For how long a watch may say nothing, bookmarks included, before it is opened anew, from where it was. An API server sends a
    /// bookmark about each minute.
    pub silence: Duration,
    /// For how long a streaming list may say nothing before it is given up.
    pub list_silence: Duration,
}

impl Default for WatchOptions {
    /// Pages of 500, silence of 150 s in a watch and 30 s in a streaming list.
    fn default() -> Self {
        Self {
            streaming_lists: false,
            page: 500,
            silence: Duration::from_secs(150),
            list_silence: Duration::from_secs(30),
        }
    }
}

/// An object, or why it is none.
pub type Item<T> = Result<T, Box<InvalidObject>>;

/// What a list-watch tells.
#[derive(Debug)]
pub enum Event<T> {
    /// A list begins. What is [`Event::Listed`] until it has ended is all that there is.
    ListBegins,
    /// It is there.
    Listed(Item<T>),
    /// The list has ended.
    ListEnded,
    /// It is new or changed.
    Applied(Item<T>),
    /// It is gone.
    Deleted(Item<T>),
    /// The server is there and has nothing to say.
    Bookmark,
    /// The watch is interrupted, and begins again by itself.
    Failed(WatchError),
}

/// Who is told.
pub trait Sink<T> {
    /// Must not block.
    fn tell(&mut self, event: Event<T>);

    /// When everything is to be listed again, though nothing is wrong with the watch.
    fn list_again(&self) -> Option<Instant> {
        None
    }
}

/// How long a watch is asked to last. Not the same for all, or all would be opened anew together.
const LASTS: std::ops::Range<u64> = 240..290;
/// A server may take so much longer to end one.
const GRACE: Duration = Duration::from_secs(10);
/// A watch that ends sooner and has told nothing is not what was asked for.
const AT_ONCE: Duration = Duration::from_secs(1);
/// After so many answers in a row that cannot be read, the fault may be in what was asked for: it is listed anew.
const MOST_UNREAD: u32 = 3;
/// The longest that a server may ask to be left alone.
const MOST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Tells `sink` of everything that `source` has and how it changes, for ever: a list, then a watch from where the list was.
///
/// An interrupted watch goes on from where it was. It is listed anew only if the server has forgotten what came since (410), if
/// what it says cannot be read repeatedly, or if the sink asks for it. Between tries is a wait that grows, with jitter; as long
/// as the server asks for (`Retry-After`), up to a minute.
pub async fn list_watch<T>(source: &Source, options: &WatchOptions, sink: &mut impl Sink<T>)
where
    T: Resource + DeserializeOwned,
{
    let mut watch =
        ListWatch { source, options, sink, at: None, streaming: options.streaming_lists, whole: false };
    let mut backoff = WatchBackoff::default();
    let mut unread = 0;
    loop {
        let began = Instant::now();
        let Err(error) = watch.go_on().await else {
            unread = 0;
            continue;
        };
        if began.elapsed() > AT_ONCE {
            kube::runtime::utils::Backoff::reset(&mut backoff);
        }
        match &error {
            WatchError::Expired => {
                // In the middle of a list: where the next page begins is forgotten. Twice in a row it is asked for as a whole.
                watch.whole = watch.at.is_none();
                watch.at = None;
            }
            WatchError::EndNotTold => watch.streaming = false,
            WatchError::Malformed(_) | WatchError::LineTooLong(_) => {
                unread += 1;
                if unread >= MOST_UNREAD {
                    (watch.at, unread) = (None, 0);
                }
            }
            _ => {}
        }
        let asked = error.retry_after().unwrap_or_default().min(MOST_RETRY_AFTER);
        let wait = backoff.next().unwrap_or_default().max(asked);
        watch.sink.tell(Event::Failed(error));
        sleep(wait).await;
    }
}

struct ListWatch<'a, S> {
    source: &'a Source,
    options: &'a WatchOptions,
    sink: &'a mut S,
    /// The version that was seen last. None: it is to be listed.
    at: Option<String>,
    streaming: bool,
    /// The list is asked for in one piece.
    whole: bool,
}

impl<S> ListWatch<'_, S> {
    /// Lists if need be, and watches until the server ends that in good order, or the sink asks for a list.
    async fn go_on<T>(&mut self) -> Result<(), WatchError>
    where
        T: Resource + DeserializeOwned,
        S: Sink<T>,
    {
        let lasts = Duration::from_secs(rand::rng().random_range(LASTS));
        let mut lines = match self.at.clone() {
            Some(version) => self.source.watch(&version, false, lasts).await?,
            None if self.streaming => self.streaming_list::<T>(lasts).await?,
            None => {
                let version = self.list::<T>().await?;
                self.at = Some(version);
                return Ok(());
            }
        };
        let opened = Instant::now();
        let ends = opened + lasts + GRACE;
        let mut told = false;
        loop {
            let silent = Instant::now() + self.options.silence;
            let next = lines.next::<T>(silent.min(ends), self.options.silence);
            let line = match self.sink.list_again() {
                Some(again) => tokio::select! {
                    biased;
                    () = sleep_until(again) => {
                        self.at = None;
                        return Ok(());
                    }
                    line = next => line?,
                },
                None => next.await?,
            };
            match line {
                Some(line) => self.take(line),
                None if told || opened.elapsed() > AT_ONCE => return Ok(()),
                None => return Err(WatchError::EndedAtOnce),
            }
            told = true;
        }
    }

    fn take<T: Resource>(&mut self, line: Line<T>)
    where
        S: Sink<T>,
    {
        let (version, event) = match line {
            Line::Applied(item) => (version_of(&item), Event::Applied(item)),
            Line::Deleted(item) => (version_of(&item), Event::Deleted(item)),
            Line::Bookmark { version, .. } => (Some(version), Event::Bookmark),
        };
        self.sink.tell(event);
        // Not before it was taken: what was not is to come again.
        if let Some(version) = version.filter(|version| !version.is_empty()) {
            self.at = Some(version);
        }
    }

    /// The version that the list is of.
    async fn list<T>(&mut self) -> Result<String, WatchError>
    where
        T: Resource + DeserializeOwned,
        S: Sink<T>,
    {
        self.sink.tell(Event::ListBegins);
        let limit = (!self.whole).then_some(self.options.page);
        let mut next = None;
        loop {
            let page = self.source.list::<T>(limit, next.as_deref()).await?;
            for item in page.items {
                self.sink.tell(Event::Listed(item));
            }
            if page.next.is_some() {
                next = page.next;
                continue;
            }
            if page.version.is_empty() {
                return Err(WatchError::Malformed("a list without a resourceVersion".to_owned()));
            }
            self.whole = false;
            self.sink.tell(Event::ListEnded);
            return Ok(page.version);
        }
    }

    /// A watch that has told all that was there at its beginning.
    async fn streaming_list<T>(&mut self, lasts: Duration) -> Result<Lines, WatchError>
    where
        T: Resource + DeserializeOwned,
        S: Sink<T>,
    {
        let mut lines = match self.source.watch("", true, lasts).await {
            // A server that does not know it says so.
            Err(WatchError::Refused { code: 400 | 422, .. }) => return Err(WatchError::EndNotTold),
            lines => lines?,
        };
        self.sink.tell(Event::ListBegins);
        let silence = self.options.list_silence;
        let ends = Instant::now() + lasts;
        loop {
            let silent = (Instant::now() + silence).min(ends);
            match lines.next::<T>(silent, silence).await {
                Ok(Some(Line::Applied(item))) => self.sink.tell(Event::Listed(item)),
                Ok(Some(Line::Deleted(item))) => self.sink.tell(Event::Deleted(item)),
                Ok(Some(Line::Bookmark { version, initial_end: true })) => {
                    self.sink.tell(Event::ListEnded);
                    self.at = Some(version);
                    return Ok(lines);
                }
                Ok(Some(Line::Bookmark { .. })) => self.sink.tell(Event::Bookmark),
                Ok(None) | Err(WatchError::Silent(_)) => return Err(WatchError::EndNotTold),
                Err(error) => return Err(error),
            }
        }
    }
}

fn version_of<T: Resource>(item: &Item<T>) -> Option<String> {
    match item {
        Ok(object) => object.meta().resource_version.clone(),
        Err(invalid) => invalid.metadata.resource_version.clone(),
    }
}

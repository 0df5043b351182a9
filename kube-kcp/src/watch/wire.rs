//! What is sent to an API server for a list and a watch, and how what it answers is read.

use std::{borrow::Cow, time::Duration};

use http::{Request, Response, header::RETRY_AFTER};
use http_body_util::BodyExt as _;
use hyper::body::{Buf as _, Bytes};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ListMeta, ObjectMeta};
use kube::{
    Client,
    api::ListParams,
    client::Body,
    core::{Status, error_boundary::InvalidObject, params::WatchParams, request::Request as ApiRequest},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use super::{WatchError, list_watch::Item};

/// The longest line of a watch. An object in etcd has at most 1.5 MiB by default.
const LINE_BYTES: usize = 16 << 20;
/// How much of an answer that is an error is read.
const ERROR_BYTES: usize = 64 << 10;
/// How long a list may be silent in its middle.
const LIST_SILENCE: Duration = Duration::from_secs(30);
/// On the bookmark that ends a streaming list (KEP-3157).
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// Whom to ask for what.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) client: Client,
    /// The collection's path, such as `/api/v1/secrets`.
    pub(crate) path: String,
    /// Only the objects' metadata.
    pub(crate) metadata: bool,
}

/// A page of a list.
pub(super) struct Page<T> {
    pub(super) items: Vec<Item<T>>,
    pub(super) version: String,
    /// Where the next one begins.
    pub(super) next: Option<String>,
}

/// What a line of a watch says.
pub(super) enum Line<T> {
    /// An object is new or changed.
    Applied(Item<T>),
    /// It is gone.
    Deleted(Item<T>),
    /// The server has got so far.
    Bookmark {
        version: String,
        /// All that was there at the beginning has been told.
        initial_end: bool,
    },
}

#[derive(Deserialize)]
struct ListBody<'a> {
    metadata: ListMeta,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct LineBody<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct OnlyMeta {
    #[serde(default)]
    metadata: ObjectMeta,
}

impl Source {
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        limit: Option<u32>,
        next: Option<&str>,
    ) -> Result<Page<T>, WatchError> {
        let params = ListParams { limit, continue_token: next.map(str::to_owned), ..ListParams::default() };
        let request = ApiRequest::new(self.path.as_str());
        let request = if self.metadata { request.list_metadata(&params) } else { request.list(&params) };
        let mut answer = self.send(request.map_err(kube::Error::BuildRequest)?).await?.into_body();
        let mut body = Vec::new();
        while let Some(data) = chunk(&mut answer, Instant::now() + LIST_SILENCE, LIST_SILENCE).await? {
            body.extend_from_slice(&data);
        }
        let list: ListBody<'_> =
            serde_json::from_slice(&body).map_err(|error| WatchError::Malformed(error.to_string()))?;
        Ok(Page {
            items: list.items.unwrap_or_default().into_iter().map(item).collect(),
            version: list.metadata.resource_version.unwrap_or_default(),
            next: list.metadata.continue_.filter(|next| !next.is_empty()),
        })
    }

    /// A watch from `version` on; with `initial`, one that begins with all that is there.
    pub(super) async fn watch(
        &self,
        version: &str,
        initial: bool,
        lasts: Duration,
    ) -> Result<Lines, WatchError> {
        let params = WatchParams {
            timeout: Some(u32::try_from(lasts.as_secs()).unwrap_or(u32::MAX)),
            bookmarks: true,
            send_initial_events: initial,
            ..WatchParams::default()
        };
        let request = ApiRequest::new(self.path.as_str());
        let request = if self.metadata {
            request.watch_metadata(&params, version)
        } else {
            request.watch(&params, version)
        };
        let answer = self.send(request.map_err(kube::Error::BuildRequest)?).await?;
        Ok(Lines { body: answer.into_body(), read: Vec::new(), searched: 0 })
    }

    async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Body>, WatchError> {
        let answer = self.client.send(request.map(Body::from)).await?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let code = answer.status().as_u16();
        let header =
            answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let mut body = Vec::new();
        let mut answer = answer.into_body();
        while body.len() < ERROR_BYTES
            && let Ok(Some(data)) = chunk(&mut answer, Instant::now() + LIST_SILENCE, LIST_SILENCE).await
        {
            body.extend_from_slice(&data);
        }
        let mut status = serde_json::from_slice::<Status>(&body).unwrap_or_default();
        status.code = code;
        if status.message.is_empty() {
            "the server gives no reason".clone_into(&mut status.message);
        }
        Err(WatchError::of_status(status, header.map(Duration::from_secs)))
    }
}

/// The lines of a watch.
pub(super) struct Lines {
    body: Body,
    read: Vec<u8>,
    /// So much of it holds no end of a line.
    searched: usize,
}

impl Lines {
    /// The next line. None: the server has ended the watch, between two lines.
    pub(super) async fn next<T: DeserializeOwned>(
        &mut self,
        deadline: Instant,
        silence: Duration,
    ) -> Result<Option<Line<T>>, WatchError> {
        loop {
            if let Some(end) = self.end_of_line() {
                let rest = self.read.split_off(end + 1);
                let line = std::mem::replace(&mut self.read, rest);
                self.searched = 0;
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return parse::<T>(&line).map(Some);
            }
            if self.read.len() > LINE_BYTES {
                return Err(WatchError::LineTooLong(LINE_BYTES));
            }
            match chunk(&mut self.body, deadline, silence).await? {
                Some(data) => self.read.extend_from_slice(&data),
                None if self.read.iter().all(u8::is_ascii_whitespace) => return Ok(None),
                None => return Err(WatchError::Broken("it ends in the middle of a line".into())),
            }
        }
    }

    fn end_of_line(&mut self) -> Option<usize> {
        let unsearched = self.read.get(self.searched..)?;
        let end = unsearched.iter().position(|byte| *byte == b'\n').map(|at| self.searched + at);
        self.searched = self.read.len();
        end
    }
}

/// The next bytes of an answer. None: it has ended.
async fn chunk(body: &mut Body, deadline: Instant, silence: Duration) -> Result<Option<Bytes>, WatchError> {
    loop {
        let frame = timeout_at(deadline, body.frame()).await.map_err(|_| WatchError::Silent(silence))?;
        match frame {
            None => return Ok(None),
            Some(Err(error)) => return Err(WatchError::Broken(error.into())),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data()
                    && data.has_remaining()
                {
                    return Ok(Some(data));
                }
            }
        }
    }
}

fn parse<T: DeserializeOwned>(line: &[u8]) -> Result<Line<T>, WatchError> {
    let malformed = |error: serde_json::Error| WatchError::Malformed(error.to_string());
    let LineBody { r#type, object } = serde_json::from_slice(line).map_err(malformed)?;
    match &*r#type {
        "ADDED" | "MODIFIED" => Ok(Line::Applied(item(object))),
        "DELETED" => Ok(Line::Deleted(item(object))),
        "BOOKMARK" => {
            let OnlyMeta { metadata } = serde_json::from_str(object.get()).map_err(malformed)?;
            let annotations = metadata.annotations.unwrap_or_default();
            Ok(Line::Bookmark {
                version: metadata.resource_version.unwrap_or_default(),
                initial_end: annotations.get(INITIAL_EVENTS_END).is_some_and(|end| end == "true"),
            })
        }
        "ERROR" => {
            Err(WatchError::of_status(serde_json::from_str::<Status>(object.get()).map_err(malformed)?, None))
        }
        other => Err(WatchError::Malformed(format!("an event of the type {:.40}", other.escape_debug()))),
    }
}

/// An object that is not what its kind says is told apart from one that is: it must not stop the others. kube's own
/// `DeserializeGuard` does the same by way of a copy of every object, also of those that are as they should be.
fn item<T: DeserializeOwned>(object: &RawValue) -> Item<T> {
    serde_json::from_str(object.get()).map_err(|error| {
        let meta = serde_json::from_str::<OnlyMeta>(object.get()).map(|object| object.metadata);
        Box::new(InvalidObject { error: error.to_string(), metadata: meta.unwrap_or_default() })
    })
}

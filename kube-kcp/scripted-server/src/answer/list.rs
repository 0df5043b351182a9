use std::vec;

use futures::{StreamExt as _, stream};
use http::Response;
use hyper::body::Bytes;

use super::{Body, json, query::Query};
use crate::{
    fault::Fault,
    form::Form,
    request::{Place, Request},
    shard::ShardState,
    status::Status,
    store::{Key, ListOptions},
};

/// How much of a list is put together at a time.
const CHUNK: usize = 64 << 10;

pub(super) fn list(
    shard: &ShardState,
    place: &Place,
    request: &Request,
    fault: &Fault,
) -> Result<Response<Body>, Status> {
    let query = Query(request);
    let guarded = shard.guarded.lock();
    let store = &guarded.store;
    let resource = store.resource(&place.group, &place.plural).ok_or_else(Status::not_served)?;
    let selection = query.selection(super::scope(place, &resource.kind, store.home())?)?;
    let options = options(&query)?;
    let (page, revision) = store.list(resource, &selection, &options)?;
    let token = page.more_after.as_ref().map(|key| continue_token(revision, key));
    let start = request.form.list_start(&resource.kind, revision, token.as_deref());
    drop(guarded);
    let form = request.form;
    let (items, form) = if fault.concerns_objects() {
        // Made whole first: what changes an object sees all that is sent of it.
        let sent = page.objects.iter().map(|object| form.object(object));
        (sent.filter_map(|sent| fault.change_object(&sent)).collect(), Form::Whole)
    } else {
        (page.objects.iter().map(|object| form.part(object)).collect::<Vec<_>>(), form)
    };
    let mut chunks = Items { start: Some(start), items: items.into_iter(), form };
    let first = chunks.next().unwrap_or_default();
    let body = match chunks.next() {
        None => first.into(),
        Some(second) => Body::chunks(stream::iter([first, second].into_iter().chain(chunks).map(Ok)).boxed()),
    };
    Ok(json(200, body))
}

fn options(query: &Query<'_>) -> Result<ListOptions, Status> {
    let limit = query.number("limit")?.filter(|limit| *limit > 0);
    let limit = limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let revision = query.number("resourceVersion")?;
    if let Some(token) = query.text("continue") {
        if revision.is_some_and(|revision| revision > 0) {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let (at, after) = parse_continue_token(token)
            .ok_or_else(|| Status::bad_request("continue key is not valid: it is not from this server"))?;
        return Ok(ListOptions { limit, after: Some(after), at: Some(at), not_older_than: None });
    }
    let at = match query.text("resourceVersionMatch") {
        Some("Exact") => Some(revision.filter(|revision| *revision > 0).ok_or_else(|| {
            Status::bad_request("resourceVersionMatch Exact needs a resourceVersion that is not 0")
        })?),
        Some("NotOlderThan") | None => None,
        Some(other) => {
            return Err(Status::bad_request(format!("resourceVersionMatch: Unsupported value: {other:?}")));
        }
    };
    Ok(ListOptions { limit, after: None, at, not_older_than: revision })
}

/// The revision of the list and the last key that was sent of it. None of the parts can have a slash.
fn continue_token(revision: u64, key: &Key) -> String {
    format!("{revision}/{}/{}/{}", key.cluster, key.namespace, key.name)
}

fn parse_continue_token(token: &str) -> Option<(u64, Key)> {
    let mut parts = token.splitn(4, '/');
    let revision = parts.next()?.parse().ok()?;
    Some((revision, Key::new(parts.next()?, parts.next()?, parts.next()?)))
}

/// A list, in chunks that are put together when they are sent. The objects' bytes are shared until then.
struct Items {
    start: Option<Bytes>,
    items: vec::IntoIter<Bytes>,
    form: Form,
}

impl Iterator for Items {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut chunk = Vec::with_capacity(CHUNK.min(self.items.as_slice().len() * 1024 + 256));
        match self.start.take() {
            Some(start) => chunk.extend_from_slice(&start),
            None if self.items.as_slice().is_empty() => return None,
            None => chunk.push(b','),
        }
        let (before, after) = self.form.around();
        let mut between = false;
        while chunk.len() < CHUNK
            && let Some(item) = self.items.next()
        {
            if between {
                chunk.push(b',');
            }
            between = true;
            chunk.extend_from_slice(before);
            chunk.extend_from_slice(&item);
            chunk.extend_from_slice(after);
        }
        if self.items.as_slice().is_empty() {
            chunk.extend_from_slice(b"]}\n");
        }
        Some(chunk.into())
    }
}

//! From a request to its answer, and to what is wrong with that.

mod body;
mod end;
mod lines;
mod list;
mod query;
mod transport;
mod watch;
mod write;

use std::sync::Arc;

use http::{HeaderValue, Response, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Bytes, Incoming};

pub(crate) use body::Body;

use crate::{
    fault::{Act, Fault},
    form::Form,
    kind::Kind,
    network::{Close, Control},
    request::{Place, Request, Verb, verb_of},
    server::Shared,
    shard::ShardState,
    status::Status,
    store::Scope,
};

/// The most that a real API server takes.
const MOST_BYTES: usize = 3 << 20;

pub(crate) async fn answer(
    server: &Arc<Shared>,
    connection: &Arc<Control>,
    incoming: http::Request<Incoming>,
) -> Response<Body> {
    let (head, body) = incoming.into_parts();
    let token = head.headers.get(header::AUTHORIZATION).cloned();
    let body = match Limited::new(body, MOST_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return refusal(&Status::new(413, "RequestEntityTooLarge", "the request is too large")),
    };
    let found = server.route(head.uri.path());
    let request = read(&head, body, found.as_ref());
    let fault = server.scripts.take(&request);
    server.requests.add(request.clone());
    before(&fault, connection).await;
    let mut answer = match instead(&fault, request.verb) {
        Some(answer) => answer,
        None if !server.admits(token.as_ref()) => refusal(&Status::unauthorized()),
        None => match found {
            Some((shard, place)) => done(&shard, &place, &request, &fault, connection),
            None => refusal(&Status::not_served()),
        },
    };
    for act in &fault.acts {
        match act {
            Act::ContentType(text) => {
                if let Ok(value) = HeaderValue::from_str(text) {
                    answer.headers_mut().insert(header::CONTENT_TYPE, value);
                }
            }
            Act::Held(gate) => gate.pass().await,
            Act::Lost => {
                connection.close(Close::Unnotified);
                std::future::pending().await
            }
            Act::GoAway => connection.go_away(),
            _ => {}
        }
    }
    answer.map(|body| transport::transported(body, &fault, connection))
}

fn read(head: &http::request::Parts, body: Bytes, found: Option<&(Arc<ShardState>, Place)>) -> Request {
    let query = head.uri.query().unwrap_or_default();
    let query: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Request {
        verb: verb_of(&head.method, found.map(|found| &found.1), &query),
        method: head.method.clone(),
        path: head.uri.path().to_owned(),
        query,
        shard: found.map(|found| found.0.prefix.clone()),
        place: found.map(|found| found.1.clone()),
        form: Form::accepted(text(header::ACCEPT)),
        version: head.version,
        content_type: text(header::CONTENT_TYPE).to_owned(),
        body,
    }
}

/// What is wrong before anything is done.
async fn before(fault: &Fault, connection: &Control) {
    for act in &fault.acts {
        match act {
            Act::HeldBefore(gate) => gate.pass().await,
            Act::Silence => std::future::pending().await,
            Act::Reset => {
                connection.close(Close::Reset);
                std::future::pending().await
            }
            _ => {}
        }
    }
}

/// What is answered in place of doing it.
fn instead(fault: &Fault, verb: Verb) -> Option<Response<Body>> {
    fault.acts.iter().find_map(|act| match act {
        Act::Status(status) => Some(refusal(status)),
        Act::Answer { status, headers, body } => {
            let mut answer = Response::new(body.clone().into());
            *answer.status_mut() = http::StatusCode::from_u16(*status).unwrap_or_default();
            for (name, value) in headers {
                if let Ok(value) = HeaderValue::from_str(value) {
                    answer.headers_mut().insert(*name, value);
                }
            }
            Some(answer)
        }
        Act::Malformed if verb != Verb::Watch => Some(json(200, Bytes::from_static(lines::MALFORMED).into())),
        _ => None,
    })
}

fn done(
    shard: &Arc<ShardState>,
    place: &Place,
    request: &Request,
    fault: &Fault,
    connection: &Arc<Control>,
) -> Response<Body> {
    let done = match request.verb {
        Verb::List => list::list(shard, place, request, fault),
        Verb::Watch => watch::watch(shard, place, request, fault, connection),
        Verb::Get => write::get(shard, place, request, fault),
        Verb::Create | Verb::Update | Verb::Patch | Verb::Delete => write::write(shard, place, request),
        Verb::Other => Err(Status::method_not_allowed()),
    };
    done.unwrap_or_else(|status| refusal(&status))
}

/// Which objects a collection's path is about.
fn scope(place: &Place, kind: &Kind, home: &str) -> Result<Scope, Status> {
    if kind.version != place.version {
        return Err(Status::not_served());
    }
    let cluster = place.cluster.as_deref().unwrap_or(home).to_owned();
    match (&*cluster, &place.namespace) {
        ("*", Some(_)) => {
            Err(Status::bad_request("a wildcard request is across all namespaces: it cannot name one"))
        }
        ("*", None) => Ok(Scope::Everything),
        (_, Some(_)) if !kind.namespaced => Err(Status::not_served()),
        (_, Some(namespace)) => Ok(Scope::Namespace(cluster, namespace.clone())),
        (_, None) => Ok(Scope::Cluster(cluster)),
    }
}

fn json(status: u16, body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    *answer.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn refusal(status: &Status) -> Response<Body> {
    let mut answer = json(status.code, Bytes::from(status.to_value().to_string()).into());
    if let Some(seconds) = status.retry_after_seconds() {
        answer.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    answer
}

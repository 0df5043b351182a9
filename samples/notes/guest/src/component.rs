//! `wasi:http/incoming-handler`: the host makes a new instance for each request and calls `handle` on it.

use std::io::{Read, Write};

use wasip2::clocks::wall_clock;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::random::random::get_random_u64;

use annex::host::{context, log, storage_kv};

use crate::{Answer, MAX_BODY_BYTES, Request, Store, StoreError, answer};

wit_bindgen::generate!({ path: "wit", world: "annex:host/imports" });

struct Component;

wasip2::http::proxy::export!(Component);

impl Guest for Component {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let method = name(request.method());
        let tenant = context::current().tenant;
        let answered = answer(
            &mut Kept,
            &Request {
                method: &method,
                path,
                query,
                body: &body(&request),
                tenant: &tenant,
                now: now(),
                // Of a random number, any 32 bits are random.
                random: get_random_u64() as u32,
            },
        );
        if answered.status >= 500 {
            log::write(log::Level::Error, &format!("{method} was answered {}", answered.status));
        }
        send(&answered, out);
    }
}

/// The host's store.
struct Kept;

impl Store for Kept {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        storage_kv::get(key).map_err(failed)
    }

    fn replace(&mut self, key: &str, expected: Option<&[u8]>, value: &[u8]) -> Result<bool, StoreError> {
        storage_kv::compare_and_set(key, expected, value).map_err(failed)
    }

    fn delete(&mut self, key: &str) -> Result<(), StoreError> {
        storage_kv::delete(key).map_err(failed)
    }

    fn keys(&self, prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<String>, StoreError> {
        storage_kv::list_keys(prefix, after, limit).map_err(failed)
    }
}

fn failed(error: storage_kv::Error) -> StoreError {
    match error {
        storage_kv::Error::QuotaExceeded => StoreError::Full,
        _ => StoreError::Unavailable,
    }
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let now = wall_clock::now();
    now.seconds * 1000 + u64::from(now.nanoseconds / 1_000_000)
}

/// Up to one byte more than is read, which tells that there is more.
fn body(request: &IncomingRequest) -> Vec<u8> {
    let mut bytes = Vec::new();
    let Ok(body) = request.consume() else { return bytes };
    let Ok(stream) = body.stream() else { return bytes };
    // What broke off on its way is no JSON, and is refused as that.
    let _ = stream.take(MAX_BODY_BYTES as u64 + 1).read_to_end(&mut bytes);
    bytes
}

fn send(answer: &Answer, out: ResponseOutparam) {
    let headers = Fields::new();
    let _ = headers.set("content-type", &[b"application/json".to_vec()]);
    // What a workspace keeps is no one else's to keep.
    let _ = headers.set("cache-control", &[b"no-store".to_vec()]);
    let response = OutgoingResponse::new(headers);
    let _ = response.set_status_code(answer.status);
    let Ok(body) = response.body() else { return };
    ResponseOutparam::set(out, Ok(response));
    let Ok(mut stream) = body.write() else { return };
    // Whoever asked may be gone. There is nobody to tell then.
    let written = stream.write_all(answer.body.as_bytes()).and_then(|()| Write::flush(&mut stream));
    drop(stream);
    if written.is_ok() {
        let _ = OutgoingBody::finish(body, None);
    }
}

fn name(method: Method) -> String {
    match method {
        Method::Get => "GET",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Other(name) => return name,
        // No endpoint of the manifest has another one.
        _ => "",
    }
    .to_owned()
}

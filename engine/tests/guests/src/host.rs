//! What a guest does with the host.

use std::io::{Read as _, Write as _};

use annex::host::{context, log, metrics, secrets, storage_kv};
use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, Method, OutgoingBody, OutgoingRequest, Scheme};

wit_bindgen::generate!({ path: "../../wit", world: "annex:host/imports" });

pub fn surroundings() -> String {
    let files = std::fs::read_dir("/").map(|entries| entries.count());
    format!(
        "env {} args {} files {} stdin {}",
        std::env::vars().count(),
        std::env::args().count(),
        files.unwrap_or(0),
        std::io::stdin().read_line(&mut String::new()).unwrap_or(0),
    )
}

pub fn kv() -> String {
    storage_kv::set("a", b"1").unwrap();
    storage_kv::set("b", b"2").unwrap();
    let swapped = storage_kv::compare_and_set("a", Some(b"1"), b"3").unwrap();
    let lost = storage_kv::compare_and_set("a", Some(b"1"), b"4").unwrap();
    let made = storage_kv::compare_and_set("c", None, b"5").unwrap();
    storage_kv::delete("b").unwrap();
    let keys = storage_kv::list_keys("", None, 10).unwrap();
    let after = storage_kv::list_keys("", Some("a"), 10).unwrap();
    let value = storage_kv::get("a").unwrap().unwrap();
    format!("{swapped} {lost} {made} {keys:?} {after:?} {}", String::from_utf8(value).unwrap())
}

pub fn kv_limits() -> String {
    let long = "k".repeat(1025);
    format!(
        "{} {} {} {} {}",
        storage_kv::get("").unwrap_err().name(),
        storage_kv::get(&long).unwrap_err().name(),
        storage_kv::set(&long[..1024], b"").is_ok(),
        storage_kv::set("v", &vec![0; 65536]).is_ok(),
        storage_kv::set("v", &vec![0; 65537]).unwrap_err().name(),
    )
}

pub fn kv_budget() -> String {
    let value = vec![0; 65536];
    loop {
        if let Err(error) = storage_kv::set("v", &value) {
            return error.name().to_owned();
        }
    }
}

pub fn kv_get(key: &str) -> String {
    match storage_kv::get(key) {
        Ok(Some(value)) => String::from_utf8_lossy(&value).into_owned(),
        Ok(None) => "none".to_owned(),
        Err(error) => error.name().to_owned(),
    }
}

pub fn secret(name: &str) -> String {
    match secrets::get(name, "token") {
        Ok(value) => String::from_utf8(value).unwrap(),
        Err(error) => error.name().to_owned(),
    }
}

pub fn log_secret(name: &str) -> String {
    let value = secret(name);
    log::write(log::Level::Info, &value);
    println!("{value}");
    "logged".to_owned()
}

pub fn metrics() -> String {
    metrics::count("saved", 2);
    metrics::count("saved", 3);
    metrics::observe("size", 1.5);
    metrics::observe("nothing", f64::NAN);
    metrics::count("Bad Name", 1);
    String::new()
}

pub fn context() -> String {
    let call = context::current();
    [call.request_id, call.tenant, call.extension, call.version, call.install, call.config].join(" ")
}

pub fn version() -> String {
    context::current().version
}

pub fn log(lines: u64) -> String {
    let line = "x".repeat(64 << 10);
    for _ in 0..lines {
        log::write(log::Level::Info, &line);
    }
    "logged".to_owned()
}

pub fn print(lines: u64) -> String {
    for number in 0..lines {
        println!("line {number}");
        eprintln!("error {number}");
    }
    eprint!("no end");
    "printed".to_owned()
}

pub fn fetch(authority: &str) -> String {
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).unwrap();
    request.set_authority(Some(authority)).unwrap();
    request.set_path_with_query(Some("/")).unwrap();
    let answer = match outgoing_handler::handle(request, None) {
        Ok(answer) => answer,
        Err(error) => return format!("{error:?}"),
    };
    answer.subscribe().block();
    match answer.get().unwrap().unwrap() {
        Ok(response) => response.status().to_string(),
        Err(error) => format!("{error:?}"),
    }
}

/// Sends a body of so many bytes, reads the answer's, and says how long that is.
pub fn exchange(bytes: u64) -> usize {
    let request = OutgoingRequest::new(Fields::new());
    request.set_method(&Method::Post).unwrap();
    request.set_scheme(Some(&Scheme::Http)).unwrap();
    request.set_authority(Some("example.com")).unwrap();
    request.set_path_with_query(Some("/")).unwrap();
    let body = request.body().unwrap();
    let answer = outgoing_handler::handle(request, None).unwrap();
    let mut stream = body.write().unwrap();
    stream.write_all(&vec![b'x'; usize::try_from(bytes).unwrap()]).unwrap();
    drop(stream);
    OutgoingBody::finish(body, None).unwrap();
    answer.subscribe().block();
    let response = answer.get().unwrap().unwrap().unwrap();
    let body = response.consume().unwrap();
    let mut received = Vec::new();
    body.stream().unwrap().read_to_end(&mut received).unwrap();
    received.len()
}

pub fn fetch_often(times: u64) -> String {
    (0..times).map(|_| fetch("example.com")).last().unwrap_or_default()
}

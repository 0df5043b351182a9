//! What an extension is told of its own life: each handler writes down what it was called for, and `GET /steps` tells it.

mod problem;
mod wire;

use annex::host::{context, storage_kv};
use problem::Problem;
use serde::Deserialize;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, Method, ResponseOutparam};

wit_bindgen::generate!({ path: "wit", world: "annex:host/imports" });

struct Component;

wasip2::http::proxy::export!(Component);

impl Guest for Component {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        let answered = match (request.method(), path) {
            (Method::Get, "/steps") => steps(),
            (Method::Get, "/version") => version(),
            (Method::Post, "/.annex/lifecycle/note") => note(&wire::body(&request)),
            _ => Err(Problem::new(404, "there is nothing here")),
        };
        match answered {
            Ok(text) => wire::answer(200, &text, out),
            Err(problem) => wire::answer(problem.status, &problem.message, out),
        }
    }
}

/// What a handler is told. There is also `purge`.
#[derive(Deserialize)]
struct Change {
    action: String,
    module: String,
    from: Option<String>,
    to: Option<String>,
}

/// Who is called twice for one change has it here twice: one who changes something has to see whether it is done.
fn note(body: &[u8]) -> Result<String, Problem> {
    let Change { action, module, from, to } = serde_json::from_slice(body)
        .map_err(|error| Problem::new(400, format!("this is no change: {error}")))?;
    let (from, to) = (from.unwrap_or("nothing".into()), to.unwrap_or("nothing".into()));
    loop {
        let before = storage_kv::get("steps")?;
        let mut steps = before.clone().unwrap_or_default();
        steps.extend(format!("{action} {module}: {from} to {to}\n").bytes());
        // Handlers of one Install are called one after the other; a call that was given up may still be at work.
        if storage_kv::compare_and_set("steps", before.as_deref(), &steps)? {
            return Ok("it is noted".into());
        }
    }
}

fn steps() -> Result<String, Problem> {
    let steps = storage_kv::get("steps")?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&steps).into_owned())
}

/// Which version this is, as Annex tells it. It is one component in all of them.
fn version() -> Result<String, Problem> {
    let config: serde_json::Value = serde_json::from_str(&context::current().config)
        .map_err(|error| Problem::new(500, format!("the configuration is no JSON: {error}")))?;
    Ok(config["annex"]["version"].as_str().unwrap_or("none").to_owned())
}

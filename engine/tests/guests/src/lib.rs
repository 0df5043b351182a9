//! A guest that behaves, and misbehaves in every way that it is asked for by the path of the request.

mod attacks;
mod host;
mod lifecycle;
mod reply;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

use reply::{Reply, read_body};

struct Component;

wasip2::http::proxy::export!(Component);

impl Guest for Component {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let number = query.parse().unwrap_or(0);
        match path {
            "/hello" => Reply::text("hello").send(out),
            "/echo" => Reply::bytes(read_body(&request)).send(out),
            "/request" => Reply::text(reply::describe(&request)).send(out),
            "/surroundings" => Reply::text(host::surroundings()).send(out),
            "/kv" => Reply::text(host::kv()).send(out),
            "/kv-limits" => Reply::text(host::kv_limits()).send(out),
            "/kv-budget" => Reply::text(host::kv_budget()).send(out),
            "/kv-get" => Reply::text(host::kv_get(query)).send(out),
            "/secret" => Reply::text(host::secret(query)).send(out),
            "/log-secret" => Reply::text(host::log_secret(query)).send(out),
            "/metrics" => Reply::text(host::metrics()).send(out),
            "/context" => Reply::text(host::context()).send(out),
            "/fetch" => Reply::text(host::fetch(query)).send(out),
            "/fetch-often" => Reply::text(host::fetch_often(number)).send(out),
            "/exchange" => Reply::text(host::exchange(number).to_string()).send(out),
            "/log" => Reply::text(host::log(number)).send(out),
            "/print" => Reply::text(host::print(number)).send(out),
            "/lifecycle" => Reply::text(lifecycle::told()).send(out),
            "/version" => Reply::text(host::version()).send(out),
            _ => match path.strip_prefix("/.annex/lifecycle/") {
                Some(handler) => lifecycle::handle(handler, &read_body(&request)).send(out),
                None => attacks::attack(path, number, out),
            },
        }
    }
}

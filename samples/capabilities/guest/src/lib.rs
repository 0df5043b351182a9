//! A working example of each capability. `docs/guest-guide.md` quotes them, and the runner's tests call them.

mod fetching;
mod greeting;
mod keys;
mod lifecycle;
mod payments;
mod problem;
mod report;
mod theme;
mod visits;
mod wire;

use problem::Problem;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, Method, ResponseOutparam};

wit_bindgen::generate!({ path: "wit", world: "annex:host/imports" });

struct Component;

wasip2::http::proxy::export!(Component);

impl Guest for Component {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        let body = wire::body(&request);
        let answered = match (request.method(), path) {
            (Method::Get, "/theme") => theme::theme(),
            (Method::Put, "/theme") => theme::set_theme(&body),
            (Method::Post, "/visits") => visits::visit(),
            (Method::Get, "/keys") => keys::keys(),
            (Method::Post, "/payments") => payments::pay(),
            (Method::Post, "/report") => Ok(report::report(&body)),
            (Method::Get, "/greeting") => greeting::greeting(),
            (Method::Get, "/rates") => fetching::rates(),
            (Method::Post, "/.annex/lifecycle/setup") => lifecycle::setup(),
            (Method::Post, "/.annex/lifecycle/migrate") => lifecycle::migrate(&body),
            _ => Err(Problem::new(404, "there is nothing here")),
        };
        match answered {
            Ok(text) => wire::answer(200, &text, out),
            Err(problem) => wire::answer(problem.status, &problem.message, out),
        }
    }
}

//! The extension's code. [`answer`] decides; what is here carries it from and to the host.

pub mod answer;

/// `wasi:http/incoming-handler`: the host makes a new instance for each request and calls `handle` on it.
#[cfg(target_family = "wasm")]
mod component {
    use std::io::Write;

    use wasip2::exports::http::incoming_handler::Guest;
    use wasip2::http::types::{
        Fields, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
    };

    struct Component;

    wasip2::http::proxy::export!(Component);

    impl Guest for Component {
        fn handle(request: IncomingRequest, out: ResponseOutparam) {
            let target = request.path_with_query().unwrap_or_default();
            let path = target.split('?').next().unwrap_or_default();
            let answer = crate::answer::answer(&name(request.method()), path);

            let headers = Fields::new();
            let _ = headers.set("content-type", &[b"application/json".to_vec()]);
            let response = OutgoingResponse::new(headers);
            // A number that is no status is refused, and 200 stays.
            let _ = response.set_status_code(answer.status);
            let Ok(body) = response.body() else { return };
            ResponseOutparam::set(out, Ok(response));
            let Ok(mut stream) = body.write() else { return };
            // Whoever asked may be gone. There is nobody to tell then.
            let written = stream
                .write_all(answer.body.as_bytes())
                .and_then(|()| Write::flush(&mut stream));
            drop(stream);
            if written.is_ok() {
                let _ = OutgoingBody::finish(body, None);
            }
        }
    }

    fn name(method: Method) -> String {
        match method {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Connect => "CONNECT",
            Method::Options => "OPTIONS",
            Method::Trace => "TRACE",
            Method::Patch => "PATCH",
            Method::Other(name) => return name,
        }
        .to_owned()
    }
}

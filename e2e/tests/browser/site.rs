//! A platform, an extension and a stranger: three origins on one port. A double: the scripts under test are the real ones, the pages
//! around them and the API are made up so that they can misbehave.

use std::{net::SocketAddr, sync::Arc};

use annex_e2e::until;
use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use tokio::{net::TcpListener, sync::Mutex, task::JoinHandle};
use url::Url;

/// The platform's page: it shows the extension at `?url=…`, and keeps what it hears and gives.
const PLATFORM: &str = r#"<!doctype html><link rel="icon" href="data:,"><title>platform</title><script type="module">
  import { embed } from "./annex-embed.js";
  window.embed = embed;
  window.heard = [];
  window.given = 0;
  window.addEventListener("message", (event) => window.heard.push(`${event.origin} ${event.data?.type}`));
  const asked = new URL(location).searchParams;
  const token = async () => {
    if (asked.has("signed-out")) throw new Error("the session has ended");
    return `token-${++window.given}`;
  };
  if (asked.has("url")) window.shown = embed(document.body, { url: asked.get("url"), token });
</script>"#;

/// The extension's page: it calls its API once it is there.
const EXTENSION: &str = r#"<!doctype html><link rel="icon" href="data:,"><title>extension</title>
<script src="annex-extension.js"></script><script>
  window.annex = annex;
  const path = new URL(location).searchParams.get("call") ?? "/api/hello";
  annex.fetch(path).then((answer) => { document.title = `answered ${answer.status}`; });
</script>"#;

/// A page of somebody else's: it asks whoever is around it for a token.
const STRANGER: &str = r#"<!doctype html><link rel="icon" href="data:,"><title>stranger</title><script>
  window.received = [];
  window.addEventListener("message", (event) => window.received.push(event.data));
  window.parent.postMessage({ annex: 1, type: "token-request" }, "*");
  window.parent.postMessage({ annex: 1, type: "height", height: 5000 }, "*");
</script>"#;

/// A call of an API, as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    /// `HOST/PATH`.
    pub(crate) target: String,
    pub(crate) authorization: Option<String>,
}

#[derive(Default)]
struct Seen {
    calls: Vec<Call>,
    ended: Vec<String>,
}

/// The three of them, as long as it lives.
pub(crate) struct Site {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    server: JoinHandle<()>,
}

impl Site {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&seen));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("a server") });
        Ok(Self { address, seen, server })
    }

    /// `http://NAME.localhost:PORT`.
    pub(crate) fn origin(&self, name: &str) -> String {
        format!("http://{name}.localhost:{}", self.address.port())
    }

    /// The platform's page with this extension in it.
    pub(crate) fn showing(&self, url: &str) -> String {
        let page = Url::parse_with_params(&self.origin("platform"), [("url", url)]);
        page.expect("an origin is a URL").into()
    }

    /// From now on this token is answered 401.
    pub(crate) async fn end_token(&self, token: &str) {
        self.seen.lock().await.ended.push(format!("Bearer {token}"));
    }

    /// All calls so far, once there are as many.
    pub(crate) async fn calls(&self, count: usize) -> anyhow::Result<Vec<Call>> {
        until(&format!("{count} calls"), || async {
            let calls = self.seen.lock().await.calls.clone();
            Ok((calls.len() >= count).then_some(calls))
        })
        .await
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(State(seen): State<Arc<Mutex<Seen>>>, headers: HeaderMap, request: Request) -> Response {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let host = text(header::HOST).unwrap_or_default();
    let name = host.split('.').next().unwrap_or_default();
    let path = request.uri().path();
    if path.starts_with("/api/") {
        let mut seen = seen.lock().await;
        let call = Call { target: format!("{name}{path}"), authorization: text(header::AUTHORIZATION) };
        let over = call.authorization.as_ref().is_some_and(|token| seen.ended.contains(token));
        seen.calls.push(call);
        return if over { StatusCode::UNAUTHORIZED } else { StatusCode::OK }.into_response();
    }
    match (name, path) {
        ("platform", "/") => Html(PLATFORM).into_response(),
        ("extension", "/") => Html(EXTENSION).into_response(),
        ("stranger", "/") => Html(STRANGER).into_response(),
        (_, "/annex-embed.js") => script(annex_embed::EMBED),
        (_, "/annex-extension.js") => script(annex_embed::EXTENSION),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn script(text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, "text/javascript")], text).into_response()
}

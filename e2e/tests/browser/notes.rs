//! The page of `samples/notes` with the sample's own code behind it, as people use it. Only what lies between them is made up: its files
//! come with the runner's Content-Security-Policy, and its API goes straight to the code, with a store in memory.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
};

use annex_e2e::{console_errors, evaluate, until, with_browser};
use annex_sample_notes::{Request as Asked, Store, StoreError, answer};
use axum::{
    Router,
    body::to_bytes,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use fantoccini::{Client, Locator, key::Key};
use serde_json::json;
use tokio::{net::TcpListener, task::JoinHandle};

/// As `runner/src/ui/security.rs` has it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

#[derive(Default)]
struct Memory {
    values: BTreeMap<String, Vec<u8>>,
    is_broken: bool,
    /// Counts up, as time does.
    now: u64,
}

impl Memory {
    fn works(&self) -> Result<(), StoreError> {
        if self.is_broken { Err(StoreError::Unavailable) } else { Ok(()) }
    }
}

impl Store for Memory {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.works().map(|()| self.values.get(key).cloned())
    }

    fn replace(&mut self, key: &str, expected: Option<&[u8]>, value: &[u8]) -> Result<bool, StoreError> {
        self.works()?;
        let is_as_expected = self.values.get(key).map(Vec::as_slice) == expected;
        if is_as_expected {
            self.values.insert(key.to_owned(), value.to_vec());
        }
        Ok(is_as_expected)
    }

    fn delete(&mut self, key: &str) -> Result<(), StoreError> {
        self.works()?;
        self.values.remove(key);
        Ok(())
    }

    fn keys(&self, prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<String>, StoreError> {
        self.works()?;
        let keys = self.values.keys().filter(|key| key.starts_with(prefix));
        let keys = keys.filter(|key| after.is_none_or(|after| key.as_str() > after));
        Ok(keys.take(limit as usize).cloned().collect())
    }
}

type Shared = Arc<Mutex<Memory>>;

/// The extension's own host.
struct Site {
    url: String,
    store: Shared,
    server: JoinHandle<()>,
}

impl Site {
    async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://notes.localhost:{}/", listener.local_addr()?.port());
        let store = Shared::default();
        let router = Router::new().fallback(respond).with_state(Arc::clone(&store));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("a server") });
        Ok(Self { url, store, server })
    }

    fn breaks(&self, is_broken: bool) {
        self.store.lock().expect("a store").is_broken = is_broken;
    }

    /// What somebody else asks.
    fn asks(&self, method: &str, path: &str, body: &serde_json::Value) -> u16 {
        ask(&self.store, method, path, "", body.to_string().as_bytes()).0
    }

    /// The ids of all notes.
    fn ids(&self) -> Vec<String> {
        let keys = self.store.lock().expect("a store").values.keys().cloned().collect::<Vec<_>>();
        keys.iter().filter_map(|key| key.strip_prefix("note/")).map(str::to_owned).collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn ask(store: &Shared, method: &str, path: &str, query: &str, body: &[u8]) -> (u16, String) {
    let mut store = store.lock().expect("a store");
    store.now += 1;
    let now = store.now;
    let answer =
        answer(&mut *store, &Asked { method, path, query, body, tenant: "1s8uv2zt5c3nc1hy", now, random: 1 });
    (answer.status, answer.body)
}

async fn respond(State(store): State<Shared>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    if let Some(path) = path.strip_prefix("/api/ext/com.example.notes") {
        let body = to_bytes(body, 1 << 20).await.expect("a body");
        let (status, body) =
            ask(&store, head.method.as_str(), path, head.uri.query().unwrap_or_default(), &body);
        let status = StatusCode::from_u16(status).expect("a status");
        return (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
    }
    let name = if path == "/" { "index.html" } else { path.trim_start_matches('/') };
    let ui = Path::new(env!("CARGO_MANIFEST_DIR")).join("../samples/notes/ui");
    let Ok(content) = std::fs::read(ui.join(name)) else { return StatusCode::NOT_FOUND.into_response() };
    let kind = match name.rsplit('.').next() {
        Some("html") => "text/html",
        Some("css") => "text/css",
        Some("svg") => "image/svg+xml",
        _ => "text/javascript",
    };
    ([(header::CONTENT_TYPE, kind), (header::CONTENT_SECURITY_POLICY, POLICY)], content).into_response()
}

/// Returns once an expression is true in the page.
async fn holds(session: &Client, expression: &str) -> anyhow::Result<()> {
    until(expression, || async { Ok((evaluate(session, expression).await? == json!(true)).then_some(())) })
        .await
}

/// Types where the focus is.
async fn types(session: &Client, text: &str) -> anyhow::Result<()> {
    Ok(session.active_element().await?.send_keys(text).await?)
}

async fn press(session: &Client, selector: &str) -> anyhow::Result<()> {
    Ok(session.find(Locator::Css(selector)).await?.click().await?)
}

const TEXTS: &str = "[...document.querySelectorAll('.text')].map((text) => text.textContent).join('|')";

/// Saves what is typed.
fn save() -> String {
    [Key::Control, Key::Enter].map(char::from).iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn notes_are_written_changed_and_deleted_with_the_keyboard() -> anyhow::Result<()> {
    let site = Site::start().await?;
    with_browser(async |session| {
        session.goto(&site.url).await?;
        holds(&session, "document.getElementById('tenant').textContent === '1s8uv2zt5c3nc1hy'").await?;
        holds(&session, "!document.getElementById('empty').hidden").await?;
        session.execute("document.getElementById('text').focus()", vec![]).await?;
        types(&session, "buy <b>milk</b>").await?;
        types(&session, &save()).await?;
        holds(&session, &format!("{TEXTS} === 'buy <b>milk</b>'")).await?;
        holds(&session, "document.getElementById('done').textContent === 'Saved.'").await?;
        assert_eq!(evaluate(&session, "document.getElementById('empty').hidden").await?, json!(true));
        assert_eq!(evaluate(&session, "document.activeElement.id").await?, json!("text"));

        // By way of the keys alone: the note's Edit, its text, and back at the same place.
        session.execute("document.querySelector('.edit').focus()", vec![]).await?;
        types(&session, &char::from(Key::Enter).to_string()).await?;
        holds(&session, "document.activeElement.tagName === 'TEXTAREA'").await?;
        types(&session, " and bread").await?;
        types(&session, &save()).await?;
        holds(&session, &format!("{TEXTS} === 'buy <b>milk</b> and bread'")).await?;
        holds(&session, "document.activeElement.ariaLabel === 'Edit: buy <b>milk</b> and bread'").await?;

        press(&session, ".delete").await?;
        holds(&session, "document.querySelector('.delete').textContent === 'Really delete'").await?;
        assert_eq!(site.ids().len(), 1);
        press(&session, ".delete").await?;
        holds(&session, "!document.getElementById('empty').hidden").await?;
        holds(&session, "document.activeElement.id === 'text'").await?;
        assert_eq!(site.ids(), Vec::<String>::new());
        assert_eq!(console_errors(&session).await?, Vec::<String>::new());
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_wrote_meanwhile_is_shown_before_it_is_written_over() -> anyhow::Result<()> {
    let site = Site::start().await?;
    assert_eq!(site.asks("POST", "/notes", &json!({ "text": "first" })), 201);
    let path = format!("/notes/{}", site.ids().remove(0));
    with_browser(async |session| {
        session.goto(&site.url).await?;
        holds(&session, &format!("{TEXTS} === 'first'")).await?;
        press(&session, ".edit").await?;
        types(&session, ", mine").await?;
        assert_eq!(site.asks("PUT", &path, &json!({ "text": "theirs", "version": 1 })), 200);
        press(&session, "li .main").await?;
        holds(&session, "document.querySelector('.theirs')?.textContent.includes('“theirs”')").await?;
        press(&session, "li .main").await?;
        holds(&session, &format!("{TEXTS} === 'first, mine'")).await?;

        // Or theirs is kept.
        press(&session, ".edit").await?;
        assert_eq!(site.asks("PUT", &path, &json!({ "text": "theirs again", "version": 3 })), 200);
        press(&session, "li .main").await?;
        holds(&session, "document.querySelector('.theirs')?.textContent.includes('“theirs again”')").await?;
        press(&session, "li .cancel").await?;
        holds(&session, &format!("{TEXTS} === 'theirs again'")).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn older_notes_come_when_asked_for_and_what_fails_can_be_tried_again() -> anyhow::Result<()> {
    let site = Site::start().await?;
    for number in 0..25 {
        assert_eq!(site.asks("POST", "/notes", &json!({ "text": format!("note {number}") })), 201);
    }
    let shown = |count: usize| format!("document.querySelectorAll('#notes > li').length === {count}");
    site.breaks(true);
    with_browser(async |session| {
        session.goto(&site.url).await?;
        holds(&session, "document.getElementById('failure').textContent.includes('try again')").await?;
        assert_eq!(evaluate(&session, "document.getElementById('empty').hidden").await?, json!(true));
        site.breaks(false);
        press(&session, "#again").await?;
        holds(&session, &shown(20)).await?;
        assert_eq!(
            evaluate(&session, "document.querySelector('.text').textContent").await?,
            json!("note 24")
        );
        assert_eq!(evaluate(&session, "document.getElementById('failure').textContent").await?, json!(""));
        press(&session, "#more").await?;
        holds(&session, &shown(25)).await?;
        holds(&session, "document.getElementById('more').hidden").await?;
        holds(&session, "document.activeElement.ariaLabel === 'Edit: note 4'").await?;

        // What was typed stays until it is saved.
        site.breaks(true);
        session.find(Locator::Id("text")).await?.send_keys("precious").await?;
        press(&session, "#new .main").await?;
        holds(&session, "document.getElementById('failure').textContent !== ''").await?;
        assert_eq!(evaluate(&session, "document.getElementById('text').value").await?, json!("precious"));
        site.breaks(false);
        press(&session, "#new .main").await?;
        holds(&session, &shown(26)).await?;
        holds(&session, "document.getElementById('text').value === ''").await?;
        Ok(())
    })
    .await
}

//! The sample extension in a real Chromium: opened by itself, and shown by a page of the platform.

use std::net::SocketAddr;

use annex_e2e::{
    NOTES, NOTES_ENDPOINTS, NotesPage, World, console_errors, evaluate, publish_notes, token_in, with_browser,
};
use anyhow::Context as _;
use axum::{
    Router,
    http::header,
    response::{Html, IntoResponse as _},
    routing::get,
};
use fantoccini::{Client, Locator};
use serde_json::json;
use tokio::{net::TcpListener, task::block_in_place};
use xtask::Part;

use crate::environment::alone;

/// The sample, published; where a new workspace of alice's has it, and the workspace's cluster.
async fn installed(world: &World, name: &str, more: serde_json::Value) -> anyhow::Result<(String, String)> {
    block_in_place(|| publish_notes(&world.stack, &world.stack.paths().kcp_kubeconfig()))?;
    let workspace = world.user("alice").await?.tenant(name).await?;
    workspace.install("notes", NOTES, more).await?;
    let url = workspace.installed("notes").await?.status.context("a status")?.url.context("a URL")?;
    Ok((url, workspace.cluster.to_string()))
}

/// What is inline does not run, and the page's own script did: the policy is in force and lets the page be.
async fn policy_holds(session: &Client) -> anyhow::Result<()> {
    let inline = "const script = document.createElement('script'); script.textContent = 'window.ran = true'; \
        document.head.append(script); return window.ran === true";
    assert_eq!(session.execute(inline, vec![]).await?, json!(false), "an inline script ran");
    let blocked = console_errors(session).await?;
    assert!(blocked.iter().any(|error| error.contains("Content Security Policy")), "{blocked:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_is_saved_and_is_there_after_the_runner_restarted() -> anyhow::Result<()> {
    let (world, _turn) = alone().await;
    let (url, cluster) = installed(world, "acme-sample", json!({ "public": NOTES_ENDPOINTS })).await?;
    with_browser(async |session| {
        session.goto(&url).await?;
        let page = NotesPage(&session);
        assert_eq!(page.tenant().await?, cluster);
        page.save("Buy milk").await?;
        assert_eq!(console_errors(&session).await?, Vec::<String>::new());
        policy_holds(&session).await?;

        block_in_place(|| world.stack.kill(Part::Runner))?;
        block_in_place(|| world.stack.start(Part::Runner))?;
        session.goto(&url).await?;
        assert_eq!(page.tenant().await?, cluster);
        page.shows("Buy milk").await?;
        assert_eq!(console_errors(&session).await?, Vec::<String>::new());
        Ok(())
    })
    .await
}

/// A page of the platform, which shows an extension and hands over the token of a user who is signed in there.
async fn platform(token: String) -> anyhow::Result<SocketAddr> {
    let page = format!(
        r#"<!doctype html><link rel="icon" href="data:,"><title>platform</title><script type="module">
        import {{ embed }} from "./annex-embed.js";
        embed(document.body, {{ url: new URL(location).searchParams.get("url"), token: async () => {} }});
        </script>"#,
        json!(token)
    );
    let script =
        || async { ([(header::CONTENT_TYPE, "text/javascript")], annex_embed::EMBED).into_response() };
    let router = Router::new()
        .route("/", get(move || async move { Html(page) }))
        .route("/annex-embed.js", get(script));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

/// Gives the runner its own settings back when the test has ended, however it ends.
struct Reconfigured(&'static World);

impl Drop for Reconfigured {
    fn drop(&mut self) {
        self.0.stack.configure(Part::Runner, &[], &[]);
        let restarted = block_in_place(|| self.0.stack.start(Part::Runner));
        assert!(restarted.is_ok() || std::thread::panicking(), "{restarted:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_the_platform_shows_it_and_its_users_token_opens_it() -> anyhow::Result<()> {
    let (world, _turn) = alone().await;
    let token = token_in(&world.stack.paths().user_kubeconfig("alice"))?;
    let platform = platform(token).await?;
    let origin = format!("http://platform.localhost:{}", platform.port());
    // Nothing of it is public: only the token lets the page have notes.
    let (url, cluster) = installed(world, "acme-embedded", json!({})).await?;
    let around = url::Url::parse_with_params(&origin, [("url", &url)])?;
    with_browser(async |session| {
        // No page may show it until the operator says which.
        session.goto(around.as_str()).await?;
        session.find(Locator::Css("iframe")).await?.enter_frame().await?;
        assert_eq!(evaluate(&session, "document.getElementById('tenant') === null").await?, json!(true));
        session.enter_parent_frame().await?;
        let blocked = console_errors(&session).await?;
        assert!(blocked.iter().any(|error| error.contains("frame-ancestors")), "{blocked:?}");

        let _own = Reconfigured(world);
        world.stack.configure(Part::Runner, &["--frame-ancestors", &origin], &[]);
        block_in_place(|| world.stack.start(Part::Runner))?;
        session.goto(around.as_str()).await?;
        session.find(Locator::Css("iframe")).await?.enter_frame().await?;
        let page = NotesPage(&session);
        assert_eq!(page.tenant().await?, cluster);
        page.save("From the platform").await?;
        session.enter_parent_frame().await?;
        assert_eq!(console_errors(&session).await?, Vec::<String>::new());

        // By itself it has no token, and says so.
        session.goto(&url).await?;
        annex_e2e::until("the page says that it may not", || async {
            let said = evaluate(&session, "document.getElementById('failure').textContent").await?;
            Ok(said.as_str().is_some_and(|said| !said.is_empty()).then_some(()))
        })
        .await?;
        assert_eq!(evaluate(&session, "document.querySelectorAll('#notes li').length").await?, json!(0));
        Ok(())
    })
    .await
}

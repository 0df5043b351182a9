//! A real Chromium, driven over WebDriver.

use std::{panic::AssertUnwindSafe, path::Path, process::Stdio};

use anyhow::{Context as _, anyhow};
use fantoccini::{
    Client, ClientBuilder,
    wd::{Capabilities, WebDriverCompatibleCommand},
};
use futures::FutureExt as _;
use hyper_util::client::legacy::connect::HttpConnector;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::PATIENCE;

/// Runs `test` in a browser with a profile of its own, and ends the browser whatever comes of it.
///
/// Names end at this machine: `*.localhost` and addresses of the loopback are reached, no other host is.
///
/// # Errors
/// There is no Chromium or ChromeDriver here (Debian: `chromium chromium-driver`), or the test's own.
pub async fn with_browser<T, F>(test: impl FnOnce(Client) -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let profile = tempfile::tempdir()?;
    let (mut driver, port) = start_driver().await?;
    let connecting = ClientBuilder::new(HttpConnector::new())
        .capabilities(capabilities(profile.path()))
        .connect(&format!("http://127.0.0.1:{port}"))
        .await;
    let session = connecting.context("a session of Chromium's")?;
    let outcome = AssertUnwindSafe(test(session.clone())).catch_unwind().await;
    let closed = session.close().await;
    driver.start_kill()?;
    driver.wait().await?;
    let outcome = outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    closed.context("the browser was not ended")?;
    Ok(outcome)
}

/// What an expression is in the page, or in the frame that was entered.
///
/// # Errors
/// The expression throws.
pub async fn evaluate(session: &Client, expression: &str) -> anyhow::Result<Value> {
    session.execute(&format!("return {expression}"), vec![]).await.with_context(|| expression.to_owned())
}

/// What pages wrote on the console as errors since this was asked last, violations of a Content-Security-Policy among them. Frames of
/// another origin are not told about.
///
/// # Errors
/// The browser does not say.
pub async fn console_errors(session: &Client) -> anyhow::Result<Vec<String>> {
    let entries: Vec<Entry> = serde_json::from_value(session.issue_cmd(BrowserLog).await?)?;
    Ok(entries.into_iter().filter(|entry| entry.level == "SEVERE").map(|entry| entry.message).collect())
}

#[derive(Deserialize)]
struct Entry {
    level: String,
    message: String,
}

/// ChromeDriver's own, from before WebDriver was a standard.
#[derive(Debug)]
struct BrowserLog;

impl WebDriverCompatibleCommand for BrowserLog {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(json!({ "type": "browser" }).to_string()))
    }
}

async fn start_driver() -> anyhow::Result<(Child, u16)> {
    const READY: &str = "started successfully on port ";
    let mut driver = Command::new("chromedriver")
        .args(["--port=0", "--log-level=WARNING"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("ChromeDriver is not here (Debian: apt-get install chromium chromium-driver)")?;
    let stdout = driver.stdout.take().context("what ChromeDriver says")?;
    let mut lines = BufReader::new(stdout).lines();
    let port = async {
        while let Some(line) = lines.next_line().await? {
            if let Some((_, port)) = line.split_once(READY) {
                return Ok(port.trim_end_matches('.').parse()?);
            }
        }
        Err(anyhow!("ChromeDriver ended before it listened"))
    };
    let port = tokio::time::timeout(PATIENCE, port).await.context("ChromeDriver does not listen")??;
    // It must be able to go on writing.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok((driver, port))
}

fn capabilities(profile: &Path) -> Capabilities {
    let profile = format!("--user-data-dir={}", profile.display());
    let mut arguments = vec![
        "--headless=new",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-quic",
        "--disable-sync",
        "--no-first-run",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE *.localhost, EXCLUDE localhost, EXCLUDE 127.0.0.1",
        &profile,
    ];
    // Chromium's own sandbox refuses to run as root, which tests in a container are.
    if rustix::process::geteuid().is_root() {
        arguments.push("--no-sandbox");
    }
    // ChromeDriver finds the browser that it was installed with.
    let options = json!({ "args": arguments });
    let wanted = [("goog:chromeOptions", options), ("goog:loggingPrefs", json!({ "browser": "ALL" }))];
    wanted.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

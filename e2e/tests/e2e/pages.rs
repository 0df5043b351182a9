//! From a publisher's folder to a page in a browser.

use std::{fs, path::Path, time::Duration};

use annex_e2e::World;
use anyhow::Context as _;
use reqwest::{Client, Response, header::HeaderMap};
use serde_json::{Value, json};
use tokio::task::block_in_place;
use xtask::Part;

use crate::{environment::alone, registry::alice};

const NAME: &str = "com.example.pages";
const PAGE: &str = "<!doctype html><title>Pages</title><script src=\"app.js\"></script>\n";
const SCRIPT: &str = "document.title = 'ran';\n";

/// A browser that goes where it is told to, and no further by itself.
fn browser(host: &str, port: u16) -> anyhow::Result<Client> {
    Ok(Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(30))
        .resolve(host, ([127, 0, 0, 1], port).into())
        .build()?)
}

/// The project of somebody who brings a component that is built already.
fn project(at: &Path) -> anyhow::Result<()> {
    let manifest = json!({
        "name": NAME, "publisher": "example.com", "version": "1.0.0", "ui": { "entry": "ui/start/index.html" },
    });
    fs::create_dir_all(at.join("ui/start"))?;
    fs::write(at.join("manifest.json"), manifest.to_string())?;
    fs::write(at.join("main.wasm"), b"\0asm\x0d\0\x01\0 a component")?;
    fs::write(at.join("ui/start/index.html"), PAGE)?;
    fs::write(at.join("ui/start/app.js"), SCRIPT)?;
    Ok(())
}

/// What a publisher types, as alice.
fn kubectl_annex(world: &World, folder: &Path, args: &[&str]) -> anyhow::Result<String> {
    let alice = world.stack.paths().user_kubeconfig("alice");
    block_in_place(|| annex_e2e::kubectl_annex(&world.stack, &alice, folder, args))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap_or_default())
}

/// What `/` leads to.
async fn first_page(browser: &Client, url: &str) -> anyhow::Result<String> {
    let answer = browser.get(url).send().await?;
    assert_eq!(answer.status(), 307, "{url}");
    assert_eq!(header(answer.headers(), "cache-control"), "no-store");
    Ok(header(answer.headers(), "location").to_owned())
}

/// Checks what holds a page in its place, on whatever came.
fn is_held(answer: &Response) {
    let headers = answer.headers();
    let policy = header(headers, "content-security-policy");
    let expected =
        ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"];
    for directive in expected {
        assert!(policy.split("; ").any(|given| given == directive), "{directive}: {policy}");
    }
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
        ("origin-agent-cluster", "?1"),
    ] {
        assert_eq!(header(headers, name), value, "{name}");
    }
    assert!(header(headers, "permissions-policy").contains("camera=()"));
}

/// Checks that the page and its script come, each with its type, the page to be asked about again and the script to be kept for ever.
async fn comes(browser: &Client, page: &str) -> anyhow::Result<()> {
    let script = page.replace("index.html", "app.js");
    for (url, content_type, lasting, body) in [
        (page, "text/html; charset=utf-8", "public, no-cache", PAGE),
        (&script, "text/javascript; charset=utf-8", "public, max-age=31536000, immutable", SCRIPT),
    ] {
        let answer = browser.get(url).send().await?;
        assert_eq!(answer.status(), 200, "{url}");
        is_held(&answer);
        assert_eq!(header(answer.headers(), "content-type"), content_type);
        assert_eq!(header(answer.headers(), "cache-control"), lasting);
        assert_eq!(answer.text().await?, body);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_extensions_page_opens_on_its_domain_and_again_after_a_restart() -> anyhow::Result<()> {
    let (world, _turn) = alone().await;
    alice(world).await?;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    project(&folder.path().join("pages"))?;
    let key = world.stack.paths().publisher_key().display().to_string();
    kubectl_annex(world, folder.path(), &["bundle", "pages", "-o", "pages.tar.zst"])?;
    kubectl_annex(world, folder.path(), &["sign", "pages.tar.zst", "--key", &key])?;
    let said = kubectl_annex(world, folder.path(), &["publish", "pages.tar.zst"])?;
    assert!(said.contains("published com.example.pages 1.0.0"), "{said}");

    let workspace = world.user("bob").await?.tenant("globex-pages").await?;
    workspace.install("pages", NAME, json!({})).await?;
    let status = workspace.installed("pages").await?.status.context("a status")?;
    let (host, url) = (status.host.context("a host")?, status.url.context("a URL")?);
    let hash = status.content_hash.context("a content hash")?.to_string();
    let browser = browser(&host, world.stack.settings().runner_port)?;

    let entry = first_page(&browser, &url).await?;
    assert_eq!(entry, format!("/ext-ui/{NAME}/{hash}/start/index.html"));
    let page = format!("{}{entry}", url.trim_end_matches('/'));
    comes(&browser, &page).await?;
    let missing = browser.get(page.replace("index.html", "missing.js")).send().await?;
    is_held(&missing);
    assert_eq!((missing.status().as_u16(), header(missing.headers(), "cache-control")), (404, "no-store"));
    assert_eq!(missing.json::<Value>().await?["code"], "NotFound");
    // Who it is the controller still learns.
    let (code, identity) = world.runner()?.get(&host).await?;
    assert_eq!((code.as_u16(), &identity["content_hash"]), (200, &json!(hash)));

    block_in_place(|| world.stack.stop(Part::Runner))?;
    block_in_place(|| world.stack.start(Part::Runner))?;
    assert_eq!(first_page(&browser, &url).await?, entry);
    comes(&browser, &page).await?;
    // It has it still, and has not fetched it again.
    let metrics = world.runner()?.text(&format!("{}/metrics", world.stack.ops_url(Part::Runner))).await?;
    assert!(
        metrics.lines().any(|line| line.starts_with("annex_runner_cache_bundles ") && !line.ends_with(" 0")),
        "{metrics}"
    );
    assert!(!metrics.contains(r#"annex_runner_bundle_loads_total{outcome="loaded"}"#), "{metrics}");

    workspace.installs().delete("pages", &Default::default()).await?;
    Ok(())
}

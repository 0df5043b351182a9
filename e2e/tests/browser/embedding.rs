//! A page of the platform and the extension in it: who gets the user's token, and what the frame may do.

use annex_e2e::{console_errors, evaluate, until, with_browser};
use anyhow::Context as _;
use fantoccini::{Client, Locator};
use serde_json::json;

use crate::site::{Call, Site};

fn call(target: &str, token: Option<&str>) -> Call {
    Call { target: target.to_owned(), authorization: token.map(|token| format!("Bearer {token}")) }
}

/// Returns once an expression is true in the page.
async fn holds(session: &Client, expression: &str) -> anyhow::Result<()> {
    until(expression, || async { Ok((evaluate(session, expression).await? == json!(true)).then_some(())) })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_extension_gets_the_users_token_and_another_one_when_that_has_ended() -> anyhow::Result<()> {
    let site = Site::start().await?;
    site.end_token("token-1").await;
    with_browser(async |session| {
        session.goto(&site.showing(&site.origin("extension"))).await?;
        let calls = site.calls(2).await?;
        let hello = |token| call("extension/api/hello", Some(token));
        assert_eq!(calls, [hello("token-1"), hello("token-2")]);
        assert_eq!(evaluate(&session, "given").await?, json!(2));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_gets_it() -> anyhow::Result<()> {
    let site = Site::start().await?;
    with_browser(async |session| {
        session.goto(&site.showing(&site.origin("extension"))).await?;
        site.calls(1).await?;

        // Another frame of the same page.
        let stranger = site.origin("stranger");
        let heard = format!("heard.includes('{stranger} token-request')");
        let insert = "const frame = document.createElement('iframe'); frame.id = 'stranger'; frame.src = arguments[0]; document.body.append(frame)";
        session.execute(insert, vec![json!(stranger)]).await?;
        holds(&session, &heard).await?;
        assert_received_nothing(&session, "#stranger").await?;
        session.execute("document.getElementById('stranger').remove(); heard.length = 0", vec![]).await?;

        // The extension's own frame, after it went somewhere else.
        session.enter_frame(0).await?;
        session.execute("location.href = arguments[0]", vec![json!(stranger)]).await?;
        session.enter_parent_frame().await?;
        holds(&session, &heard).await?;
        assert_received_nothing(&session, "iframe").await?;
        assert_eq!(evaluate(&session, "given").await?, json!(1));
        assert_ne!(evaluate(&session, "shown.frame.style.height").await?, json!("5000px"));
        Ok(())
    })
    .await
}

/// The page has heard the frame by now, and would have answered before it heard what is sent to it here.
async fn assert_received_nothing(session: &Client, frame: &str) -> anyhow::Result<()> {
    session
        .execute(&format!("document.querySelector('{frame}').contentWindow.postMessage('last', '*')"), vec![])
        .await?;
    session.find(Locator::Css(frame)).await?.enter_frame().await?;
    holds(session, "received.includes('last')").await?;
    assert_eq!(evaluate(session, "received").await?, json!(["last"]));
    session.enter_parent_frame().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_goes_to_the_extensions_own_origin_alone() -> anyhow::Result<()> {
    let site = Site::start().await?;
    with_browser(async |session| {
        session.goto(&site.showing(&site.origin("extension"))).await?;
        site.calls(1).await?;
        session.enter_frame(0).await?;
        let elsewhere = format!("{}/api/elsewhere", site.origin("stranger"));
        session.execute("annex.fetch(arguments[0], { mode: 'no-cors' })", vec![json!(elsewhere)]).await?;
        let calls = site.calls(2).await?;
        assert_eq!(
            calls,
            [call("extension/api/hello", Some("token-1")), call("stranger/api/elsewhere", None)]
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_session_and_without_a_page_around_it_calls_without_a_token() -> anyhow::Result<()> {
    let site = Site::start().await?;
    with_browser(async |session| {
        session.goto(&format!("{}&signed-out", site.showing(&site.origin("extension")))).await?;
        assert_eq!(site.calls(1).await?, [call("extension/api/hello", None)]);
        session.goto(&format!("{}/?call=/api/alone", site.origin("extension"))).await?;
        assert_eq!(site.calls(2).await?[1], call("extension/api/alone", None));
        holds(&session, "document.title === 'answered 200'").await?;
        assert_eq!(console_errors(&session).await?, Vec::<String>::new());
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_leads_nowhere_and_opens_nothing() -> anyhow::Result<()> {
    let site = Site::start().await?;
    with_browser(async |session| {
        let page = site.showing(&site.origin("extension"));
        session.goto(&page).await?;
        site.calls(1).await?;
        session.enter_frame(0).await?;
        let opened = session.execute("return window.open(arguments[0]) === null", vec![json!(site.origin("stranger"))]);
        assert_eq!(opened.await?, json!(true));
        let leads = "try { window.top.location.href = arguments[0]; return 'allowed' } catch (error) { return error.name }";
        let led = session.execute(leads, vec![json!(site.origin("stranger"))]).await?;
        assert_eq!(led, json!("SecurityError"));
        session.enter_parent_frame().await?;
        assert_eq!(session.windows().await?.len(), 1);
        assert_eq!(session.current_url().await?.as_str(), page);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_extension_is_not_embedded() -> anyhow::Result<()> {
    let site = Site::start().await?;
    with_browser(async |session| {
        session.goto(&site.origin("platform")).await?;
        holds(&session, "typeof embed === 'function'").await?;
        let refused = "try { embed(document.body, { url: arguments[0], token: () => '' }); return 'embedded' } catch (error) { return error.name }";
        let own = format!("{}/extension", site.origin("platform"));
        let with_credentials = site.origin("extension").replacen("//", "//user:password@", 1);
        for url in [own.as_str(), "javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "/path", &with_credentials] {
            let outcome = session.execute(refused, vec![json!(url)]).await?;
            assert_eq!(outcome, json!("TypeError"), "{url}");
        }
        assert_eq!(evaluate(&session, "document.querySelectorAll('iframe').length").await?, json!(0));
        // It is not that nothing is embedded.
        session.execute(refused, vec![json!(site.origin("extension"))]).await?;
        session.find(Locator::Css("iframe[sandbox]")).await.context("a frame")?;
        Ok(())
    })
    .await
}

use fantoccini::{Client, Locator};
use serde_json::json;

use crate::{evaluate, until};

/// The sample's page, in a browser that shows it, or is in its frame.
#[derive(Debug)]
pub struct NotesPage<'a>(pub &'a Client);

impl NotesPage<'_> {
    /// Waits until it has read its notes, and returns the workspace that it shows.
    ///
    /// # Errors
    /// It does not come to that; the error has what the page says.
    pub async fn tenant(&self) -> anyhow::Result<String> {
        until("the page shows the workspace", || async {
            // A frame is entered before its page has come.
            let text = evaluate(self.0, "document.getElementById('tenant')?.textContent").await?;
            let text = text.as_str().unwrap_or_default().to_owned();
            Ok((!matches!(text.as_str(), "" | "…")).then_some(text))
        })
        .await
    }

    /// The same where what executes has to start first: whoever is told that it takes too long tries again, as the page offers.
    ///
    /// # Errors
    /// It does not come to that.
    pub async fn tenant_once_awake(&self) -> anyhow::Result<String> {
        const AGAIN: &str = "const again = document.getElementById('again'); \
            if (again && !again.hidden) again.click(); return document.getElementById('tenant')?.textContent ?? ''";
        until("the page shows the workspace", || async {
            let text = self.0.execute(AGAIN, vec![]).await?;
            let text = text.as_str().unwrap_or_default().to_owned();
            Ok((!matches!(text.as_str(), "" | "…")).then_some(text))
        })
        .await
    }

    /// Types a note and saves it, as a person does.
    ///
    /// # Errors
    /// The page has no form, or does not show the note.
    pub async fn save(&self, note: &str) -> anyhow::Result<()> {
        self.0.find(Locator::Id("text")).await?.send_keys(note).await?;
        self.0.find(Locator::Css("#new button")).await?.click().await?;
        self.shows(note).await
    }

    /// Waits until a note is in the list.
    ///
    /// # Errors
    /// It is not.
    pub async fn shows(&self, note: &str) -> anyhow::Result<()> {
        let shown = format!(
            "[...document.querySelectorAll('#notes li')].some((row) => row.textContent.includes({}))",
            json!(note)
        );
        until(&format!("the page shows {note:?}"), || async {
            Ok((evaluate(self.0, &shown).await? == json!(true)).then_some(()))
        })
        .await
    }
}

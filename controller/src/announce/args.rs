use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;

use super::sink::Sink;

/// Who is told of flows. The names are those of Knative's SinkBinding, which sets them by itself.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct AnnounceArgs {
    /// Where CloudEvents of flows are sent. Absent: nowhere.
    #[arg(long, env = "K_SINK", value_name = "URL")]
    sink: Option<Url>,
    /// Attributes that each event gets, as JSON: {"extensions": {"name": "value"}}.
    #[arg(long, env = "K_CE_OVERRIDES", value_name = "JSON")]
    ce_overrides: Option<String>,
}

#[derive(Default, Deserialize)]
struct Overrides {
    #[serde(default)]
    extensions: BTreeMap<String, Value>,
}

impl AnnounceArgs {
    pub(super) fn sink(&self) -> anyhow::Result<Option<Sink>> {
        let Some(url) = &self.sink else { return Ok(None) };
        ensure!(
            matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none(),
            "K_SINK must be http or https, without user information"
        );
        let overrides = self.ce_overrides.as_deref().filter(|text| !text.trim().is_empty());
        let overrides: Overrides = match overrides {
            Some(text) => serde_json::from_str(text).context("K_CE_OVERRIDES is no JSON of overrides")?,
            None => Overrides::default(),
        };
        for (name, value) in &overrides.extensions {
            let is_name = !name.is_empty()
                && name.len() <= 20
                && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
            ensure!(
                is_name && (value.is_string() || value.is_boolean() || value.is_i64()),
                "K_CE_OVERRIDES: {name:?} is no attribute of a CloudEvent"
            );
        }
        Sink::new(url.clone(), overrides.extensions).map(Some)
    }
}

use std::{collections::BTreeMap, time::Duration};

use reqwest::{Client, StatusCode, Url, header::CONTENT_TYPE, redirect};
use serde_json::Value;

use super::event::CloudEvent;

/// How long one event may take.
const WITHIN: Duration = Duration::from_secs(10);

/// Where events go.
#[derive(Debug)]
pub(super) struct Sink {
    http: Client,
    url: Url,
    /// Attributes that whoever set the sink up wants on each event.
    extensions: BTreeMap<String, Value>,
}

/// Why an event was not taken.
#[derive(Debug)]
pub(super) enum NotTold {
    /// The sink does not want it, and will not.
    Refused(StatusCode),
    /// It cannot take it now.
    Away(String),
}

impl Sink {
    pub(super) fn new(url: Url, extensions: BTreeMap<String, Value>) -> anyhow::Result<Self> {
        let http = Client::builder()
            .user_agent(concat!("annex-controller/", env!("CARGO_PKG_VERSION")))
            .timeout(WITHIN)
            .redirect(redirect::Policy::none())
            .no_proxy();
        Ok(Self { http: http.build()?, url, extensions })
    }

    pub(super) async fn tell(&self, event: &CloudEvent) -> Result<(), NotTold> {
        let mut body = serde_json::to_value(event).map_err(|error| NotTold::Away(error.to_string()))?;
        if let Value::Object(fields) = &mut body {
            for (name, value) in &self.extensions {
                fields.entry(name).or_insert_with(|| value.clone());
            }
        }
        let request = self.http.post(self.url.clone());
        let request = request.header(CONTENT_TYPE, "application/cloudevents+json").body(body.to_string());
        let answer = request.send().await.map_err(|error| NotTold::Away(error.without_url().to_string()))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            // As Knative's brokers have it: what these say may be otherwise later. So may what its operator has not allowed yet.
            status @ (StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::CONFLICT
            | StatusCode::TOO_EARLY
            | StatusCode::TOO_MANY_REQUESTS) => Err(NotTold::Away(status.to_string())),
            status if status.is_client_error() => Err(NotTold::Refused(status)),
            status => Err(NotTold::Away(status.to_string())),
        }
    }
}

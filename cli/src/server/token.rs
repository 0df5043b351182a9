//! The token of the kubeconfig in use, for others who ask kcp about it.

use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response};
use kube::Config;
use kube::client::{Body, ConfigExt as _};
use secrecy::SecretString;
use tower::{BoxError, Layer as _, ServiceExt as _, service_fn};

use super::config::ConfigError;
use super::error::chain;

/// The token, whether it is written there, in a file that it names, or what a program that it names gives; `None` where there is another
/// kind of credentials.
///
/// kube keeps all of that to itself. So a request is sent through what it authenticates its own with, and no further.
pub(crate) async fn bearer_token(config: &Config) -> Result<Option<SecretString>, ConfigError> {
    let failed = |reason: String| ConfigError::Client(format!("getting the kubeconfig's token: {reason}"));
    let layer = config.auth_layer().map_err(|error| failed(chain(&error)))?;
    let Some(layer) = layer else { return Ok(None) };
    let mirror = service_fn(|request: Request<Body>| async move {
        Ok::<_, BoxError>(Response::new(request.headers().get(AUTHORIZATION).cloned()))
    });
    let answer = layer.layer(mirror).oneshot(Request::new(Body::empty())).await;
    let header = answer.map_err(|error| failed(chain(error.as_ref())))?.into_body();
    Ok(header.as_ref().and_then(token))
}

fn token(header: &HeaderValue) -> Option<SecretString> {
    let token = header.to_str().ok()?.strip_prefix("Bearer ")?;
    Some(SecretString::from(token.to_owned()))
}

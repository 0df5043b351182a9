//! What runners may ask.

use annex_answering::{Refusal, bearer};
use annex_service::RunnerScope;
use axum::http::HeaderMap;
use kube_kcp::ClusterName;

use crate::app::App;

/// For whom the runner that sends these headers is.
///
/// # Errors
/// It is none that is known.
pub(crate) fn scope(app: &App, headers: &HeaderMap) -> Result<RunnerScope, Refusal> {
    let token = bearer(headers)?;
    let scope = app.runners.get().scope(token);
    scope.ok_or_else(|| Refusal::unauthenticated("this is no runner's token"))
}

/// Whether a runner may know of what is in a workspace.
pub(crate) fn covers(scope: &RunnerScope, cluster: &ClusterName) -> bool {
    match scope {
        RunnerScope::Everything => true,
        RunnerScope::Workspace(workspace) => workspace == cluster.as_str(),
    }
}

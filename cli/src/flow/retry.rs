//! `kubectl annex retry`: what has failed is begun again.

use annex_apis::{Install, RETRY_ANNOTATION};
use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::choice::to_begin_again;
use super::words::{action, change, status, told};
use super::workspace::{Decision, InstallArguments, Workspace, object};
use crate::outcome::Failure;
use crate::server::block_on;

pub(crate) const HELP: &str = "\
Sets the annotation annex.sh/retry of the Install to the present time. A flow that failed is begun again, with the stages that are still to \
be done; a handler that waits to be called again is called at once. Where nothing has failed nothing is changed.

Examples:
  kubectl annex retry install/notes

Exit codes: 0 asked for, or nothing has failed, 1 the change is refused, 2 wrong usage, 3 the server could not be asked (not there, \
forbidden, no connection, no kubeconfig), or the Install keeps changing.";

#[derive(Debug, Args)]
pub(crate) struct RetryArguments {
    #[command(flatten)]
    pub(crate) install: InstallArguments,
}

/// Asks for it.
pub(crate) fn run(arguments: &RetryArguments) -> Result<String, Failure> {
    let arguments = &arguments.install;
    block_on(async {
        let workspace = Workspace::connect(&arguments.server, arguments.namespace.as_deref()).await?;
        let object = object(&arguments.target);
        let history = workspace.command(&["annex", "history", &object]);
        let decide = |install: &Install| {
            if install.metadata.deletion_timestamp.is_some() {
                let said =
                    format!("{object}: it is being deleted, and what fails of that is tried again by itself");
                return Ok(Decision::Leave { said });
            }
            let Some(begins) = begins(install) else {
                let said = format!("{object}: nothing has failed, so nothing is begun again");
                return Ok(Decision::Leave { said });
            };
            let annotation = json!({ RETRY_ANNOTATION: Timestamp::now().to_string() });
            let patch = json!({"metadata": {"annotations": annotation}});
            let said = format!("{object}: {begins}\n\nNext: see how it goes\n  {history}");
            Ok(Decision::Change { patch, said })
        };
        workspace.decide(&arguments.target, false, decide).await
    })?
}

/// What is said of the flow that is begun again. None: there is none.
fn begins(install: &Install) -> Option<String> {
    let flow = to_begin_again(install)?;
    let change = change(told(flow.from.as_deref()).as_deref(), told(flow.to.as_deref()).as_deref());
    let (action, status) = (action(flow.action), status(flow.status));
    let held = if install.spec.suspend { ", once spec.suspend is false again" } else { "" };
    Some(format!("{action} {change}, which is {status}, is begun again{held}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::choice::tests::install;

    #[test]
    fn says_what_is_begun_again_without_drawing_on_the_terminal() {
        let flow = json!({"flow": {
            "id": "1", "action": "Upgrade", "status": "CANCELLED", "from": "2.0.0", "to": "3\u{1b}[31m\n",
            "startedAt": "2026-11-23T12:00:00Z", "finishedAt": "2026-11-23T12:01:00Z",
        }});
        let mut install = install(&flow);
        let said = "Upgrade 2.0.0 → 3 [31m, which is CANCELLED, is begun again";
        assert_eq!(begins(&install).as_deref(), Some(said));
        install.spec.suspend = true;
        assert_eq!(begins(&install).unwrap(), format!("{said}, once spec.suspend is false again"));
    }
}

//! How flows are spoken of. What others wrote comes out in one line that draws nothing on a terminal.

use annex_apis::{FlowAction, StageStatus};

use crate::printable::one_line;

/// As the status has it.
pub(super) fn action(action: FlowAction) -> &'static str {
    match action {
        FlowAction::Install => "Install",
        FlowAction::Upgrade => "Upgrade",
        FlowAction::Revoke => "Revoke",
        FlowAction::Reprovision => "Reprovision",
    }
}

/// As the status has it.
pub(super) fn status(status: StageStatus) -> &'static str {
    match status {
        StageStatus::Queued => "QUEUED",
        StageStatus::InProgress => "IN_PROGRESS",
        StageStatus::Finished => "FINISHED",
        StageStatus::Failed => "FAILED",
        StageStatus::Cancelled => "CANCELLED",
        StageStatus::CancellationFailed => "CANCELLATION_FAILED",
    }
}

/// From one version to another, of which one may be none.
pub(super) fn change(from: Option<&str>, to: Option<&str>) -> String {
    match (from, to) {
        (Some(from), Some(to)) if from == to => to.to_owned(),
        (Some(from), Some(to)) => format!("{from} → {to}"),
        (Some(from), None) => format!("{from} → none"),
        (None, Some(to)) => format!("none → {to}"),
        (None, None) => "none".to_owned(),
    }
}

/// A text of others, if there is one.
pub(super) fn told(text: Option<&str>) -> Option<String> {
    text.map(one_line).filter(|text| !text.is_empty())
}

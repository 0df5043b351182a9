//! `kubectl annex plan`, `history`, `retry` and `rollback`: what becomes of an Install, what became of it, and how it goes on.

mod choice;
mod history;
mod merge;
mod plan;
mod retry;
mod rollback;
mod words;
mod workspace;

pub(crate) use history::{HELP as HISTORY_HELP, HistoryArguments, run as history};
pub(crate) use plan::{HELP as PLAN_HELP, PlanArguments, run as plan};
pub(crate) use retry::{HELP as RETRY_HELP, RetryArguments, run as retry};
pub(crate) use rollback::{HELP as ROLLBACK_HELP, RollbackArguments, run as rollback};
